#!/bin/sh
# check.sh - the example in short: 20 steps on some of its rows, and what must come of them.
#
#   ./check.sh [HONE]     HONE: the program, ../../build/release/bin/hone unless given
#
# Fetches model and data with get_data.sh where they are not here; says so and exits 77 where they
# cannot be had.  Checked: the validation loss falls by a tenth, the plan's peak is what training
# took within 5 %, the adapter is there, and the model answers.  About two minutes on two cores.
set -eu
cd "$(dirname "$0")"
hone=${1:-../../build/release/bin/hone}
model=model/SmolLM2-135M-Instruct.Q4_1.gguf

fail() {
	echo "check.sh: $1" >&2
	exit 1
}

skip() {
	echo "check.sh: skipped: $1"
	exit 77
}

# figure KEY: its numbers in the JSON on stdin, one a line.
figure() {
	sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p"
}

[ -x "$hone" ] || fail "no program $hone; build it with ../../quickstart, or name it: ./check.sh HONE"
[ -f data/train.jsonl ] && [ -f data/validation.jsonl ] || ./get_data.sh -d ||
	skip "the data cannot be had; the reason is above"
[ -f $model ] || ./get_data.sh -m || skip "the model cannot be had; the reason is above"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -n 320 data/train.jsonl > "$work/train.jsonl"
head -n 32 data/validation.jsonl > "$work/validation.jsonl"
set -- --set run.output="$work/run" --set data.train="$work/train.jsonl" \
	--set data.validation="$work/validation.jsonl" --set train.max_steps=20 \
	--set train.logging_steps=5 --set checkpoint.save_steps=10

"$hone" plan run.ini "$@" --json --quiet > "$work/plan.json" || fail "hone plan failed"
"$hone" train run.ini "$@" || fail "training failed; the reason is above"

before=$(figure eval_loss < "$work/run/metrics.jsonl" | head -n 1)
after=$(figure eval_loss < "$work/run/metrics.jsonl" | tail -n 1)
awk "BEGIN { exit !($after < 0.9 * $before) }" ||
	fail "the validation loss was $before and is $after: too little was learned"
planned=$(figure peak < "$work/plan.json")
taken=$(figure memory_mb < "$work/run/metrics.jsonl" | sort -n | tail -n 1)
awk "BEGIN { r = $taken * 1e6 / $planned; exit !(r > 0.95 && r < 1.05) }" ||
	fail "planned were $planned bytes, and training took $taken MB"
[ -f "$work/run/adapter/adapter_model.safetensors" ] || fail "there is no adapter"

answer=$("$hone" generate run.ini "$@" --prompt 'Define the noun "fishing boat".' \
	--max-new-tokens 24 --temperature 0 --quiet) || fail "hone generate failed"
[ -n "$answer" ] || fail "the model says nothing"
echo "validation loss $before -> $after; planned $planned bytes, taken $taken MB"
echo "fishing boat: $answer"
