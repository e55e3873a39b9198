#!/bin/sh
# exports.sh - what a built plugin shows to the system: one symbol, few libraries, no tricks.
#
#     etc/lint/exports.sh FOLDER...        all *.so of the folders
cd "${LINT_ROOT:-.}" || exit 2
n=0
fault() { echo "$1"; n=$((n + 1)); }
libraries() { case $1 in
	opencl) echo 'libOpenCL.so.1 libclblast.so.1' ;;
	image) echo 'libpng16.so.16 libjpeg.so.62' ;;
	esac; }

for folder in "$@"; do
	for file in "$folder"/*.so; do
		[ -f "$file" ] || { fault "$folder: no plugin in it"; continue; }
		name=$(basename "$file" .so)
		symbols=$(nm -D --defined-only "$file" | awk '{print $3}' | sort | tr '\n' ' ')
		[ "$symbols" = "hone_plugin_v1 " ] ||
			fault "$file: exports '$symbols', expected hone_plugin_v1 alone"
		dynamic=$(readelf -dW "$file")
		for needed in $(echo "$dynamic" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
			case " libc.so.6 libm.so.6 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 $(libraries "$name") " in
			*" $needed "*) ;;
			*) fault "$file: needs $needed; plugins get services from the host" ;;
			esac
		done
		echo "$dynamic" | grep -qE 'BIND_NOW|FLAGS_1.*NOW' || fault "$file: linked without -z now"
		echo "$dynamic" | grep -q 'NODELETE' || fault "$file: linked without -z nodelete"
		echo "$dynamic" | grep -qE '\((TEXTREL|RPATH|RUNPATH)\)' &&
			fault "$file: has TEXTREL, RPATH or RUNPATH"
		readelf -lW "$file" | grep -q 'GNU_STACK.*RWE' && fault "$file: asks for an executable stack"
		readelf -nW "$file" 2>/dev/null | grep -q '^ *HONE' || fault "$file: has no .note.hone"
	done
done
[ "$n" -eq 0 ]
