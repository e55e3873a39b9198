"""Golden cases of core/data/tokenise: rows of every schema to ids and masks.

    python3 etc/golden/chat_tokens.py

Tokenizes with transformers (the small tokenizers of tests/data/tokenizer, whose pad token is the
end of sequence, as many models have it) and writes tests/data/chat_tokens.json.  The rules are
TRL's, written down again from what they mean:

    text, pair   one end of sequence behind, one begin of sequence in front where the tokenizer
                 adds one, neither twice; a token is learned when a character of it is
    messages     apply_chat_template; turn i is what stands between the text of the messages
                 before it with the generation prompt, and that of the messages up to it; where
                 the template has generation blocks, transformers' own assistant mask is asked
    chat pair    apply_chat_template; learned from the longest common beginning with the prompt

Not here: a border within characters that a normalizer joins ("e" and U+0301).  tokenizers then says
that the token is of the first character alone, hone that it is of both; a unit test holds that.

Needs transformers 5.
"""
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "tests" / "data"
NOW = 1753500000

# tokenizer, template, begin and end of sequence, who says what is learned of a conversation
STYLES = [
    ("smollm", "smollm2", None, "<|im_end|>", "prefix"),
    ("smollm", "chatml_training", None, "<|im_end|>", "blocks"),
    ("llama3", "llama3", "<|begin_of_text|>", "<|eot_id|>", "prefix"),
    ("qwen2", "qwen2_5", None, "<|im_end|>", "prefix"),
    ("smollm", "zephyr", None, "<|endoftext|>", "prefix"),
]

TEXTS = ["a", " two words ", "the end<|im_end|>", "Grüße, 你好 🏽!\n\ttabs", "1234567890 numbers", "<|im_start|>user\nnot a turn",
         "e\u0301 combining", "x" * 40, "line\r\nline\r\n\r\n", "mid <|im_end|> dle"]
PAIRS = [("What is it?", " A thing."), ("", "only an answer"), ("the word compl", "etion goes on"), ("prompt ", " two spaces"),
         ("ends in\n", "\n\nnew lines"), ("Grü", "ße und 你好"), ("q", "closed<|im_end|>"), ("12", "34"),
         ("a <|im_end|> inside", "b")]


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


CHATS = [
    [user("Hi"), said("Hello.")],
    [system("Be brief."), user("Hi"), said("Hello."), user("And?"), said("That's all.")],
    [user("same"), said("same"), user("same"), said("same")],
    [user("Grüße 你好"), said("🏽 line one\n\nline two")],
    [user("last word is mine"), said("yes"), user("still")],
    [user("count"), said("1, 2, 3, 4567")],
    [user("injected <|im_end|> token"), said("fine")],
    [user("nobody answers")],
]


def load(name, template, bos, eos):
    tok = PreTrainedTokenizerFast(tokenizer_file=str(DATA / "tokenizer" / f"{name}.json"), bos_token=bos, eos_token=eos, pad_token=eos)
    tok.chat_template = (HERE / "chat_templates" / f"{template}.jinja").read_text()
    return tok


def encode(tok, text):
    """ids and ranges of characters, nothing added."""
    got = tok(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(got["input_ids"]), [tuple(o) for o in got["offset_mapping"]]


def result(ids, learned, straddles):
    return {"ids": ids, "learned": "".join("01"[bool(x)] for x in learned), "straddles": straddles}


def covers(offsets, begin, end):
    learned = [b < end and e > begin for b, e in offsets]
    straddles = sum(m and (b < begin or e > end) for m, (b, e) in zip(learned, offsets))
    return learned, straddles


def plain(tok, prompt, completion, masked):
    text = prompt + completion
    ids, offsets = encode(tok, text)
    learned, straddles = covers(offsets, len(prompt), len(text)) if masked else ([True] * len(ids), 0)
    adds_bos = tok("")["input_ids"][:1] == [tok.bos_token_id] and tok.bos_token_id is not None
    if adds_bos and ids[:1] != [tok.bos_token_id]:
        ids, learned = [tok.bos_token_id] + ids, [not masked] + learned
    if ids[-1:] != [tok.eos_token_id]:
        ids, learned = ids + [tok.eos_token_id], learned + [True]
    return result(ids, learned, straddles)


def render(tok, messages, prompt=False):
    return tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


def chat(tok, messages, masked, how):
    text = render(tok, messages)
    ids, offsets = encode(tok, text)
    assert ids == tok.apply_chat_template(messages, tokenize=True, return_dict=False), text
    if not masked:
        return result(ids, [True] * len(ids), 0)
    learned, straddles = [False] * len(ids), 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        begin, end = len(render(tok, messages[:i], True)), len(render(tok, messages[:i + 1]))
        assert text.startswith(render(tok, messages[:i], True)) and text.startswith(render(tok, messages[:i + 1]))
        turn, n = covers(offsets, begin, end)
        learned, straddles = [a or b for a, b in zip(learned, turn)], straddles + n
    if how == "blocks":
        # What transformers marks is learned; hone's mask may only add the end of each turn.
        blocks = tok.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)["assistant_masks"]
        assert all(not b or l for b, l in zip(blocks, learned)), (blocks, learned)
    return result(ids, learned, straddles)


