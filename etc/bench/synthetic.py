"""A run to start: a model folder with a large tokenizer.json, and data; the same every time.

The tokenizer is a byte-level BPE of SmolLM2's size (49,152 tokens, 48,893 merges) laid out as
Hugging Face writes it, 3.8 MB.  Its merges are random pairs of random words: what reading it
costs does not depend on them.
"""

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

VOCABULARY = 49152
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

RUN = """[run]
output    = run
adapter   = lora
objective = sft
backend   = cpu

[model]
path = .

[data]
train      = train.jsonl
validation = validation.jsonl
max_length = 256

[train]
learning_rate = 2e-4
"""


def alphabet():
    """The character that stands for each byte in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {b: chr(256 + i) for i, b in enumerate(other)}


def tokenizer():
    draw = random.Random(1)
    letters = alphabet()
    tokens = dict.fromkeys([*SPECIALS, *letters.values()])
    space = letters[32]
    parts = [space, *map(chr, range(97, 123))]
    merges = []
    while len(tokens) < VOCABULARY:
        left, right = draw.choice(parts), draw.choice(parts)
        if space in right or len(left + right) > 12 or left + right in tokens:
            continue
        tokens[left + right] = None
        parts.append(left + right)
        merges.append([left, right])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": s, **special} for i, s in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def rows(n, seed):
    """Definitions as long as those of the example, of words that do not exist."""
    draw = random.Random(seed)

    def word():
        return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9)))

    for _ in range(n):
        answer = " ".join(word() for _ in range(draw.randint(4, 16)))
        yield json.dumps({"messages": [
            {"role": "user", "content": f'Define the noun "{word()}".'},
            {"role": "assistant", "content": answer},
        ]})


def start_folder(bench_step):
    """Makes the folder in the temporary one, unless it is there; bench_step makes the weights."""
    temporary = Path(tempfile.gettempdir())
    shape, folder = temporary / "hone-bench-smollm2", temporary / "hone-bench-start"
    if not (shape / "model.safetensors").exists():
        step = "smollm2 --json --steps 1 --rows 64 --length 64 --micro 64".split()
        subprocess.run([bench_step, *step], check=True, stdout=subprocess.DEVNULL)
    if (folder / "run.ini").exists():
        return folder
    folder.mkdir(exist_ok=True)
    config = json.loads((shape / "tokenizer_config.json").read_text()) | {"pad_token": SPECIALS[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), indent=2, ensure_ascii=False))
    (folder / "config.json").write_bytes((shape / "config.json").read_bytes())
    (folder / "train.jsonl").write_text("\n".join(rows(4000, 2)) + "\n")
    (folder / "validation.jsonl").write_text("\n".join(rows(400, 3)) + "\n")
    if not (folder / "model.safetensors").exists():
        os.link(shape / "model.safetensors", folder / "model.safetensors")
    (folder / "run.ini").write_text(RUN)  # last: it says that all is there
    return folder
