"""Reference values for core/text: ids of Hugging Face's `tokenizers` and of llama.cpp.

    python tokenizer.py OUT [--llama-cpp NODE_MODULES]

Makes small tokenizers of every style that hone reads, encodes the lines of tokenizer_lines.py
with them, and writes to OUT (tests/data/tokenizer):

    lines.bin        the texts: u16 length, bytes; 10,000 times
    <name>.json      a tokenizer.json
    <name>.crc       u32 for every 10 lines: CRC-32 of (id[, begin, end]) as u32; offsets in bytes,
                     widened to whole characters and 0, 0 for tokens that stand for nothing, where
                     the style has no normalizer and a token for each byte
    <name>.gguf.crc  the same from llama.cpp (ids only, special tokens parsed), for the
                     styles that have a name in GGUF files
    smollm2.gguf.crc the same for SmolLM2's GGUF file, with --smollm2 FILE
    trained.merges   what BpeTrainer learns from the lines, joined by line breaks

Needs tokenizers 0.23, gguf 0.19 and, for the GGUF ones, node with node-llama-cpp 3.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_lines import lines

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PER_HASH = 10

P = pre_tokenizers


def split_style(pattern):
    return P.Sequence([P.Split(Regex(pattern), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def special(text, **flags):
    return AddedToken(text, special=True, normalized=False, **flags)


CHAT = [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>")]


def template(t):
    bos, eos = "<|begin_of_text|>", "<|eot_id|>"
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A {eos}", special_tokens=[
            (bos, t.token_to_id(bos)), (eos, t.token_to_id(eos))])])


def roberta(t):
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")),
                                                    trim_offsets=False, add_prefix_space=False)


# name: normalizer, pre-tokenizer, special tokens, other added tokens, whole alphabet, model's
# flags, what comes last, GGUF's name
STYLES = {
    "smollm": (None, P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]),
               CHAT, [], False, {}, None, "smollm"),
    "gpt2": (None, P.ByteLevel(add_prefix_space=False),
             [special("<s>"), special("</s>"), special("<mask>", lstrip=True)], [], True, {}, roberta, "gpt-2"),
    "llama3": (None, split_style(LLAMA3), [special("<|begin_of_text|>"), special("<|eot_id|>"), *CHAT], [], True,
               {"ignore_merges": True}, template, "llama-bpe"),
    "qwen2": (normalizers.NFC(), split_style(QWEN2), CHAT, [AddedToken("<tool>", special=False, normalized=False)],
              True, {}, None, "qwen2"),
    "gpt4o": (None, split_style(GPT4O), CHAT, [], True, {}, None, "gpt-4o"),
    "mixed": (normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "),
                                    normalizers.Replace("a", "aa"), normalizers.Prepend("<")]),
              P.Sequence([P.Split("e", "merged_with_next"), P.Punctuation("merged_with_previous"),
                          P.Digits(individual_digits=False), P.Split(Regex(r"[^\p{L}\s]+"), "contiguous"),
                          P.Split(Regex("[xyz]"), "removed"), P.Whitespace(), P.ByteLevel(add_prefix_space=True)]),
              [special("<unk>"), special("<|im_end|>", rstrip=True)],
              [AddedToken("wordtok", single_word=True, special=False), AddedToken("<TOOL>", special=False, normalized=True)],
              False, {"unk_token": "<unk>", "fuse_unk": True}, None, None),
}


def train(texts, style, vocab_size=700):
    normalizer, pre, specials, others, whole, flags, last, _ = style
    t = Tokenizer(models.BPE(**flags))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    # Without the whole alphabet some bytes have no token, as in SmolLM2.
    kept = texts if whole else [x for x in texts if x.isprintable() and x.isascii()] + texts[:400]
    t.train_from_iterator(kept, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, show_progress=False,
        initial_alphabet=P.ByteLevel.alphabet() if whole else []))
    t.add_tokens(others)
    if last:
        last(t)
    return t


def trained_merges(texts, vocab_size=1500):
    """BpeTrainer on a file, which it reads line by line, with SmolLM2's pre-tokenizer."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = STYLES["smollm"][1]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text")
        with open(path, "wb") as f:
            f.write("\n".join(texts).encode())
        t.train([path], trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=CHAT, show_progress=False,
                                            initial_alphabet=P.ByteLevel.alphabet()))
    return "".join(" ".join(m) + "\n" for m in json.loads(t.to_str())["model"]["merges"])


