#!/usr/bin/env python3
"""abi_layout.py - the border's structs, members, enum values and constants, as a text.

    etc/lint/abi_layout.py           compares with tests/abi/layout.def, says what differs
    etc/lint/abi_layout.py --update  writes it

Declarations are read from the headers as the preprocessor leaves them; sizes, offsets and
values come from a program that the compiler makes of them ($CC, else cc).  A line holds the
declaration too, so that a changed return type or parameter shows, which no offset betrays.
"""
import difflib
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
INCLUDE = os.path.join(os.environ.get("HONE_INCLUDE", os.path.join(ROOT, "sdk", "include")))
TABLE = os.path.join(ROOT, "tests", "abi", "layout.def")
CC = os.environ.get("CC", "cc").split()
HEAD = """\
# The border as it is compiled: written by etc/lint/abi_layout.py --update, never by hand.
# struct name bytes / offset bytes declaration / enum constant value / define name value
"""


def includes():
    names = sorted(n for n in os.listdir(os.path.join(INCLUDE, "hone")) if n.endswith(".h"))
    return "".join(f"#include <hone/{n}>\n" for n in names)


def preprocess(*flags):
    command = CC + ["-std=c11", "-E", "-P", "-I" + INCLUDE, *flags, "-x", "c", "-"]
    done = subprocess.run(command, input=includes(), capture_output=True, text=True)
    if done.returncode:
        sys.exit("abi_layout: the headers do not compile\n" + done.stderr)
    return done.stdout


def members(body):
    """(name, declaration) of each member; `a, b` of one type are two."""
    for text in body.split(";"):
        text = " ".join(text.split()).replace("( ", "(")
        if not text:
            continue
        pointer = re.search(r"\(\*\s*(\w+)\)\s*\(", text)
        if pointer:
            yield pointer.group(1), text
            continue
        first, *rest = text.split(",")
        kind, star, name = re.match(r"(.*?)(\**\s*(?:const )?)(\w+(?:\[[^]]*\])*)$", first.strip()).groups()
        for one in [star + name] + rest:
            one = one.strip()
            yield re.sub(r"[*\s]|\[.*|const ", "", one), " ".join((kind + " " + one).split())


def structs(text):
    for name, body in re.findall(r"struct (hone_\w+)\s*\{([^{}]*)\}", text):
        yield name, list(members(body))


def constants(text):
    for body in re.findall(r"enum (?:hone_\w+)?\s*\{([^{}]*)\}", text):
        for one in body.split(","):
            name = one.split("=")[0].strip()
            if name.startswith("HONE_"):
                yield name


def defines(text):
    for name, value in re.findall(r"^#define (HONE_\w+) (.+)$", text, re.M):
        if not re.match(r"(__attribute__|extern|static)", value) and not name.endswith("_NOTE"):
            yield f"define {name} {' '.join(value.split())}"


def program(text):
    lines = ["#include <stddef.h>", "#include <stdio.h>", includes(), "int main(void)", "{"]
    for name, list_of in structs(text):
        lines.append(f'\tprintf("struct {name} %zu\\n", sizeof(struct {name}));')
        for member, declaration in list_of:
            shown = declaration.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(
                f'\tprintf("  %zu %zu %s\\n", offsetof(struct {name}, {member}), '
                f'sizeof(((struct {name} *)0)->{member}), "{shown}");')
    for name in constants(text):
        lines.append(f'\tprintf("enum {name} %lld\\n", (long long){name});')
    return "\n".join(lines + ["\treturn 0;", "}", ""])


def layout():
    text = preprocess()
    with tempfile.TemporaryDirectory() as folder:
        source, binary = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
        with open(source, "w") as file:
            file.write(program(text))
        subprocess.run(CC + ["-std=c11", "-I" + INCLUDE, source, "-o", binary], check=True)
        out = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    macros = sorted(set(defines(preprocess("-dM"))))
    return HEAD + out + "\n".join(macros) + "\n"


def main():
    now = layout()
    if sys.argv[1:] == ["--update"]:
        with open(TABLE, "w") as file:
            file.write(now)
        return 0
    with open(TABLE) as file:
        was = file.read()
    if was == now:
        return 0
    sys.stdout.writelines(difflib.unified_diff(
        was.splitlines(True), now.splitlines(True), "tests/abi/layout.def", "the headers", n=2))
    print("\nThe border has changed.  If that is meant: etc/lint/abi_layout.py --update, and in a\n"
          "released minor version only new lines at the end of a struct or list.")
    return 1


sys.exit(main())
