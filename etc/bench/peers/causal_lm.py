"""The work of bench_step in PyTorch: a worker that runs optimizer steps when it is told to.

    causal_lm.py FOLDER lora|full f32|bf16 [--compile] [--rows 2048] [--length 256] [--rank 8]
                 [--threads N]

FOLDER is a Hugging Face folder.  As people run it: PEFT's LoRA on all linear layers, f32
weights, or bf16 weights under autocast with f32 adapters; full fine-tuning in f32 or in pure
bf16; fused AdamW, clipping at 1, sdpa attention, labels on every row.

The worker writes a line of JSON to stdout when it is ready for its first step
({"ready_s": ...}), and after each line that it reads one for a step: {"seconds", "loss",
"peak_mb"}.  End of input ends it.
"""

import argparse
import json
import resource
import sys
import time

start = time.time()

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("method", choices=["lora", "full"])
    parser.add_argument("compute", choices=["f32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def build(arg):
    dtype = torch.float32 if arg.compute == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(
        arg.folder, dtype=dtype, attn_implementation="sdpa"
    )
    model.config.use_cache = False
    if arg.method == "lora":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(
            r=arg.rank,
            lora_alpha=2 * arg.rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, lora)
    return model.train()


def tell(**what):
    print(json.dumps(what), flush=True)


def main():
    arg = arguments()
    if arg.threads:
        torch.set_num_threads(arg.threads)
    model = build(arg)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=True)
    forward = torch.compile(model) if arg.compile else model
    autocast = arg.compute == "bf16" and arg.method == "lora"
    torch.manual_seed(0)
    shape = (arg.rows // arg.length, arg.length)
    ids = torch.randint(0, model.config.vocab_size, shape)
    tell(ready_s=time.time() - start)
    for _ in sys.stdin:
        begin = time.time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 * 1.024
        tell(seconds=time.time() - begin, loss=loss.item(), peak_mb=peak)


main()
