# senses.awk - WordNet's dictionary files into one line of tab-separated fields per synset.
#
#   awk -f senses.awk pos=noun index.noun data.noun pos=verb index.verb data.verb ...
#
# index.<pos> says for each lemma which synsets it has, the most frequent first; data.<pos> holds the
# synsets: offset, number of the lexicographer's file, type, count of words (hexadecimal), word and
# id for each, pointers, "|", gloss.  A gloss is a definition, then examples in quotes (wndb(5WN)).
#
# A line comes out for each synset that is the first sense of one of its words, under the first such
# word, unless a line before it had the same definition:
#
#   1 bucket      0..9999, a hash of the lower-case lemma: what splits are cut from
#   2 order       0..2147483646, a hash of lemma and part of speech: a fixed shuffle
#   3 lemma       spaces for underscores, capitals as in the data
#   4 part of speech
#   5 category    the lexicographer's file without its part of speech (nouns), else "-"
#   6 definition  the gloss without examples
#   7 gloss       all of it
#
# Fields 3, 6 and 7 are escaped as the inside of a JSON string (WordNet is plain ASCII), so what reads
# this may print them between quotes as they are.  Splits that are cut by bucket share no lemma, in
# whatever part of speech, and no definition.

BEGIN {
	OFS = "\t"
	for (i = 32; i < 127; i++)
		code[sprintf("%c", i)] = i
	for (i = 0; i < 16; i++)
		digit[substr("0123456789abcdef", i + 1, 1)] = i
	split("act animal artifact attribute body cognition communication event feeling food group " \
	      "location motive object person phenomenon plant possession process quantity relation " \
	      "shape state substance time", name, " ")
	for (i = 1; i <= 25; i++)
		category[sprintf("%02d", i + 3)] = name[i]
}

# A polynomial in the bytes modulo 2^31 - 1, then stirred; exact in doubles.
function hash(text,    i, h) {
	h = 7
	for (i = 1; i <= length(text); i++)
		h = (h * 257 + code[substr(text, i, 1)]) % 2147483647
	for (i = 0; i < 3; i++)
		h = (h * 48271 + 11) % 2147483647
	return h
}

function json(text) {
	gsub(/\\/, "\\\\", text)
	gsub(/"/, "\\\"", text)
	return text
}

/^  / { next }                          # the licence stands at the head of each file

FILENAME ~ /index\.[a-z]+$/ { first[$1, pos] = $(7 + $4); next }

{
	gloss = substr($0, index($0, "|") + 1)
	gsub(/^ +| +$/, "", gloss)
	gsub(/ +/, " ", gloss)
	definition = gloss
	if (match(definition, /[;:,] *"/))
		definition = substr(definition, 1, RSTART - 1)
	if (definition == "" || gloss ~ /[^ -~]/ || definition in seen)
		next
	words = 16 * digit[substr($4, 1, 1)] + digit[substr($4, 2, 1)]
	for (i = 0; i < words; i++) {
		word = $(5 + 2 * i)
		sub(/\([a-z]+\)$/, "", word)            # where an adjective may stand
		lower = tolower(word)
		if (first[lower, pos] != $1)
			continue
		seen[definition] = 1
		gsub(/_/, " ", word)
		print hash(lower) % 10000, hash(lower "/" pos), json(word), pos,
		      ($2 in category ? category[$2] : "-"), json(definition), json(gloss)
		next
	}
}
