#!/bin/sh
# make_tasks.sh - makes data/*.jsonl, the task of the quick start; its output is committed.
#
# Given a word and its definition, say what kind of thing it is:
#
#   {"prompt":"grosbeak: any of various finches of Europe or America ...\nkind:","completion":" animal"}
#
# Eight kinds, WordNet's own, equally many rows of each in every split, so that a guess is right one
# time in eight.  The definition never contains the name of its kind, nor does the word: the answer has to
# be understood, not copied.  Splits are cut by a hash of the word (../wordnet/README.md).
set -eu
cd "$(dirname "$0")"
mkdir -p data
../wordnet/senses.sh > data/senses.all
LC_ALL=C sort -t '	' -k 2,2n -k 3,4 data/senses.all > data/senses.tsv

# write_split NAME FIRST_BUCKET END_BUCKET ROWS_OF_EACH_KIND
write_split() {
	awk -F '\t' -v first="$2" -v end="$3" -v each="$4" '
		$4 == "noun" && $1 >= first && $1 < end &&
		$5 ~ /^(act|animal|artifact|food|location|person|plant|substance)$/ &&
		$3 ~ /^[a-z]+( [a-z]+)?$/ && $6 !~ /"/ && length($6) >= 30 && length($6) <= 100 &&
		index($3 " " $6, $5) == 0 && n[$5]++ < each {
			printf "{\"prompt\":\"%s: %s\\nkind:\",\"completion\":\" %s\"}\n", $3, $6, $5
		}' data/senses.tsv > "data/$1.jsonl"
	echo "data/$1.jsonl: $(wc -l < "data/$1.jsonl") rows"
}

write_split train 0 8000 300
write_split validation 8000 9000 30
write_split test 9000 10000 40
rm data/senses.all data/senses.tsv
cp ../wordnet/LICENSE.wordnet data/
