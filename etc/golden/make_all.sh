#!/bin/sh
# make_all.sh - makes every value under tests/data/golden and tests/data/files again.
#
#   ./make_all.sh [PYTHON] [MODEL.gguf]
#
# PYTHON is one that has requirements.txt (default: python3).  With SmolLM2's GGUF the values of
# smollm2/ are made too (minutes; the others take half a minute).  `git diff --stat` should be empty
# afterwards on the same kind of processor: float64 values agree to some 1e-12 on any other, and
# the float32 and bf16 columns are one machine's record.
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
for script in tiny_models tiny_logits tiny_gguf tiny_training nf4 optimizer peft_sites ia3 ops sampling generate chat_tokens; do
	echo "$script"
	"$python" $script.py
done
echo storage
"$python" storage.py ../../tests/data/files
[ $# -lt 2 ] || "$python" smollm2_reference.py "$2"
