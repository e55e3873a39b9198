#!/usr/bin/env python3
"""tags.py - every function of the SDK says on which thread and in which phase it is legal.

    etc/lint/tags.py [root]

A function (a member of a table, or an inline one) is tagged by the comment before it, by the
comment before its table (or before the struct that points to it), or by its file's essay ("All functions: [build]").  Functions that
follow each other without a comment share one.  A tag is a bracket of these words.
"""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
WORDS = r"(?:declare|build|fill|step|worker|main|any thread|pure)"
TAG = re.compile(r"\[" + WORDS + r"(?:, " + WORDS + r")*\]")
TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|^\s*#(?:[^\n\\]|\\.|\\\n)*|\"(?:[^\"\\]|\\.)*\"|[{}();]|[^/\"{}();#]+|.",
                   re.S | re.M)


def comment_text(token):
    return " ".join(re.sub(r"^\s*\*", " ", token[2:-2], flags=re.M).split())


class Scanner:
    """Walks a header; statements end at ';' or at a brace outside parentheses."""

    def __init__(self, path):
        self.path, self.faults = path, []
        self.text = open(path).read()
        self.file_tag = self.table_tag = self.tag = False
        self.fresh = False          # a comment stands between this and the last function
        self.depth = self.parens = 0
        self.statement = ""
        self.in_table = False
        self.essay_seen = False

    def on_comment(self, token):
        text = comment_text(token)
        tagged = bool(TAG.search(text))
        if not self.essay_seen:
            self.essay_seen = True
            self.file_tag = bool(re.search(r"All functions: \[", text)) and tagged
            return
        if text.startswith("---"):
            return
        if self.statement.strip():
            return                  # behind a declaration or inside a parameter list
        self.tag, self.fresh = tagged, True

    def need(self, name, at):
        if not (self.file_tag or self.tag or (self.in_table and self.table_tag)):
            self.faults.append((self.text.count("\n", 0, at) + 1, name))
        self.fresh = False

    def on_statement(self, at, opens):
        text = " ".join(self.statement.split())
        self.statement = ""
        if self.depth == 0 and opens:
            inline = re.search(r"\b(hone_\w+) ?\([^=]*\)$", text)
            if inline and "static inline" in text:
                self.need(inline.group(1), at)
            if re.match(r"struct \w+$", text):
                self.in_table, self.table_tag = True, self.tag
                self.tag = False
        elif self.depth == 1 and self.in_table and not opens:
            pointer = re.match(r"[\w *]*\(\*\s*(\w+)\) ?\(", text)
            if pointer:
                self.need(pointer.group(1), at)

    def run(self):
        for match in TOKEN.finditer(self.text):
            token, at = match.group(), match.start()
            if token.startswith("/*"):
                self.on_comment(token)
            elif token.startswith("//") or token.lstrip().startswith("#"):
                continue
            elif token == "{" and self.parens == 0:
                if self.statement.strip() != 'extern "C"':
                    self.on_statement(at, True)
                    self.depth += 1
                self.statement = ""
            elif token == "}" and self.parens == 0:
                self.depth = max(0, self.depth - 1)
                if self.depth == 0 and self.in_table:
                    self.in_table, self.tag = False, self.table_tag  # until the next comment
                self.statement = ""
            elif token == ";" and self.parens == 0:
                self.on_statement(at, False)
            else:
                self.parens += (token == "(") - (token == ")")
                self.statement += token
        return self.faults


def main():
    folder = os.path.join(ROOT, "sdk", "include", "hone")
    n = 0
    for name in sorted(os.listdir(folder)):
        for line, function in Scanner(os.path.join(folder, name)).run():
            print(f"sdk/include/hone/{name}:{line}: {function} has no tag such as [main] or [build]")
            n += 1
    return 1 if n else 0


sys.exit(main())
