#!/usr/bin/env python3
"""Everything that etc/bench measures, in one run on the machine at hand, as one table.

    etc/bench/run.py [--build BUILD] [--only PREFIX,...] [--rounds 3] [--quick] [--json]
                     [--example DIR] [--list]

First what the machine can do, then every work item as its share of that.  Items take turns:
each round runs all of them once, so that what else the machine does falls on all alike; the
best and the median over the rounds are printed.  --only takes items whose names begin so
("lora,ladder"), --quick one round with short steps, to see that everything runs (its figures
mean little), --list prints the names and what they run.

Needs a build with the benches (`cmake --build build --target benches`) and nothing else; the
model is of SmolLM2-135M's shape with random weights, made in $TMPDIR.  Items on a Q4_1 base
and one of start-up need the example that examples/02-smollm2-lora/get_data.sh fetches; they
are left out, and named, where it is not there.  README.md beside this file says what the
words mean.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from synthetic import start_folder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
RANKS = [1, 2, 4, 8, 16, 32, 64]

# Each rung adds one thing to those before it; "-" takes a flag away again.  All but the last
# run on one thread, whose clock is its processor time.
LADDER = [
    ("everything trains, on portable C, one thread, in f32, one command at a time",
     "--full --path portable --threads 1 --compute f32 --single --micro 2048 --chunk 2048"),
    ("frozen weights have no gradients (LoRA, r = 8)", "-full"),
    ("AVX2", "--path avx2"),
    ("AVX-512", "--path avx512"),
    ("commands that span several: gates, shared operands", "-single"),
    ("micro-batches of 256 rows", "-micro"),
    ("the head and the loss in chunks of 256 rows", "-chunk"),
    ("bf16 products", "--compute bf16 --path auto"),
    ("the head on rows that are learned only (26.5 %)", "--supervised 0.265"),
    ("linear weights in NF4", "--storage nf4"),
    ("layers are computed again in the backward", "--recompute"),
    ("all threads", "-threads"),
]


class Item:
    """A command that prints JSON, and what came out of it, round by round."""

    def __init__(self, name, command, kind, text="", scratch=None):
        self.name, self.command, self.kind, self.text = name, command, kind, text
        self.scratch, self.results = scratch, []

    def run(self):
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)
        begin = time.monotonic()
        done = subprocess.run(self.command, capture_output=True, text=True)
        try:
            result = json.loads(done.stdout)
        except ValueError:
            sys.exit(f"run.py: {self.name}: {' '.join(map(str, self.command))}\n{done.stderr}")
        if self.kind == "start":
            result["start_s"] = result["clock_s"] - begin
        self.results.append(result)

    def values(self, key):
        return [r[key] for r in self.results]

    def best(self, key):
        return max(self.values(key))

    def least(self, key):
        return min(self.values(key))

    def median(self, key):
        return statistics.median(self.values(key))


def step_rungs():
    """The flags of each rung of the ladder."""
    flags = {}
    for text, change in LADDER:
        words = change.split()
        for i, word in enumerate(words):
            if word.startswith("--"):
                value = words[i + 1] if i + 1 < len(words) else "--"
                flags[word] = None if value.startswith("-") else value
            elif word.startswith("-"):
                del flags[f"-{word}"]
        yield text, [w for k, v in flags.items() for w in ([k] if v is None else [k, v])]


def step_items(arg, gguf):
    program = arg.build / "etc/bench/bench_step"
    rows, steps = (512, 2) if arg.quick else (2048, 4)

    def step(name, *flags, model="smollm2", kind="step", text=""):
        command = [program, model, "--json", *map(str, flags)]
        length = int(flags[flags.index("--length") + 1]) if "--length" in flags else 256
        size = max(rows, length)
        command += ["--rows", str(size)]
        command += ["--steps", str(steps)]
        return Item(name, command, kind, text)

    yield step("lora-bf16")
    yield step("lora-f32", "--compute", "f32")
    yield step("full-bf16", "--full")
    yield step("full-f32", "--full", "--compute", "f32")
    yield step("lora-nf4", "--storage", "nf4")
    if gguf:
        yield step("lora-q4_1", model=gguf)
    for length in LENGTHS:
        yield step(f"length-{length}", "--length", length)
    for rank in RANKS:
        yield step(f"rank-{rank}", "--rank", rank)
    for threads in 1, 2:
        for compute in "bf16", "f32":
            yield step(f"threads-{threads}-{compute}", "--threads", threads, "--compute", compute)
    for i, (text, flags) in enumerate(step_rungs()):
        if arg.quick and "--micro" in flags:
            flags[flags.index("--micro") + 1] = str(rows)
        yield step(f"ladder-{i:02}", *flags, kind="ladder", text=text)


def start_items(arg, gguf):
    """`hone train` until its first command; see start/start.c."""
    command = [arg.build / "bin/hone", "train", "run.ini", "--fresh", "--quiet"]
    for folder in "lib/hone", "etc/bench/start":
        command += ["--plugin-dir", arg.build / folder]
    command += ["--set", "run.backend=start"]
    folder = start_folder(arg.build / "etc/bench/bench_step")
    scratch = folder / "run"
    output = ["--set", f"run.output={scratch}"]
    if gguf:
        run = [arg.example / "run.ini" if word == "run.ini" else word for word in command]
        own = ["--set", f"model.path={gguf}"]
        yield Item("start-gguf", run + output + own, "start", scratch=scratch)
    run = [folder / "run.ini" if word == "run.ini" else word for word in command]
    yield Item("start-json", run + output, "start", scratch=scratch)


def generate_items(arg, gguf):
    program = arg.build / "etc/bench/bench_generate"
    if not program.exists():
        return
    short = ["--prompt-tokens", "64", "--new-tokens", "8"] if arg.quick else []

    def generate(name, *flags, model="smollm2"):
        command = [program, model, "--json", "--rounds", "1", *short, *flags]
        return Item(name, command, "generate")

    yield generate("generate-bf16", "--compute", "bf16")
    yield generate("generate-f32", "--compute", "f32")
    yield generate("generate-nf4", "--compute", "bf16", "--storage", "nf4")
    yield generate("generate-8", "--compute", "bf16", "--batch", "8")
    if gguf:
        yield generate("generate-q4_1", "--compute", "bf16", model=gguf)


def choose(arg):
    found = sorted(arg.example.glob("model*/*.gguf"))
    gguf = found[0] if found and (arg.example / "data/train.jsonl").exists() else None
    if not gguf:
        print(f"left out: items on a Q4_1 base; {arg.example}/get_data.sh gets it", file=sys.stderr)
    every = [*start_items(arg, gguf), *step_items(arg, gguf), *generate_items(arg, gguf)]
    names = tuple(arg.only.split(",")) if arg.only else ("",)
    return [item for item in every if item.name.startswith(names)]


# ---- what came out ----


def step_result(item):
    rows = item.results[0]["rows"]
    planned = item.best("planned_mb") / item.best("peak_mb") - 1
    return {
        "tok_s": rows / item.least("best_s"),
        "tok_s_median": rows / item.median("median_s"),
        "share": item.best("share"),
        "share_median": item.median("share_median"),
        "peak_gflops": item.best("peak_gflops"),
        "gflop_per_token": item.results[0]["gflop"] / rows,
        "peak_mb": item.best("peak_mb"),
        "planned_mb": item.best("planned_mb"),
        "plan_error": planned,
        "ready_s": item.least("ready_s"),
    }


def start_result(item):
    return {
        "start_s": item.least("start_s"),
        "start_s_median": item.median("start_s"),
        "cpu_s": item.least("cpu_s"),
        "peak_mb": item.best("peak_mb"),
    }


def generate_result(item):
    keys = "prefill_tok_s", "decode_tok_s", "flops_share", "bandwidth_share"
    result = {key: item.best(key) for key in keys}
    return result | {f"{key}_median": item.median(key) for key in keys}


RESULTS = {
    "step": step_result,
    "ladder": step_result,
    "start": start_result,
    "generate": generate_result,
}


def print_steps(items):
    print(f"\n{'optimizer steps':18} {'tok/s':>7} {'median':>7} {'share':>7} {'median':>7}"
          f" {'peak MB':>8} {'planned':>8} {'error':>7} {'ready':>8}")
    for item in items:
        r = step_result(item)
        print(f"{item.name:18} {r['tok_s']:7.0f} {r['tok_s_median']:7.0f} {r['share']:7.1%}"
              f" {r['share_median']:7.1%} {r['peak_mb']:8.0f} {r['planned_mb']:8.0f}"
              f" {r['plan_error']:+7.1%} {r['ready_s']:6.3f} s")


def print_ladder(items):
    print(f"\n{'ladder':>10} {'tok/s':>7} {'before':>7} {'first':>7} {'peak MB':>8}")
    first = before = None
    for item in items:
        r = step_result(item)
        before, first = before or r["tok_s"], first or r["tok_s"]
        print(f"{item.name:>10} {r['tok_s']:7.1f} x{r['tok_s'] / before:6.2f}"
              f" x{r['tok_s'] / first:6.1f} {r['peak_mb']:8.0f}  {item.text}")
        before = r["tok_s"]


def print_start(items):
    print(f"\n{'start':18} {'best':>8} {'median':>8} {'cpu':>8} {'peak MB':>8}")
    for item in items:
        r = start_result(item)
        print(f"{item.name:18} {r['start_s']:6.3f} s {r['start_s_median']:6.3f} s"
              f" {r['cpu_s']:6.3f} s {r['peak_mb']:8.0f}")


def print_generate(items):
    print(f"\n{'generation':18} {'prefill':>8} {'median':>7} {'flops':>7}"
          f" {'decode':>8} {'median':>7} {'bytes':>7}")
    for item in items:
        r = generate_result(item)
        print(f"{item.name:18} {r['prefill_tok_s']:8.0f} {r['prefill_tok_s_median']:7.0f}"
              f" {r['flops_share']:7.1%} {r['decode_tok_s']:8.1f}"
              f" {r['decode_tok_s_median']:7.1f} {r['bandwidth_share']:7.1%}")


class Others:
    """What else ran on the processors since this was made, as shares of them."""

    def __init__(self):
        self.begin = self.now()

    @staticmethod
    def now():
        """Seconds of all, idle and stolen time of all processors, and of our own."""
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        times = [int(word) / os.sysconf("SC_CLK_TCK") for word in words]
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(times), times[3] + times[4], times[7], sum(u.ru_utime + u.ru_stime for u in own)

    def shares(self):
        total, idle, stolen, own = (b - a for a, b in zip(self.begin, self.now()))
        total = max(total, 1e-9)
        return {"others": max(0.0, (total - idle - stolen - own) / total), "stolen": stolen / total}


def print_all(machine, items, others):
    print(f"{machine.results[0]['threads']} threads: {machine.best('f32_gflops'):.0f} GFLOP/s"
          f" f32, {machine.best('bf16_gflops'):.0f} bf16, {machine.best('read_gb_s'):.1f} GB/s"
          f" read (medians {machine.median('f32_gflops'):.0f},"
          f" {machine.median('bf16_gflops'):.0f}, {machine.median('read_gb_s'):.1f})")
    print(f"other processes had {others['others']:.1%} of the processors, the host {others['stolen']:.1%}")
    if others["others"] > 0.1 or others["stolen"] > 0.02:
        print("so walls are too long here; only figures of one thread, which are of its processor time, hold")
    tables = {
        "start": print_start,
        "step": print_steps,
        "ladder": print_ladder,
        "generate": print_generate,
    }
    for kind, table in tables.items():
        of_kind = [item for item in items if item.kind == kind]
        if of_kind:
            table(of_kind)


def put_json(machine, items, others):
    out = {
        "schema": "hone.bench/1",
        **others,
        "machine": {key: machine.best(key) for key in machine.results[0]},
        "items": {item.name: RESULTS[item.kind](item) for item in items},
    }
    print(json.dumps(out, indent=1))


def measure(arg, items):
    machine = Item("machine", [arg.build / "etc/bench/bench_machine"], "machine")
    rounds = 1 if arg.quick else arg.rounds
    for i in range(rounds):
        machine.run()
        for item in items:
            print(f"round {i + 1}/{rounds}: {item.name}", file=sys.stderr, flush=True)
            for _ in range(3 if item.kind == "start" else 1):
                item.run()
    return machine


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--example", type=Path, default=ROOT / "examples/02-smollm2-lora")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true")
    arg = parser.parse_args()
    arg.build, arg.example = arg.build.resolve(), arg.example.resolve()
    os.environ.setdefault("TMPDIR", "/tmp")
    items = choose(arg)
    if not items:
        sys.exit(f"run.py: no item begins with {arg.only}; --list names them")
    if arg.list:
        for item in items:
            print(f"{item.name:18}", *[Path(w).name if "/" in str(w) else w for w in item.command])
        return
    others = Others()
    machine = measure(arg, items)
    (put_json if arg.json else print_all)(machine, items, others.shares())


main()
