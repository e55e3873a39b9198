#!/bin/sh
# make_model.sh - makes the bundled model again: text, tokenizer, training from nothing, export.
#
#   ./make_model.sh [HONE]          HONE: the program, ../../build/release/bin/hone unless given
#
# Takes about a quarter of an hour on two cores.  What is committed is model/: bf16 weights,
# config.json and the tokenizer.
set -eu
cd "$(dirname "$0")"
hone=${1:-../../build/release/bin/hone}

./make_text.sh
"$hone" tokenizer --train text/train.jsonl --vocab-size 2048 --to pretrain
"$hone" train pretrain.ini
"$hone" export pretrain.ini --merge --dtype bf16 --to build
for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do
	cp build/$file model/
done
rm -r build
