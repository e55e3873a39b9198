#!/usr/bin/env python3
"""hone and PyTorch + PEFT at the same work, in turns, in one run.

    compare.py [--build BUILD] [--python PYTHON] [--items lora-bf16,lora-f32,full-bf16,full-f32]
               [--rounds 5] [--length 256] [--threads N] [--eager-only]

PYTHON is an interpreter that has etc/golden/requirements.txt (a virtual environment); this
script itself needs nothing.  For each item one worker of PyTorch eager and one of
torch.compile stay alive; every round runs one step of each and then `bench_step` for two, so
that what else the machine does falls on all of them.  Printed are the best and the median of
each, the peak of resident memory, the time from start to the first step, and the ratios.
All run on random weights of SmolLM2-135M's shape, 2048 tokens a step, all rows supervised.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ROWS = 2048


class Torch:
    """A worker of causal_lm.py; its first step (which compiles) is not counted."""

    def __init__(self, arg, folder, method, compute, compile):
        command = [arg.python, HERE / "causal_lm.py", folder, method, compute]
        command += ["--length", str(arg.length), "--threads", str(arg.threads)]
        self.worker = subprocess.Popen(
            command + ["--compile"] * compile,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.name = "torch.compile" if compile else "PyTorch eager"
        self.ready = self.answer()["ready_s"]
        self.first = self.step(0)["seconds"]
        self.seconds, self.peak = [], 0

    def answer(self):
        line = self.worker.stdout.readline()
        if not line:
            sys.exit(f"compare: the {self.name} worker ended; run causal_lm.py by hand")
        return json.loads(line)

    def step(self, _round):
        self.worker.stdin.write("step\n")
        self.worker.stdin.flush()
        return self.answer()

    def round(self, i):
        answer = self.step(i)
        self.seconds.append(answer["seconds"])
        self.peak = answer["peak_mb"]

    def close(self):
        self.worker.stdin.close()
        self.worker.wait()


class Hone:
    name = "hone"

    def __init__(self, arg, method, compute):
        self.command = [arg.build / "etc/bench/bench_step", "smollm2", "--json", "--steps", "3"]
        self.command += ["--full"] * (method == "full") + ["--compute", compute]
        self.command += ["--threads", str(arg.threads), "--length", str(arg.length)]
        self.seconds, self.peak, self.ready, self.share = [], 0, 1e9, 0
        self.first = 0

    def round(self, _round):
        answer = json.loads(subprocess.run(self.command, check=True, capture_output=True).stdout)
        self.seconds.append(answer["best_s"])
        self.peak = max(self.peak, answer["peak_mb"])
        self.ready = min(self.ready, answer["ready_s"])
        self.share = max(self.share, answer["share"])

    def close(self):
        pass


def item(arg, folder, name):
    method, compute = name.split("-")
    sides = [Hone(arg, method, compute), Torch(arg, folder, method, compute, False)]
    if not arg.eager_only:
        sides.append(Torch(arg, folder, method, compute, True))
    for i in range(arg.rounds):
        for side in sides:
            side.round(i)
    hone = sides[0]
    print(f"{name}, {ROWS // arg.length} x {arg.length} tokens; hone at {hone.share:.1%} of the bound")
    for side in sides:
        best, median = min(side.seconds), statistics.median(side.seconds)
        line = f"  {side.name:14} best {ROWS / best:6.0f}  median {ROWS / median:6.0f} tok/s"
        line += f"  peak {side.peak:6.0f} MB  ready {side.ready:6.2f} s"
        if side is not hone:
            line += f"  first step {side.first:.0f} s"
            line += f"  | hone x{best / min(hone.seconds):.2f} best,"
            line += f" x{median / statistics.median(hone.seconds):.2f} median,"
            line += f" 1/{side.peak / hone.peak:.1f} of the memory"
        print(line, flush=True)
        side.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--items", default="lora-bf16,lora-f32,full-bf16,full-f32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--eager-only", action="store_true")
    arg = parser.parse_args()
    folder = Path(tempfile.gettempdir()) / "hone-bench-smollm2"
    Hone(arg, "lora", "f32").round(0)  # writes the folder that all of them read
    for name in arg.items.split(","):
        item(arg, folder, name)


main()
