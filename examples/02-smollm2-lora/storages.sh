#!/bin/sh
# storages.sh - what another precision or another form of the weights costs: the example trained in each.
#
#   ./storages.sh [--steps N|all] [HONE [SET...]]
#
#   --steps   optimizer steps of each run, 100 unless given; all: the whole example
#   HONE      the program, ../../build/release/bin/hone unless given
#
# Prints, for the file's own 4 bits (native) computed in f32 and in bf16, and for nf4 in bf16, the loss
# on the validation and the test split after training, each as a ratio to that of f32, the loss on the
# test split before, and the memory that training took.  Further words are given to every command, as
# --set key=value.  Needs what get_data.sh gets; five minutes on two cores for 100 steps.
set -eu
cd "$(dirname "$0")"
case ${1-} in
--help | -h) sed -n '2,14s/^# \{0,1\}//p' "$0" && exit ;;
esac
steps=100
if [ "${1:-}" = --steps ]; then
	steps=${2:?--steps needs a number, or all}
	shift 2
fi
case $steps in
all) steps=0 ;; # no limit: as many as run.ini's epochs have
'' | *[!0-9]*)
	echo "storages.sh: --steps '$steps' is neither a number nor all" >&2
	exit 2
	;;
esac
hone=${1:-../../build/release/bin/hone}
[ $# -eq 0 ] || shift
if [ ! -x "$hone" ]; then
	echo "storages.sh: no program $hone; build it with ../../quickstart, or name it" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# figure KEY: its last number in the JSON on stdin.
figure() {
	sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" | sort -n | tail -n 1
}

# over A B: their ratio.
over() {
	awk "BEGIN { printf \"%.4f\", $1 / $2 }"
}

# measure STORAGE COMPUTE WORDS...: one line of the table.
measure() {
	storage=$1 compute=$2
	shift 2
	set -- "$@" --quiet --set run.output="$work/$storage-$compute" --set model.storage="$storage" \
		--set train.compute="$compute" --set eval.eval_steps=1000000
	[ "$steps" -eq 0 ] || set -- "$@" --set train.max_steps="$steps"
	"$hone" train run.ini "$@"
	before=$("$hone" eval run.ini --json --base --split test "$@" | figure loss)
	validation=$("$hone" eval run.ini --json --split validation "$@" | figure loss)
	test=$("$hone" eval run.ini --json --split test "$@" | figure loss)
	: "${first_validation:=$validation}" "${first_test:=$test}"
	memory=$(figure memory_mb < "$work/$storage-$compute/metrics.jsonl")
	echo "$storage $compute $validation $(over "$validation" "$first_validation")" \
		"$test $(over "$test" "$first_test") $before $memory"
}

echo "storage compute validation ratio test ratio before memory_mb"
measure native f32 "$@"
measure native bf16 "$@"
measure nf4 bf16 "$@"
