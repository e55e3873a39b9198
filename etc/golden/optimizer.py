"""Makes optimizer/: AdamW, gradient clipping and learning-rate schedules by themselves.

    adamw.safetensors      torch.optim.AdamW on 48 numbers, 20 steps of given gradients, per case:
                           values after every step (float64 and float32) and the last moments
    clip.safetensors       torch.nn.utils.clip_grad_norm_ on three tensors
    schedules.safetensors  transformers' rates over 37 steps at base rate 1

Among the 48 numbers are the awkward ones: 0..3 never get a gradient (they must not move, or only
by decay), 4..7 get 1e-20 (whose square underflows in float32), 8..11 get 1e4, 12..15 get one only
in the first step.  Rates are recorded for steps 0..39, three more than a run of 37 has: a schedule
must not leave its range when it is asked too far.
"""
from transformers import get_scheduler

from common import *

STEPS, COUNT, TOTAL = 20, 48, 37
ADAMW = {
    "default": dict(),
    "decay": dict(weight_decay=0.1),
    "betas": dict(betas=(0.8, 0.95), weight_decay=0.01),
    "eps": dict(eps=1e-3),
}
SCHEDULES = {
    "linear": [("linear", {})],
    "cosine": [("cosine", {}), ("cosine_1.5_cycles", {"num_cycles": 1.5})],
    "constant": [("constant", {})],
    "constant_with_warmup": [("constant_with_warmup", {})],
    "cosine_with_restarts": [("cosine_with_restarts", {}), ("cosine_with_restarts_3", {"num_cycles": 3})],
    "polynomial": [("polynomial", {}), ("polynomial_2", {"power": 2.0, "lr_end": 0.01})],
    "inverse_sqrt": [("inverse_sqrt", {}), ("inverse_sqrt_20", {"timescale": 20})],
    "cosine_with_min_lr": [("cosine_with_min_lr", {"min_lr_rate": 0.1})],
    "warmup_stable_decay": [("warmup_stable_decay", {"num_decay_steps": 10, "min_lr_ratio": 0.1})],
}


def gradients():
    g = normal("adamw/gradients", (STEPS, COUNT))
    g[:, 0:4] = 0
    g[:, 4:8] *= 1e-20
    g[:, 8:12] *= 1e4
    g[1:, 12:16] = 0
    return g


def adamw():
    start, given = normal("adamw/start", (COUNT,)), gradients()
    tensors = {"start": start, "gradients": given}
    for case, options in ADAMW.items():
        for kind, dtype in (("f64", torch.float64), ("f32", torch.float32)):
            p = torch.nn.Parameter(start.to(dtype, copy=True))  # AdamW writes into it
            optimizer = torch.optim.AdamW([p], lr=1e-2, **{"weight_decay": 0.0, **options})
            path = []
            for g in given:
                p.grad = g.to(dtype)
                optimizer.step()
                path.append(p.detach().clone())
            tensors[f"{case}.{kind}.values"] = torch.stack(path)
            tensors[f"{case}.{kind}.m"] = optimizer.state[p]["exp_avg"]
            tensors[f"{case}.{kind}.v"] = optimizer.state[p]["exp_avg_sq"]
    write_tensors("optimizer/adamw.safetensors", tensors, lr=1e-2, cases=ADAMW)


def clip():
    """Norms far above, just above, just below and far below the limit, and zero."""
    tensors = {}
    for case, (scale, limit) in {"above": (3.0, 1.0), "below": (0.01, 1.0), "near": (0.2, 1.3), "half": (1.0, 0.5),
                                 "zero": (0.0, 1.0), "huge": (1e18, 1.0)}.items():
        parts = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((5, 7), (1,), (2, 3, 2))]
        for i, p in enumerate(parts):
            p.grad = normal(f"clip/{case}/{i}", p.shape, scale)
            tensors[f"{case}.{i}.gradient"] = p.grad.clone()
        wide = [torch.nn.Parameter(p.detach().double()) for p in parts]
        for p, w in zip(parts, wide):
            w.grad = p.grad.double()
        norm = torch.nn.utils.clip_grad_norm_(wide, limit)
        tensors[f"{case}.limit"] = torch.tensor([limit], dtype=torch.float64)
        tensors[f"{case}.norm"] = norm.reshape(1)
        tensors |= {f"{case}.{i}.clipped": w.grad for i, w in enumerate(wide)}
    write_tensors("optimizer/clip.safetensors", tensors)


def rates(kind, warmup, options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(kind, optimizer, warmup, TOTAL, dict(options))
    taken = []
    for _ in range(TOTAL + 3):
        taken.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return torch.tensor(taken, dtype=torch.float64)


def schedules():
    """Keys "<case>.warmup<steps>"; what the case means is in the metadata."""
    tensors, meaning = {}, {}
    for kind, cases in SCHEDULES.items():
        for case, options in cases:
            for warmup in (0, 5):
                tensors[f"{case}.warmup{warmup}"] = rates(kind, warmup, options)
            meaning[case] = {"lr_scheduler_type": kind, **options}
    write_tensors("optimizer/schedules.safetensors", tensors, cases=meaning, total_steps=TOTAL, base_rate=1)


def warmup_share():
    """How a share of all steps becomes a number of steps: transformers' own rule, asked."""
    from transformers import TrainingArguments
    cases = {}
    for share in (0, 0.03, 0.1, 0.5, 0.999, 1, 5):
        for total in (1, 37, 100):
            cases[f"{share} of {total}"] = TrainingArguments(output_dir="x", use_cpu=True,
                                                             warmup_steps=share).get_warmup_steps(total)
    write_json("optimizer/warmup.json", cases)


if __name__ == "__main__":
    adamw()
    clip()
    schedules()
    warmup_share()
