"""Golden cases of chat templates: what Jinja2 itself renders.

Renders with the environment that transformers' apply_chat_template sets up (an immutable
sandbox, trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes,
raise_exception, strftime_now, generation blocks) and writes tests/data/template/*.json.

    python3 etc/golden/chat_template.py                       the committed cases
    python3 etc/golden/chat_template.py --also DIR --to OUT   any *.jinja, for a check by hand:
                                                              build/tests/golden_template OUT

Templates in chat_templates/ are written for this project after the formats of the models they
are named for, except smollm2.jinja, which is the metadata of SmolLM2-135M-Instruct (Apache-2.0).
Needs jinja2 3.1.
"""
import argparse
import datetime
import glob
import json
import os
import random

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "..", "tests", "data", "template")
NOW = 1753500000  # 26 Jul 2025, 03:20:00 UTC
BEGIN, END = "\ue000", "\ue001"  # around generated text, taken out again


class Refused(Exception):
    """The template called raise_exception."""


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_mark")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _mark(self, caller):
        return BEGIN + caller() + END


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent,
                          separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Refused(message)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def render(template, variables):
    """(text, byte ranges of generation blocks)"""
    marked = environment().from_string(template).render(**variables)
    text, ranges, begin = "", [], None
    for char in marked:
        if char == BEGIN:
            begin = len(text.encode())
        elif char == END:
            ranges.append([begin, len(text.encode())])
        else:
            text += char
    return text, ranges


def case(name, template, variables):
    out = {"name": name, "vars": variables}
    try:
        out["out"], ranges = render(template, variables)
        if ranges:
            out["generation"] = ranges
    except Refused as error:
        out["refused"] = str(error)
    except Exception as error:  # whatever Jinja2 or Python fails with
        out["fails"] = f"{type(error).__name__}: {str(error)[:120]}"
    return out


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "id": "call00001",
     "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "f": 1.50}}}]}
ANSWER = {"role": "tool", "name": "weather", "tool_call_id": "call00001",
          "content": "{\"sky\": \"blue <&>\"}"}
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather of a \"city\" – soon",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                   "required": ["city"]}}}]

CONVERSATIONS = {
    "one": [user("Hi"), said("Hello.")],
    "two": [user("  Hi there "), said(" Hello,\nyou. \n"), user("Bye?"), said("Bye!")],
    "system": [system("Be brief."), user("Why?"), said("Because."), user("Oh"), said("Yes.")],
    "empty_system": [system(""), user("Why?"), said("Because.")],
    "unicode": [user("Grüezi 👋🏽, 你好"), said("Salü! ﷽ é 🏳️‍🌈"), user("\u00a0x\u3000"),
                said("naïve “quotes” <tag> & 'x'")],
    "same": [user("Yes"), said("Yes"), user("Yes"), said("Yes"), user("No"), said("Yes")],
    "long": [m for i in range(6) for m in (user(f"Question {i}"), said(f"Answer {i}"))],
    "ends_with_user": [user("Hi"), said("Hello."), user("And?")],
    "think": [user("2+2?"), said("<think>\nadd\n</think>\n\n4"), user("3+3?"),
              said("<think>\nadd\n</think>\n\n6")],
    "tool": [user("Weather?"), CALL, ANSWER, said("Blue.")],
    "wrong_order": [said("I begin"), said("and go on")],
    "nothing": [],
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}


def chat_cases(template):
    out = []
    for name, messages in CONVERSATIONS.items():
        for prompt in (False, True):
            variables = dict(TOKENS, messages=messages, tools=None, documents=None,
                             add_generation_prompt=prompt)
            out.append(case(f"{name}{'_prompt' if prompt else ''}", template, variables))
    variables = dict(TOKENS, messages=CONVERSATIONS["tool"], tools=TOOLS, documents=None,
                     add_generation_prompt=True)
    out.append(case("tools", template, variables))
    return out


