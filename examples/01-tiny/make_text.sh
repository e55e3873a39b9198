#!/bin/sh
# make_text.sh - makes the text that the bundled tiny model was trained on from nothing.
#
#   ./make_text.sh          text/train.jsonl and text/validation.jsonl
#
# A row is a word and its gloss, examples included, from WordNet (Debian's package wordnet-base):
#
#   {"text":"parlor game: a game suitable for playing in a parlor"}
#
# Buckets 8000 and above are the validation and test words of make_tasks.sh.  None of their glosses is
# in text/train.jsonl, so the tiny model has never seen what it is tested on; 7900..7999 validate.
set -eu
cd "$(dirname "$0")"
mkdir -p text
../wordnet/senses.sh > text/senses.all
LC_ALL=C sort -t '	' -k 2,2n -k 3,4 text/senses.all > text/senses.tsv
for split in train validation; do
	awk -F '\t' -v split_name=$split '
		$1 < 8000 && ($1 >= 7900) == (split_name == "validation") {
			printf "{\"text\":\"%s: %s\"}\n", $3, $7
		}' text/senses.tsv > text/$split.jsonl
	echo "text/$split.jsonl: $(wc -l < text/$split.jsonl) rows, $(wc -c < text/$split.jsonl) bytes"
done
rm text/senses.all text/senses.tsv
cp ../wordnet/LICENSE.wordnet text/
