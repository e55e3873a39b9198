"""Makes smollm2/: what transformers computes with the real SmolLM2-135M-Instruct, Q4_1 GGUF.

The model is not committed; `smollm2_reference.py PATH.gguf` reads it (examples/02-smollm2-lora
gets it).  Only token ids are used, so that no tokenizer is between two implementations.

    logits.safetensors     three prompts of 6, 61 and 256 tokens: at every 16th and each last row
                           the 32 greatest logits with their ids, 64 fixed ids and log-sum-exp, all
                           float64; losses of every next token; float32's own distance; 24 tokens that greedy
                           decoding appends to the second prompt
    start/, final/         a PEFT adapter, r = 2, on q_proj and v_proj of four layers; final/ is
                           after 50 steps in float32
    curves.safetensors     those 50 steps on one batch of 8 rows x 64 tokens, the first 16 of a row
                           not learned: loss, grad_norm, lr, in float32, in bf16 autocast (with
                           the base in bfloat16), and the first 5 in float64
    batch.safetensors      the batch

The ids are text, not noise: a model that has learned to write gives sharp distributions on text
only, and these are where a small error in a weight shows.
"""
import sys
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from common import *
from tiny_training import save_adapter, train

PLAN = dict(steps=50, rate=2e-3, warmup=5)
LAYERS = [0, 10, 20, 29]
TEXT = """The lighthouse keeper had counted ships for forty years. Every evening at 6 o'clock he climbed the 217
steps, lit the lamp, and opened the grey ledger in which his father had written before him. "Three schooners, one steamer,
wind from the north-west," he would write, and underline the number twice. In 1931 the electric light came, and a man from
the ministry told him that nobody needed the ledger any more. He nodded, thanked the man, and went on counting. When the
great storm took the harbour's papers, it was his ledger that told the families which boats had passed, at what hour, and
in which direction. After that the ministry sent him a new pencil each January.

def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2

Water boils at 100 degrees Celsius at sea level, but at 95 degrees in a town that lies 1,500 metres above it. The reason
is that the air weighs less there, and a bubble of steam has to push less of it aside. Bakers in the mountains therefore add
a little water to their dough, and cooks leave the beans on the fire for longer. Tea is another matter: nothing can be done
about it except to carry a pressure cooker up the hill, which few people do. A good map, a dry pair of socks and
patience are worth more than most equipment, as every walker learns sooner or later, usually in the rain.
"""


def read_ids(gguf):
    """Ids of TEXT, digits split as SmolLM2 does (transformers' GGUF reader forgets that)."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer(TEXT).input_ids


def prompts(ids):
    return [ids[:6], ids[40:101], ids[100:356]]


@torch.no_grad()
def logits(wide, narrow, ids):
    fixed = torch.from_numpy(np.sort(stream("fixed ids").choice(49152, 64, replace=False)).astype(np.int64))
    tensors, worst = {"fixed_ids": fixed.int()}, 0.0
    for index, prompt in enumerate(prompts(ids)):
        given = torch.tensor([prompt])
        full, near = wide(input_ids=given).logits, narrow(input_ids=given).logits
        rows = torch.tensor(sorted({*range(0, len(prompt), 16), len(prompt) - 1}))
        top, top_ids = full[0, rows].topk(32, dim=-1)
        error = (near.double() - full)[0].abs().amax(-1)
        worst = max(worst, error.max().item())
        tensors |= {f"{index}.input_ids": given[0].int(), f"{index}.rows": rows.int(),
                    f"{index}.top_ids": top_ids.int(), f"{index}.top_logits": top,
                    f"{index}.fixed_logits": full[0, rows][:, fixed], f"{index}.logsumexp": full[0, rows].logsumexp(-1),
                    f"{index}.losses": token_losses(full, given)[0][0], f"{index}.f32_error": error.float()}
    tensors["greedy"], lead = greedy(wide, torch.tensor([prompts(ids)[1]]), 24)
    write_tensors("smollm2/logits.safetensors", tensors, worst_f32_error=worst, greedy_lead=lead)
    print(f"    float32 is off by at most {worst:.2e}")


def make_batch(ids):
    rows = []
    for index in range(8):
        row = ids[index * 38:index * 38 + 64]
        assert len(row) == 64
        rows.append((row, [IGNORED] * 16 + row[16:]))
    write_tensors("smollm2/batch.safetensors", {
        "input_ids": torch.tensor([row for row, _ in rows], dtype=torch.int32),
        "labels": torch.tensor([labels for _, labels in rows], dtype=torch.int32)})
    return rows


def make_start(model):
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"],
                                             layers_to_transform=LAYERS, task_type="CAUSAL_LM"))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = normal(f"smollm2/{name}", p.shape, 0.01 if "lora_B" in name else p.shape[1] ** -0.5)
    save_adapter(model, OUT / "smollm2" / "start", "SmolLM2-135M-Instruct")


def adapted(gguf, kind):
    base = load_model(gguf.parent, torch.float32, gguf_file=gguf.name)
    if kind == "bf16":
        frequencies = base.model.rotary_emb.inv_freq
        base = base.bfloat16()
        base.model.rotary_emb.inv_freq = frequencies        # stay float32, as in a bfloat16 folder
    model = PeftModel.from_pretrained(base, OUT / "smollm2" / "start", is_trainable=True)
    return widen(model.double()) if kind == "f64" else model


def curves(gguf, rows):
    """Eight rows are two micro-batches of four: one batch of tiny_training's train."""
    tensors = {}
    for kind, steps in (("f64", 5), ("f32", 50), ("bf16", 50)):
        model = adapted(gguf, kind)
        rounds = [rows[i % 8] for i in range(40)]           # train takes rows modulo 40
        result = train(model, rounds, PLAN, accumulate=2, autocast=kind == "bf16", stop=steps)
        tensors |= {f"{kind}.{key}": value for key, value in result.items()}
        loss = result["loss"]
        print(f"    {kind}: loss {loss[0]:.6f} -> {loss[-1]:.6f}", flush=True)
        if kind == "f32":
            save_adapter(model, OUT / "smollm2" / "final", "SmolLM2-135M-Instruct")
    for kind in ("f32", "bf16"):
        gap = (tensors["f64.loss"] - tensors[f"{kind}.loss"][:5]).abs().max().item()
        print(f"    {kind} is off by {gap:.1e} in the first five steps")
    write_tensors("smollm2/curves.safetensors", tensors, **PLAN)


def main():
    gguf = Path(sys.argv[1]).resolve()
    ids = read_ids(gguf)
    rows = make_batch(ids)
    wide = load_model(gguf.parent, torch.float64, gguf_file=gguf.name)
    narrow = load_model(gguf.parent, torch.float32, gguf_file=gguf.name)
    logits(wide, narrow, ids)
    del wide
    make_start(narrow)
    del narrow
    curves(gguf, rows)


if __name__ == "__main__":
    main()
