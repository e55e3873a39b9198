#!/usr/bin/env python3
"""snippets.py - the C of sdk/README.md compiles against the headers that it describes.

    etc/lint/snippets.py [root]

A snippet is an indented block after a line `<!-- c: NAME -->`; it becomes the body of a function
whose arguments and locals stand below under NAME.  Indented C without such a line is a fault, so
that nothing in the page escapes.  The compiler is $CC, by default cc.
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INCLUDE = os.path.join(HERE, "..", "..", "sdk", "include")
ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..")
PAGE = os.path.join(ROOT, "sdk", "README.md")
MARK = re.compile(r"<!-- c: (\w+) -->$")
C = re.compile(r";\s*(/\*.*\*/)?$")         # a line of a statement

LORA = """struct lora { int64_t r; double lora_dropout; const struct hone_site_set *target_modules; };
static int applies(const struct lora *l, const struct hone_site *s)
{ return hone_site_set_has(l->target_modules, s); }
"""
HOOK = "const struct hone_build *at, const struct hone_site *site"
CONTEXT = {     # name: (parameters, locals)
    "error": ("const struct hone_site *site, int64_t R", "const int64_t I = site->in_features, O = site->out_features;"),
    "declare": ("const struct lora *lora, const struct hone_site *site, struct hone_params *params",
                "const int64_t R = lora->r; struct hone_param_spec ab[2];"),
    "output": (f"const struct lora *lora, {HOOK}, struct hone_site_io *io, double s",
               "struct hone_graph *g = at->graph; hone_node x, h, d;"),
    "heads": ("const struct hone_build *at", "struct hone_graph *g = at->graph; hone_stream text; hone_node p, q;"),
    "heads_declare": ("struct hone_declare *decl", "enum hone_status st;"),
    "scale_declare": ("const struct lora *my, const struct hone_site *site, struct hone_params *params",
                      "struct hone_param_spec l;"),
    "scale": (f"{HOOK}, struct hone_site_io *io", "struct hone_graph *g = at->graph; hone_node l;"),
    "scale_merge": (f"{HOOK}, struct hone_merge_io *io, hone_node l", "struct hone_graph *g = at->graph;"),
}


def snippets():
    """(line, name or None, text) of each indented block that holds C or is marked."""
    found, block, name, start = [], [], None, 0
    for number, line in enumerate(open(PAGE).read().split("\n") + ["end of the page"], 1):
        mark = MARK.match(line)
        if line.startswith("    ") or (block and not line.strip()):
            start = start or number
            block.append(line)
            continue
        if block and (name or any(C.search(text) for text in block)):
            found.append((start, name, "\n".join(block)))
        if block or line.strip():
            name = mark.group(1) if mark else (name if not line.strip() else None)
        block, start = [], 0
    return found


def main():
    faults, functions = [], []
    for line, name, text in snippets():
        if name not in CONTEXT:
            faults.append(f"{PAGE}:{line}: C without a known '<!-- c: NAME -->' before it ({name})")
            continue
        parameters, local = CONTEXT[name]
        ends = "" if "return" in text.strip().split("\n")[-1] else "return HONE_OK;"
        functions.append(f"static enum hone_status s{line}({parameters}, struct hone_error *err)\n"
                         f"{{ (void)err; {local}\n#line {line} \"{PAGE}\"\n{text}\n{ends} }}\n")
    if not functions:
        faults.append(f"{PAGE}: no C at all")
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "snippets.c")
        with open(source, "w") as file:
            file.write("#include <hone/adapter.h>\n#include <hone/objective.h>\n" + LORA + "".join(functions))
        flags = "-std=c11 -Wall -Wextra -Wconversion -Werror -Wno-unused-function -Wno-unused-parameter".split()
        done = subprocess.run([os.environ.get("CC", "cc"), *flags, "-fsyntax-only", "-I" + INCLUDE, source],
                              capture_output=True, text=True)
    print("\n".join(faults) + done.stderr if faults or done.returncode else f"{len(functions)} snippets")
    return 1 if faults or done.returncode else 0


sys.exit(main())