def byte_offsets(text, offsets):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [(at[b], at[e]) for b, e in offsets]


def hashes(rows):
    out = b""
    for i in range(0, len(rows), PER_HASH):
        out += struct.pack("<I", zlib.crc32(b"".join(struct.pack(f"<{len(r)}I", *r) for r in rows[i:i + PER_HASH])))
    return out


def has_offsets(style):
    """Where Hugging Face's offsets are exact: no normalizer, no byte without a token."""
    return style[0] is None and style[4]


def hf_rows(t, texts, with_offsets):
    rows = []
    for text, e in zip(texts, t.encode_batch(texts, add_special_tokens=True)):
        row = e.ids
        if with_offsets:
            row = [x for i, (b, n) in zip(e.ids, byte_offsets(text, e.offsets)) for x in (i, b, n)]
        rows.append(row)
    return rows


def write_gguf(path, t, pre):
    model = json.loads(t.to_str())["model"]
    n = t.get_vocab_size()
    added = t.get_added_tokens_decoder()
    kinds = [gguf.TokenType.NORMAL] * n
    for i, a in added.items():
        kinds[i] = gguf.TokenType.CONTROL if a.special else gguf.TokenType.USER_DEFINED
    w = gguf.GGUFWriter(path, "llama")
    for add, value in ((w.add_context_length, 128), (w.add_embedding_length, 32), (w.add_block_count, 1),
                       (w.add_feed_forward_length, 64), (w.add_head_count, 2), (w.add_layer_norm_rms_eps, 1e-5)):
        add(value)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list([t.id_to_token(i) for i in range(n)])
    w.add_token_types(kinds)
    w.add_token_merges([" ".join(m) for m in model["merges"]])
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


NODE = """
import fs from "fs";
import {getLlama} from "node-llama-cpp";
const [,, model, lines, out] = process.argv;
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const m = await llama.loadModel({modelPath: model, vocabOnly: true});
const rows = JSON.parse(fs.readFileSync(lines, "utf8")).map((t) => Array.from(m.tokenize(t, true)));
fs.writeFileSync(out, JSON.stringify(rows));
process.exit(0);
"""


def llama_cpp_rows(modules, model, texts):
    """Ids from llama.cpp; the script stands beside node_modules so that node finds the package."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(modules))) as folder:
        for name, content in (("run.mjs", NODE), ("lines.json", json.dumps(texts))):
            with open(os.path.join(folder, name), "w") as f:
                f.write(content)
        subprocess.run(["node", "run.mjs", os.path.abspath(model), "lines.json", "rows.json"], cwd=folder, check=True)
        with open(os.path.join(folder, "rows.json")) as f:
            return json.load(f)


def save(out, name, content):
    with open(os.path.join(out, name), "wb") as f:
        f.write(content)
    print(f"{name}: {len(content)} bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--llama-cpp", help="a node_modules folder that holds node-llama-cpp")
    parser.add_argument("--smollm2", help="SmolLM2's GGUF file")
    args = parser.parse_args()
    texts = lines()
    save(args.out, "lines.bin", b"".join(struct.pack("<H", len(x.encode())) + x.encode() for x in texts))
    save(args.out, "trained.merges", trained_merges(texts).encode())
    for name, style in STYLES.items():
        path = os.path.join(args.out, name + ".json")
        if not os.path.exists(path):
            document = json.loads(train(texts, style).to_str())
            save(args.out, name + ".json", json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
        t = Tokenizer.from_file(path)
        save(args.out, name + ".crc", hashes(hf_rows(t, texts, with_offsets=has_offsets(style))))
        if args.llama_cpp and style[-1]:
            with tempfile.TemporaryDirectory() as folder:
                model = os.path.join(folder, "vocab.gguf")
                write_gguf(model, t, style[-1])
                save(args.out, name + ".gguf.crc", hashes(llama_cpp_rows(args.llama_cpp, model, texts)))
    if args.llama_cpp and args.smollm2:
        save(args.out, "smollm2.gguf.crc", hashes(llama_cpp_rows(args.llama_cpp, args.smollm2, texts)))


if __name__ == "__main__":
    sys.exit(main())
