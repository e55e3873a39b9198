#!/bin/sh
# selftest.sh - each check of this folder is seen failing: on a small tree with one fault.
#
# Would catch: a check that says yes to everything, because a pattern or a path went stale.
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
tree=$(mktemp -d) || exit 2
trap 'rm -rf "$tree"' EXIT
n=0 planted=0

# expect CHECK FAULT FILE TEXT: with TEXT as FILE, CHECK must fail and say FAULT; the file then
# goes away, so the next tree has only its own fault.
expect() {
	mkdir -p "$tree/$(dirname "$3")" && printf "$4\n" > "$tree/$3"
	said=$("$here/$1" "$tree" 2>&1) && { echo "$1: passes with $3"; n=$((n + 1)); }
	case $said in *"$2"*) ;; *) echo "$1: of $3 says '$said', expected '$2'"; n=$((n + 1)) ;; esac
	rm -f "$tree/$3"
	planted=$((planted + 1))
}
passes() { "$here/$1" "$tree" > /dev/null || { echo "$1: fails on a sound tree"; n=$((n + 1)); }; }

mkdir -p "$tree/core/base" "$tree/core/train" "$tree/plugins/adapters/lora" "$tree/sdk/include/hone"
cp "$top/.clang-format" "$tree/"
echo '#include "base/str.h"
/* lora_rank, "lora", printf("x") and abort() in comments are nobody'"'"'s business. */' > "$tree/core/train/a.c"
printf '\t.role = HONE_ROLE_ADAPTER,\n\t.name = "lora",\n' > "$tree/plugins/adapters/lora/lora.c"
echo > "$tree/core/run.h"
echo '#include "run.h"' > "$tree/core/run.c"
echo '/* An essay. */' > "$tree/sdk/include/hone/a.h"
passes edges.sh
passes banned.sh
passes tags.py

expect edges.sh 'core/base must not include core/train' core/base/x.c '#include "train/loop.h"'
expect edges.sh 'core/graph must not include core/text' core/graph/x.c '#include "text/bpe.h"'
expect edges.sh 'core/model must not include core/text' core/model/x.c '#include "text/bpe.h"'
expect edges.sh 'core/train must not include core/run' core/train/x.c '#include "run.h"'
expect edges.sh 'without ..' core/train/x.c '#include "../base/str.h"'
expect edges.sh 'write it from core/ on' core/base/x.c '#include "str.h"'
expect edges.sh 'its own files only' plugins/adapters/lora/x.c '#include "base/str.h"'
expect edges.sh 'little of the C library' sdk/include/hone/x.h '#include <stdlib.h>'
expect edges.sh 'the SDK includes with' sdk/include/hone/x.h '#include "base/str.h"'
expect edges.sh 'core names a plugin' core/train/x.c 'int f(void) { return same(name, "lora"); }'
expect edges.sh 'core names a plugin' core/train/x.h 'int hn_lora_rank(void);'

for call in 'atoi(s)' 'strtok(s, t)' 'sprintf(s, t)' 'strcpy(s, t)' 'sscanf(s, t)' 'rand()' \
	'system(s)' 'exit(1)' 'abort()' 'strtod(s, t)' 'assert(s)' 'getenv(s)'; do
	expect banned.sh 'banned' core/train/x.c "void f(void) { $call; }"
done
expect banned.sh 'prints' plugins/adapters/lora/x.c 'void f(void) { printf("x"); }'
expect banned.sh 'prints' core/train/x.c 'void f(void) { fprintf(stderr, "x"); }'

expect tags.py 'hone_add has no tag' sdk/include/hone/x.h \
	'/* Essay. */\n/* Adds. */\nstatic inline int\nhone_add(int a)\n{\n\treturn a;\n}\n'
expect tags.py 'add has no tag' sdk/include/hone/x.h \
	'/* Essay. */\nstruct hone_x_vt {\n\t/* Adds. */\n\tint (*add)(int a);\n};\n'

expect snippets.py 'no_such_call' sdk/README.md \
	'Text:\n\n<!-- c: scale -->\n\n    l = no_such_call(at, site);\n    return hone_graph_status(g, err);\n'
