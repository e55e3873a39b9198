# hone_add_plugin(NAME SOURCES a.c ...): a module that hone loads.
#
# It links against nothing of hone's, exports one symbol (hone_plugin_v1), resolves all its
# symbols at load, and stays mapped.  With a build of your own, these flags are all there is.
function(hone_add_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES" ${ARGN})
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${name}.map)
  file(WRITE ${script} "{ global: hone_plugin_v1; local: *; };\n")
  add_library(${name} MODULE ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" C_VISIBILITY_PRESET hidden
    C_STANDARD 11 C_STANDARD_REQUIRED ON LINK_DEPENDS ${script})
  target_link_libraries(${name} PRIVATE hone::sdk m)
  target_compile_options(${name} PRIVATE -ffp-contract=off)
  target_link_options(${name} PRIVATE -Wl,-z,now -Wl,-z,relro -Wl,-z,nodelete
    -Wl,--exclude-libs,ALL -Wl,--version-script=${script})
  if(NOT HONE_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
