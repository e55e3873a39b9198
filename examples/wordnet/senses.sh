#!/bin/sh
# senses.sh - prints WordNet's senses as senses.awk writes them (tab-separated; fields are there).
# Reads the files of Debian's package wordnet-base, or those of the folder $WORDNET.
set -eu
here=$(dirname "$0")

for folder in "${WORDNET:-}" /usr/share/wordnet /usr/share/wordnet/dict; do
	if [ -n "$folder" ] && [ -r "$folder/data.noun" ] && [ -r "$folder/index.noun" ]; then
		exec awk -f "$here/senses.awk" \
			pos=noun "$folder/index.noun" "$folder/data.noun" \
			pos=verb "$folder/index.verb" "$folder/data.verb" \
			pos=adjective "$folder/index.adj" "$folder/data.adj" \
			pos=adverb "$folder/index.adv" "$folder/data.adv"
	fi
done
echo "senses.sh: WordNet's files are not here; install Debian's package wordnet-base," >&2
echo "           or set WORDNET to the folder that holds data.noun and index.noun" >&2
exit 1
