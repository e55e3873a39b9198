#!/bin/sh
# edges.sh - who may include whom, and that core names no technique and no backend.
#
#     etc/lint/edges.sh [root]
#
# core: base <- config <- registry <- model <- graph <- data <- train <- run; a folder includes
# itself and those before it.  text stands beside model: it reads tokenizers out of the files
# that model opens, and model and graph know nothing of it.  sdk: itself and the C library.  Plugins and
# backends: <hone/...>, the system, and files of their own folder.
cd "${1:-$(dirname "$0")/../..}" || exit 2
n=0
fault() { echo "$1"; n=$((n + 1)); }

# A line "path:line:included" for every quoted include of the given files.
quoted() { grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$@" /dev/null |
	sed -E 's/^([^:]*:[0-9]*):[^"]*"([^"]*)".*/\1:\2/'; }
code() { find "$@" -type f \( -name '*.c' -o -name '*.h' \) 2>/dev/null | sort; }

level() { case $1 in
	base) echo 0 ;; config) echo 1 ;; registry) echo 2 ;; model) echo 3 ;; text) echo 4 ;;
	graph) echo 5 ;; data) echo 6 ;; train) echo 7 ;; *) echo 8 ;; esac; }

edges=$(quoted $(code core))
for edge in $edges; do
	file=${edge%%:*} included=${edge##*:}
	from=${file#core/} to=${included%%/*}
	case $from in */*) from=${from%%/*} ;; *) from=run ;; esac
	case $included in
	*..*) fault "$edge: includes go from core/ on, without .." ; continue ;;
	*/*) ;;
	*) if [ -f "core/$included" ]; then to=run; else
		fault "$edge: write it from core/ on (\"$from/$included\")"
		continue
	fi ;;
	esac
	[ "$(level "$to")" -le "$(level "$from")" ] ||
		fault "$edge: core/$from must not include core/$to"
	[ "$from-$to" != graph-text ] || fault "$edge: core/graph must not include core/text"
done

# Folders of plugins: plugins/<role>/<name> and backends/<name>, with what lies below.
for dir in plugins/*/* backends/*; do
	[ -d "$dir" ] || continue
	for edge in $(quoted $(code "$dir")); do
		file=${edge%%:*} included=${edge##*:}
		[ -f "$(dirname "$file")/$included" ] || [ -f "$dir/$included" ] ||
			fault "$edge: a plugin includes <hone/...> and its own files only"
		case $included in *..*) fault "$edge: a plugin stays in its folder" ;; esac
	done
done
for edge in $(quoted $(code sdk/include sdk/template)); do
	fault "$edge: the SDK includes with <hone/...>"
done
code sdk/include | xargs -r grep -nHE '#[[:space:]]*include[[:space:]]*<' |
	grep -vE '<(hone/[a-z_]+|stdarg|stddef|stdint|stdio|string)\.h>' |
	sed 's/$/: the SDK includes little of the C library/' > "${TMPDIR:-/tmp}/hone-edges.$$"
while read -r line; do fault "$line"; done < "${TMPDIR:-/tmp}/hone-edges.$$"
rm -f "${TMPDIR:-/tmp}/hone-edges.$$"

# Names of adapters, objectives, encoders and backends: as a string of its own, or as a part of
# an identifier.  What an INI may say by default is the one exception, and stands in a table.
names=$(code plugins backends | xargs -r awk -F '"' '
	/\.role = HONE_ROLE_(ADAPTER|OBJECTIVE|ENCODER|BACKEND)/ {factory = 1; next}
	factory && /\.name = "/ {print $2} {factory = 0}' | sort -u)
[ -z "$names" ] && [ -d plugins/adapters ] && fault "plugins/adapters: no factory found by this script"
pattern=$(for name in $names; do
	printf '"%s"|' "$name"
	case $name in full|cpu|reference|layerwise) ;; *) printf '\\b(hn_|hone_)?%s_[a-z]|' "$name" ;; esac
done)
pattern=${pattern%|}
if [ -n "$pattern" ]; then
	for file in $(code core); do
		[ "$file" != core/main.c ] || continue # gives the list of what is linked in
		"${CC:-cc}" -fpreprocessed -dD -E -P "$file" 2>/dev/null |
			grep -E "$pattern" | grep -vE '\.default_value = "cpu"|\.alias' |
			sed "s|^[[:space:]]*|$file: core names a plugin: |"
	done > "${TMPDIR:-/tmp}/hone-names.$$"
	while read -r line; do fault "$line"; done < "${TMPDIR:-/tmp}/hone-names.$$"
	rm -f "${TMPDIR:-/tmp}/hone-names.$$"
fi
[ "$n" -eq 0 ]