expect snippets.py 'C without a known' sdk/README.md 'Text:\n\n    x = hone_add(g, x, y);\n'
expect snippets.py 'no C at all' sdk/README.md 'Text.\n'
# A table of bad inputs with each number, and the test that it names.
table() {
	for number in $(seq 1 67) $(seq 69 77) $(seq 88 96); do
		[ "$number" = "$1" ] || echo "| $number | input | test_a_b_c | 3 |"
	done
	echo "$2"
}
mkdir -p "$tree/tests/fault"
printf 'static void\ntest_a_b_c(void **state)\n{\n}\nint main(void) { run(test_a_b_c); }\n' \
	> "$tree/tests/fault/test_a.c"
table > "$tree/tests/fault/README.md"
passes entries.py
expect entries.py 'entry 63 is missing' tests/fault/README.md "$(table 63)"
expect entries.py "names 'test_a_b', and there is" tests/fault/README.md \
	"$(table 5 '| 5 | input | test_a_b_c, test_a_b | 3 |')"
expect entries.py 'entry 9 stands in line 9 already' tests/fault/README.md \
	"$(table '' '| 9 | input | test_a_b_c | 3 |')"
expect entries.py 'entry 7 has no exit code' tests/fault/README.md \
	"$(table 7 '| 7 | input | test_a_b_c | |')"
table > "$tree/tests/fault/README.md"
expect entries.py "names 'test_a_b_c'" tests/fault/test_a.c \
	'static void\ntest_a_b_c(void **state)\n{\n}\nint main(void) { }'
rm -rf "$tree/tests"

if command -v clang-format > /dev/null && clang-format --version | grep -q 'version 14\.'; then
	rm -f "$tree/plugins/adapters/lora/lora.c"
	mkdir -p "$tree/backends" "$tree/tests"
	passes format.sh
	expect format.sh 'not laid out' core/train/x.c 'int f(void){return 1;}\n'
fi

# A shared object that is no plugin: too many symbols, a foreign library, no note.
mkdir -p "$tree/lib" && echo 'int a; int b;' > "$tree/x.c" &&
	${CC:-cc} -shared -fPIC "$tree/x.c" -o "$tree/lib/x.so" -Wl,--no-as-needed -lpthread -ldl -lrt -lutil \
		-Wl,-rpath,/nowhere || exit 2
said=$("$here/exports.sh" "$tree/lib") && { echo 'exports.sh: passes'; n=$((n + 1)); }
for fault in "exports 'a b '" 'without -z now' 'without -z nodelete' 'RUNPATH' 'no .note.hone'; do
	case $said in *"$fault"*) ;; *) echo "exports.sh: says '$said', expected '$fault'"; n=$((n + 1)) ;; esac
	planted=$((planted + 1))
done

# A header that does not stand alone, and one whose layout moved.
printf '#ifndef X\n#define X\nstruct hone_x { hone_y a; };\n#endif\n' > "$tree/sdk/include/hone/x.h"
mkdir -p "$tree/tests/abi/plugins" && echo > "$tree/tests/abi/plugins/minimal.cc"
"$here/headers.sh" "$tree" > /dev/null 2>&1 && { echo 'headers.sh: passes'; n=$((n + 1)); }
rm -rf "$tree/sdk/include/hone" && cp -r "$top/sdk/include/hone" "$tree/sdk/include/"
HONE_INCLUDE="$tree/sdk/include" "$here/abi_layout.py" > /dev/null ||
	{ echo 'abi_layout.py: a copy of the headers differs'; n=$((n + 1)); }
sed -i 's/^\tuint32_t flags; *\/\* 0 \*\//\tuint16_t flags, more;/' "$tree/sdk/include/hone/plugin.h"
HONE_INCLUDE="$tree/sdk/include" "$here/abi_layout.py" > "$tree/said" &&
	{ echo 'abi_layout.py: passes with a changed member'; n=$((n + 1)); }
grep -q '^+  14 2 uint16_t more' "$tree/said" || { echo 'abi_layout.py: no word of it'; n=$((n + 1)); }

echo "$planted faults planted, $n not seen"
[ "$n" -eq 0 ]
