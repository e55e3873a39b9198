#!/bin/sh
# headers.sh - each header of the SDK compiles alone, as C11 and as C++17, with every compiler
# that is here, and a plugin may be written in C++.
#
#     etc/lint/headers.sh [root]
cd "${1:-$(dirname "$0")/../..}" || exit 2
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
n=0 tried=0
try() { # compiler, language flags, header
	printf '#include <hone/%s>\n#include <hone/%s>\n' "$3" "$3" |
		$1 $2 $warnings -fsyntax-only -Isdk/include - ||
		{ echo "sdk/include/hone/$3: $1 $2"; n=$((n + 1)); }
	tried=$((tried + 1))
}
for path in sdk/include/hone/*.h; do
	header=$(basename "$path")
	for cc in gcc clang; do
		command -v $cc > /dev/null && try $cc '-xc -std=c11 -Wstrict-prototypes' "$header"
	done
	for cxx in g++ clang++; do
		command -v $cxx > /dev/null && try $cxx '-xc++ -std=c++17' "$header"
	done
done
for cxx in g++ clang++; do
	command -v $cxx > /dev/null || continue
	$cxx -std=c++17 $warnings -fsyntax-only -Isdk/include tests/abi/plugins/minimal.cc || n=$((n + 1))
done
[ "$tried" -gt 0 ] && [ "$n" -eq 0 ]
