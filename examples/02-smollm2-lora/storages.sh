#!/bin/sh
# storages.sh - what keeping the weights in another form costs: 100 steps of the example for each.
#
#   ./storages.sh [HONE [SET...]]     HONE: the program, ../../build/bin/hone unless given
#
# Prints, for the file's own 4 bits (native) computed in f32 and in bf16, and for nf4 in bf16, the loss
# on the test split before and after, and the memory that training took.  Further words are given
# to every command, as --set key=value.  Needs what get_data.sh gets; about five minutes on two cores.
set -eu
cd "$(dirname "$0")"
hone=${1:-../../build/bin/hone}
[ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# figure KEY: its last number in the JSON on stdin.
figure() {
	sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" | sort -n | tail -n 1
}

echo "storage compute before after memory_mb"
for case in native:f32 native:bf16 nf4:bf16; do
	storage=${case%:*} compute=${case#*:}
	set -- "$@" --set run.output="$work/$storage-$compute" --set model.storage=$storage \
		--set train.compute=$compute --set train.max_steps=100 --set eval.eval_steps=1000
	"$hone" train run.ini "$@" --quiet
	before=$("$hone" eval run.ini --base --json --quiet "$@" | figure loss)
	after=$("$hone" eval run.ini --json --quiet "$@" | figure loss)
	memory=$(figure memory_mb < "$work/$storage-$compute/metrics.jsonl")
	echo "$storage $compute $before $after $memory"
done
