#!/bin/sh
# banned.sh - functions that nobody calls: unbounded copies, hidden state, a locale, exits.
#
#     etc/lint/banned.sh [root]
#
# Instead: hn_parse_i64, hn_parse_f64 (numbers), snprintf and base/str.h (text), hone_fail
# (errors).  Printing is for main, the log and the commands.
cd "${1:-$(dirname "$0")/../..}" || exit 2
copies='atoi|atol|atoll|atof|strtok|sprintf|vsprintf|strcpy|stpcpy|strcat|sscanf|fscanf|gets'
state='rand|srand|random|srandom|drand48|setlocale|tmpnam|mktemp|getenv|putenv'
exits='system|popen|exit|_exit|_Exit|quick_exit|abort|assert|longjmp|strtod|strtof|strtold'
prints='printf|vprintf|puts|putchar|perror'
streams='(fprintf|fputs|fputc|fwrite|putc)[[:space:]]*\([^;]*\b(stderr|stdout)\b'
n=0
out=${TMPDIR:-/tmp}/hone-banned.$$

# The code of a file without comments and texts, with its line numbers.
bare() { "${CC:-cc}" -fpreprocessed -dD -E "$1" 2>/dev/null |
	awk -v file="$1" '/^# [0-9]+ "/ {line = $2 - 1; next} {line++;
		gsub(/\\./, ""); gsub(/"[^"]*"/, "\"\""); print file ":" line ":" $0}'; }

allowed() { case $1:$2 in
	core/base/arena.c:*) ;;           # memory is gone, or our own bug: one way out
	core/base/guard.c:exits) ;;       # a mapped file is gone: the other
	core/base/crash.c:exits) ;;       # a plugin called exit(): the third
	core/main.c:*|core/commands/*:print|core/base/log.c:print) ;;
	core/commands/*:state) ;;         # NO_COLOR is asked of the environment
	*) return 1 ;; esac; }

find core plugins backends sdk/include sdk/template -type f \( -name '*.c' -o -name '*.h' \) \
	2>/dev/null | sort | while read -r file; do
	bare "$file" > "$out.code"
	for set in copies state exits; do
		eval "words=\$$set"
		allowed "$file" $set || grep -E "(^|[^A-Za-z0-9_>.])($words)[[:space:]]*\(" "$out.code" |
			sed 's/$/   <- banned/'
	done
	allowed "$file" print || {
		grep -E "(^|[^A-Za-z0-9_>.])($prints)[[:space:]]*\(" "$out.code"
		grep -E "$streams" "$out.code"
	} | sed 's/$/   <- prints/'
done > "$out"
n=$(wc -l < "$out")
cat "$out"
rm -f "$out" "$out.code"
[ "$n" -eq 0 ]
