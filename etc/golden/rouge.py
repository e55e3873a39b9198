"""Makes tests/data/golden/rouge.json: ROUGE-L of pairs of texts by Google's rouge_score 0.1.2.

    python3 -m venv .venv && .venv/bin/pip install rouge-score==0.1.2 && .venv/bin/python rouge.py

A venv of its own: rouge_score brings nltk, which nothing else here needs.
"""
import json
import random
from pathlib import Path

from rouge_score import rouge_scorer

OUT = Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "golden" / "rouge.json"
WORDS = "the a cat dog sat on mat 3 42 Red blue-green isn't x_y Ünder naïve end. (of) U.S.A. 1,000".split()

FIXED = [
    ("", ""), ("", "word"), ("word", ""), ("...", "?!"), ("word", "other"),
    ("The cat sat on the mat.", "the cat sat on the mat"),
    ("The cat sat on the mat.", "On the mat sat the cat."),
    ("police killed the gunman", "the gunman kill police"),
    ("the the the", "the"), ("the", "the the the the"),
    ("don't stop", "don t stop"), ("snake_case word", "snake case word"),
    ("Ünïcödé wörds", "unicode words"), ("naïve", "na ve"),
    ("5\u212A", "5k"), ("\u212aelvin 3\u212am", "kelvin 3km"), ("\u0130stanbul", "i stanbul"), ("\u0130", "i"), ("A\u0130B", "ai b"),
    ("\u00c5ngstr\u00f6m \u212bngstr\u00f6m", "ngstr m"), ("\u017ftop", "top"),
    ("日本語 text 123", "text 日本 123"), ("tab\tand\nline\r\nbreaks", "tab and line breaks"),
    ("e\u0301t\u00e9", "e t"), ("a\u00a0b\u2003c", "a b c"), ("1,000.50", "1 000 50"),
]


def drawn():
    draw = random.Random(11)
    for _ in range(40):
        yield tuple(" ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 40))) for _ in range(2))
    for _ in range(10):          # near each other: words left out, doubled, swapped
        words = [draw.choice(WORDS) for _ in range(60)]
        other = [w for w in words if draw.random() > 0.2]
        at = draw.randrange(len(other) - 1)
        other[at], other[at + 1] = other[at + 1], other[at]
        yield " ".join(words), " ".join(other)


def main():
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    cases = []
    for reference, answer in [*FIXED, *drawn()]:
        score = scorer.score(reference, answer)["rougeL"]
        cases.append({"reference": reference, "answer": answer, "precision": score.precision,
                      "recall": score.recall, "f": score.fmeasure})
    mean = sum(case["f"] for case in cases) / len(cases)
    OUT.write_text(json.dumps({"cases": cases, "mean_f": mean}, indent=1) + "\n")


if __name__ == "__main__":
    main()