# How a template's turns read: what becomes of the content, what stands before and behind it
# in the part that is learned.  None = the mask cannot be known and is refused.
RAW, STRIP = (lambda text: text), str.strip
MASKS = {
    "smollm2": (RAW, "", "<|im_end|>\n"),
    "chatml": (RAW, "", "<|im_end|>\n"),
    "llama3": (STRIP, "", "<|eot_id|>"),
    "llama3_1": (STRIP, "", "<|eot_id|>"),
    "qwen2_5": (RAW, "", "<|im_end|>\n"),
    "zephyr": (RAW, "", "</s>\n"),
    "tinyllama": (RAW, "", "</s>\n"),
    "mistral_v1": (RAW, " ", "</s>"),
    "mistral_v3": (STRIP, " ", "</s>"),
    "mistral_nemo": (RAW, "", "</s>"),
    "gemma": (STRIP, "", "<end_of_turn>\n"),
    "phi3": (RAW, "", "<|end|>\n"),
    "llama2": (STRIP, " ", " </s>"),
    "vicuna": (RAW, " ", "</s>\n"),
    "chatml_training": (RAW, "", "<|im_end|>\n"),
    "no_prompt": (RAW, "", "<end>\n"),
}
MASKED = ["one", "two", "system", "empty_system", "unicode", "same", "long", "ends_with_user"]


def random_conversations():
    """Texts with what masks trip over: blanks, special tokens, repeats, Unicode."""
    rng = random.Random(7)
    pieces = ["a", "Yes", " ", "\n", "é", "你好", "👋🏽", "</s>", "<|im_end|>", "<s>", "[/INST]", "hnSaid0x1x",
              "{{ x }}", "\t", "%", "\"", "'", "\\", "<|user|>", "\u00a0", "0", "Answer", "<end>", "e\u0301"]
    out = []
    for _ in range(10):
        messages = [system(rng.choice(["", "Be.", " s "]))] if rng.random() < 0.5 else []
        for _ in range(rng.randint(1, 4)):
            for make in (user, said):
                messages.append(make("".join(rng.choices(pieces, k=rng.randint(1, 9)))))
        out.append(messages)
    return out


def mask_cases(name):
    named = [(key, CONVERSATIONS[key]) for key in MASKED]
    named += [(f"random{i}", m) for i, m in enumerate(random_conversations())]
    change, before, behind = MASKS[name]
    return [{"messages": messages, "name": key,
             "learned": [before + change(m["content"]) + behind
                         for m in messages if m["role"] == "assistant"]}
            for key, messages in named]


def write(path, data):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--also", help="a folder of *.jinja files, not to be committed")
    parser.add_argument("--to", help="where their cases go")
    args = parser.parse_args()
    if args.also:
        os.makedirs(args.to, exist_ok=True)
        for path in sorted(glob.glob(os.path.join(args.also, "*.jinja"))):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            name = os.path.splitext(os.path.basename(path))[0]
            write(os.path.join(args.to, name + ".json"),
                  {"now": NOW, "groups": [{"template": text, "cases": chat_cases(text)}]})
        return
    os.makedirs(OUT, exist_ok=True)
    for path in sorted(glob.glob(os.path.join(HERE, "chat_templates", "*.jinja"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        name = os.path.splitext(os.path.basename(path))[0]
        group = {"template": text, "cases": chat_cases(text)}
        if name in MASKS:
            group["masks"] = mask_cases(name)
        write(os.path.join(OUT, f"chat_{name}.json"), {"now": NOW, "groups": [group]})
    language = {}
    with open(os.path.join(HERE, "chat_template_cases.json"), encoding="utf-8") as file:
        language = json.load(file)
    groups = [{"template": text, "cases": [case(text, text, language["vars"])]}
              for text in language["templates"]]
    write(os.path.join(OUT, "language.json"), {"now": NOW, "groups": groups})


if __name__ == "__main__":
    main()
