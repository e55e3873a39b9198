"""What every golden script shares: where values lie, how they are written, how a model is run.

The rules that make a value golden: it comes from code that we did not write (torch,
transformers, peft, gguf), in float64 wherever that code allows it, with the float32 result
beside it so that a test can say how far float32 itself is off; it depends on nothing but the
seeds in the scripts; and it is written as safetensors, which the C tests read anyway.  Scalars
of a curve are tensors too.  JSON holds only what is text: names, configurations, where things lie.

Random numbers are drawn with numpy's PCG64 and not with torch, whose streams have changed between
releases and differ between vector widths.  One seed per thing, made from the thing's name, so
that adding a case leaves the others as they are.
"""
import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from safetensors.torch import load_file, save_file
import transformers

transformers.utils.logging.disable_progress_bar()

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "tests" / "data" / "golden"
MODELS = ["tiny-llama", "tiny-llama-bf16", "tiny-llama-untied", "tiny-llama3-rope", "tiny-linear-rope"]
IGNORED = -100          # a label that is not learned


def stream(name):
    """The random stream of the thing called `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(seed))


def normal(name, shape, scale=1.0, centre=0.0):
    """Normal numbers, rounded to float32, so that float64 and float32 runs start equal."""
    values = centre + scale * stream(name).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


def write_tensors(path, tensors, **facts):
    """Writes `tensors` below OUT; names sorted, so that equal values are equal bytes."""
    path = OUT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = {name: torch.as_tensor(tensors[name]).detach().contiguous().clone() for name in sorted(tensors)}
    # One key only: safetensors writes several in an order that changes from run to run.
    metadata = {"facts": json.dumps(facts, sort_keys=True)} if facts else {"format": "pt"}
    save_file(ready, path, metadata=metadata)
    path.chmod(0o644)
    print(f"{path.relative_to(OUT.parent)}: {len(ready)} tensors, {path.stat().st_size} bytes")


def write_json(path, value):
    path = OUT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")
    print(f"{path.relative_to(OUT.parent)}: {path.stat().st_size} bytes")


def load_model(folder, dtype, **options):
    """A model in evaluation mode, without cache; in float64 really so (see widen)."""
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **options)
    model.config.use_cache = False
    return widen(model.double()).eval() if dtype == torch.float64 else model.eval()


def widen(model):
    """Lets a float64 Llama of transformers compute in float64.

    transformers casts to float32 in three places whatever the model's type: rotary angles, the
    norms, and the softmax of "eager" attention (torch's own "sdpa" does not).  The first two are
    replaced here.  Rotary frequencies stay the float32 numbers that transformers makes; angle,
    cosine and sine are float64.
    """
    from types import MethodType

    def rotary(self, x, position_ids):
        angle = position_ids[..., None].double() * self.inv_freq.double()
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    for module in model.modules():
        kind = type(module).__name__
        if kind == "LlamaRotaryEmbedding":
            module.forward = MethodType(rotary, module)
        elif kind == "LlamaRMSNorm":
            module.forward = MethodType(norm, module)
    return model


def token_losses(logits, labels):
    """Negative log-likelihood of each label by the position before it, and which are learned."""
    target = labels[..., 1:]
    learned = target != IGNORED
    log_p = torch.log_softmax(logits[..., :-1, :], dim=-1)
    picked = log_p.gather(-1, target.clamp(min=0)[..., None])[..., 0]
    return -picked * learned, learned


@torch.no_grad()
def greedy(model, prompt, count):
    """The `count` tokens of greatest logit after the prompt [1, T], and the narrowest lead of one."""
    ids, lead = prompt, float("inf")
    for _ in range(count):
        top = model(input_ids=ids).logits[0, -1].topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        ids = torch.cat([ids, top.indices[:1][None]], dim=1)
    return ids[0, prompt.shape[1]:].int(), lead


__all__ = ["HERE", "OUT", "MODELS", "IGNORED", "json", "np", "torch", "load_file", "stream", "normal",
           "write_tensors", "write_json", "load_model", "widen", "token_losses", "greedy"]
