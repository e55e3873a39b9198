#!/bin/sh
# format.sh - the layout of .clang-format, as clang-format 14 understands it.
#
#     etc/lint/format.sh [root]      says which files differ; exit 77: another version is here
#     etc/lint/format.sh --fix       lays them out
fix=
[ "$1" = --fix ] && { fix=yes; shift; }
cd "${1:-$(dirname "$0")/../..}" || exit 2
format=$(command -v clang-format-14 || command -v clang-format || echo true)
"$format" --version | grep -q 'version 14\.' || {
	echo "skipped: clang-format 14 is not here, and others lay out otherwise"
	exit 77
}
files() { find core sdk plugins backends tests -type f \( -name '*.c' -o -name '*.h' \) | sort; }
if [ -n "$fix" ]; then
	files | xargs "$format" -i
	exit
fi
files | xargs "$format" --dry-run -Werror > "${TMPDIR:-/tmp}/hone-format.$$" 2>&1
status=$?
sed -nE 's/^([^:]*):[0-9]+:[0-9]+: error: .*/\1: not laid out; etc\/lint\/format.sh --fix/p' \
	"${TMPDIR:-/tmp}/hone-format.$$" | sort -u
rm -f "${TMPDIR:-/tmp}/hone-format.$$"
[ "$status" -eq 0 ]
