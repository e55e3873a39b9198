#!/usr/bin/env python3
"""entries.py - the table of bad inputs names every number once and only tests that there are.

    etc/lint/entries.py [root]

Reads tests/fault/README.md: rows "| number | input | tests | exit |".  A test is a function
`test_...(void **state)` of a .c file below tests/ that main() of its file registers.
"""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
TABLE = "tests/fault/README.md"
# Images (68) and devices (80-87) are not read here; 78 and 79 are told by dlopen.
NUMBERS = [*range(1, 68), *range(69, 78), *range(88, 97)]
EXITS = {"0", "2", "3", "4", "5", "6", "7", "8", "9"}


def tests_there():
    """Functions that are defined and handed to cmocka."""
    found = set()
    for folder, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            if name.endswith(".c"):
                text = open(os.path.join(folder, name), encoding="utf-8").read()
                for test in re.findall(r"^(test_\w+)\(void \*\*state\)", text, re.M):
                    if len(re.findall(rf"\b{test}\b", text)) > 1:
                        found.add(test)
    return found


def faults():
    there, seen = tests_there(), {}
    for at, line in enumerate(open(os.path.join(ROOT, TABLE), encoding="utf-8"), 1):
        row = re.match(r"\| (\d+) \|", line)
        if not row:
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        number = int(row.group(1))
        if number in seen:
            yield f"{TABLE}:{at}: entry {number} stands in line {seen[number]} already"
        seen[number] = at
        if len(cells) != 4 or cells[3] not in EXITS:
            yield f"{TABLE}:{at}: entry {number} has no exit code"
            continue
        names = cells[2].split(", ")
        for name in names:
            if name not in there:
                yield f"{TABLE}:{at}: entry {number} names '{name}', and there is no such test"
    for number in NUMBERS:
        if number not in seen:
            yield f"{TABLE}: entry {number} is missing"


found = list(faults())
print("\n".join(found), end="\n" if found else "")
sys.exit(bool(found))
