"""Makes sampling.safetensors: what transformers' logits processors leave of random logits.

Each case is a row of float64 logits, the ids of the text so far, and the options; the
processors are those that generate() would make of the options, in its order, and run in float64.
`scores` are what they give: -inf where a token was left out.  Options of a case, as F64 [5]:
temperature (0 = the penalty only, as in greedy decoding), top_k, top_p, min_p,
repetition_penalty.  Logits of the last cases have equal values, where only top_k is asked (top_p
among equals depends on torch's sort).
"""
from common import *

from transformers.generation.logits_process import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
    TopKLogitsWarper, TopPLogitsWarper)

V, T = 97, 12
OPTIONS = [
    (1.0, 0, 1.0, 0.0, 1.0), (0.7, 0, 1.0, 0.0, 1.0), (1.0, 5, 1.0, 0.0, 1.0), (1.0, 1, 1.0, 0.0, 1.0),
    (1.0, 500, 1.0, 0.0, 1.0), (1.0, 0, 0.9, 0.0, 1.0), (1.0, 0, 0.5, 0.0, 1.0), (1.0, 0, 1e-6, 0.0, 1.0),
    (1.0, 0, 1.0, 0.1, 1.0), (1.0, 0, 1.0, 1.0, 1.0), (1.0, 0, 1.0, 0.0, 1.3), (1.0, 0, 1.0, 0.0, 0.8),
    (0.6, 20, 0.8, 0.05, 1.1), (2.5, 40, 0.95, 0.02, 1.5), (0.2, 10, 0.99, 0.3, 1.0), (0.0, 0, 1.0, 0.0, 1.2),
    (1.3, 60, 0.3, 0.2, 2.0), (1.5, 0, 0.97, 0.01, 1.0),
]
TIED = [(1.0, 5, 1.0, 0.0, 1.0), (0.5, 30, 1.0, 0.0, 1.0)]


def processors(temperature, top_k, top_p, min_p, penalty):
    chain = LogitsProcessorList()
    if penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(penalty))
    if temperature == 0.0:
        return chain
    if temperature != 1.0:
        chain.append(TemperatureLogitsWarper(temperature))
    if top_k:
        chain.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        chain.append(TopPLogitsWarper(top_p))
    if min_p:
        chain.append(MinPLogitsWarper(min_p))
    return chain


def main():
    logits, ids, scores = [], [], []
    for i, options in enumerate(OPTIONS + TIED):
        row = normal(f"sampling/{i}", (1, V), 3.0).double()
        if i >= len(OPTIONS):
            row = row.round()
        text = torch.from_numpy(stream(f"sampling ids/{i}").integers(0, V, (1, T)))
        logits.append(row[0])
        ids.append(text[0].int())
        scores.append(processors(*options)(text, row.clone())[0])
    write_tensors("sampling.safetensors", {
        "logits": torch.stack(logits), "ids": torch.stack(ids), "scores": torch.stack(scores),
        "options": torch.tensor(OPTIONS + TIED, dtype=torch.float64)})


if __name__ == "__main__":
    main()
