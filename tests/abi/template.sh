#!/bin/sh
# template.sh - a plugin built outside the tree, from what is installed, loads into hone.
#
# Would catch: a header, a package file or a flag that only works inside the tree; a template
# that no longer builds; a plugin that the loader accepts from us alone; a build folder that
# find_package takes for an installation.
#
#     tests/abi/template.sh BUILD ABI_LOAD
build=$1 load=$2
cc=${CC:-cc}
place=$(mktemp -d) || exit 2
trap 'rm -rf "$place"' EXIT
set -e
cmake --install "$build" --prefix "$place/prefix" --component sdk > "$place/log"
template=$place/prefix/share/hone/template
here=$(cd "$(dirname "$0")/../.." && pwd)

# Where hone was built is not where it is installed: that says so, and leaves nothing behind that
# stands in the way of the right place.
cp -r "$template" "$place/with-cmake"
if cmake -S "$place/with-cmake" -B "$place/build" -DCMAKE_PREFIX_PATH="$build" \
	-DCMAKE_C_COMPILER="$cc" > "$place/refused" 2>&1; then
	echo "find_package takes the build folder for an installation"
	exit 1
fi
grep -q 'package configuration file provided by "hone"' "$place/refused" || {
	cat "$place/refused"
	exit 1
}
cmake -S "$place/with-cmake" -B "$place/build" -DCMAKE_PREFIX_PATH="$place/prefix" \
	-DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS='-Wall -Wextra -Wpedantic -Werror' >> "$place/log"
cmake --build "$place/build" >> "$place/log" || { cat "$place/log"; exit 1; }
"$load" "$place/build" my_adapter my_objective
"$here/etc/lint/exports.sh" "$place/build"

pc=$(dirname "$(find "$place/prefix" -name hone.pc)")
for compiler in gcc clang; do
	command -v $compiler > /dev/null || continue
	cp -r "$template" "$place/make-$compiler"
	PKG_CONFIG_PATH=$pc make -s -C "$place/make-$compiler" CC=$compiler \
		CFLAGS='-O2 -Wall -Wextra -Wpedantic -Werror'
	"$load" "$place/make-$compiler" my_adapter my_objective
	"$here/etc/lint/exports.sh" "$place/make-$compiler"
	PKG_CONFIG_PATH=$pc XDG_DATA_HOME=$place/data make -s -C "$place/make-$compiler" install
done
"$load" "$place/data/hone/plugins" my_adapter my_objective

# Seen failing: the same check says no where something is missing.
rm "$place/build/my_adapter.so"
"$load" "$place/build" my_adapter my_objective > "$place/log" 2>&1 && exit 1
exit 0