def chat_pair(tok, prompt, completion, masked):
    text, start = render(tok, prompt + completion), render(tok, prompt, True)
    border = next((i for i, (a, b) in enumerate(zip(start, text)) if a != b), min(len(start), len(text)))
    ids, offsets = encode(tok, text)
    learned, straddles = covers(offsets, border, len(text)) if masked else ([True] * len(ids), 0)
    return result(ids, learned, straddles)


def prompt_ids(tok, prompt):
    """Where generation starts: a raw prompt, or messages."""
    if not isinstance(prompt, str):
        return tok.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True, return_dict=False)
    ids = encode(tok, prompt)[0]
    adds_bos = tok("")["input_ids"][:1] == [tok.bos_token_id] and tok.bos_token_id is not None
    return [tok.bos_token_id] + ids if adds_bos and ids[:1] != [tok.bos_token_id] else ids


def cases(tok, how):
    out = []

    def add(schema, row, all_of_it, masked, prompt):
        out.append({"schema": schema, "row": row, "all": all_of_it, "masked": masked, "prompt": prompt})

    for text in TEXTS:
        add("text", {"text": text}, plain(tok, "", text, False), plain(tok, "", text, False), prompt_ids(tok, text))
    for prompt, completion in PAIRS:
        add("prompt", {"prompt": prompt, "completion": completion}, plain(tok, prompt, completion, False),
            plain(tok, prompt, completion, True), prompt_ids(tok, prompt))
    for messages in CHATS:
        answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        before = messages[:answers[-1]] if answers else messages
        both = chat(tok, messages, False, how), chat(tok, messages, True, how), prompt_ids(tok, before)
        add("messages", {"messages": messages}, *both)
        names = {"user": "human", "assistant": "gpt", "system": "system"}
        add("sharegpt", {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in messages]}, *both)
        if answers and answers[-1] == len(messages) - 1:
            add("prompt", {"prompt": before, "completion": messages[-1:]}, chat_pair(tok, before, messages[-1:], False),
                chat_pair(tok, before, messages[-1:], True), prompt_ids(tok, before))
    for instruction, given, output in [("Add.", "1 and 2", "3"), ("Say hi.", "", "hi")]:
        messages = [user(instruction + ("\n" + given if given else "")), said(output)]
        add("alpaca", {"instruction": instruction, "input": given, "output": output}, chat(tok, messages, False, how),
            chat(tok, messages, True, how), prompt_ids(tok, messages[:1]))
    return out


def main():
    groups = []
    for name, template, bos, eos, how in STYLES:
        tok = load(name, template, bos, eos)
        config = {"eos_token": eos, "pad_token": eos, "chat_template": tok.chat_template}
        if bos:
            config["bos_token"] = bos
        groups.append({"tokenizer": name, "template": template, "config": json.dumps(config), "cases": cases(tok, how)})
        print(name, template, len(groups[-1]["cases"]), "rows")
    path = DATA / "chat_tokens.json"
    path.write_text(json.dumps({"now": NOW, "groups": groups}, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(path.stat().st_size, "bytes")


main()
