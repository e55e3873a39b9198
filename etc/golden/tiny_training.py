"""Makes training/ and two adapters: whole fine-tuning runs of tiny-llama, step by step.

    adapters/start      a PEFT folder, r = 4, alpha = 8, every linear; B is random and not zero,
                        so that the gradient of A and the scaling count from the first step
    adapters/final      the same after 50 steps in float64
    training/rows.*     40 rows of token ids and labels (-100: not learned), 3 to 60 tokens
    training/lora-*     50 steps: linear schedule, 5 of warmup, rate 5e-3, AdamW
    training/full-*     20 steps of all weights: 2 of warmup, rate 2e-3; once with weight decay
                        0.1 on everything but the norms, as transformers' Trainer chooses
    "plain" clips at 1 (every step here), "accum2" at 1.7 and "decay" at 5: about half the steps

Each step takes the next four rows (the 40 go round); the variant "accum2" takes eight as two
micro-batches.  loss = sum of the negative log-likelihoods of the step / learned tokens of the step,
over both micro-batches: not a mean of means.  grad_norm is the norm before clipping, lr the rate
that the step used.  float64 is the reference; the float32 run beside it shows how far rounding
alone drifts in so many steps.  bf16 is torch's autocast over float32 masters (LoRA: frozen base in
bfloat16, adapter float32); it is a record of what PyTorch gets, not a value to be met exactly.
"""
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, get_scheduler

from common import *

BASE, START, FINAL = OUT / "models" / "tiny-llama", OUT / "adapters" / "start", OUT / "adapters" / "final"
BATCH, ROWS = 4, 40
LORA = dict(steps=50, rate=5e-3, warmup=5)
FULL = dict(steps=20, rate=2e-3, warmup=2)


def make_row(index):
    """A walk of fixed stride with noise; its first part is the prompt, unlearned."""
    rng = stream(f"row {index}")
    length = int(rng.integers(3, 61))
    ids = (rng.integers(0, 80) + (1 + index % 5) * np.arange(length)) % 80 + 20
    noisy = rng.random(length) < 0.1
    ids[noisy] = rng.integers(100, 256, noisy.sum())
    ids[-1] = 258
    labels = ids.copy()
    if index % 7 != 6:                                  # each seventh row is learned whole
        labels[:max(1, length // 3)] = IGNORED
    if index % 5 == 4:                                  # each fifth has a second prompt
        labels[length // 2:2 * length // 3] = IGNORED
    if index == 17:                                     # and one row has a single learned token
        labels[:-1] = IGNORED
    return ids.tolist(), labels.tolist()


def write_rows(rows):
    path = OUT / "training" / "rows.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"input_ids": ids, "labels": labels}) + "\n" for ids, labels in rows))
    offsets = np.cumsum([0] + [len(ids) for ids, _ in rows])
    flat = [torch.tensor(sum((row[i] for row in rows), []), dtype=torch.int32) for i in (0, 1)]
    write_tensors("training/rows.safetensors", {
        "input_ids": flat[0], "labels": flat[1], "segments": torch.from_numpy(offsets.astype(np.int32))})


def pad(rows):
    """Right-padded batch with its mask, as everybody else computes it."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [259] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    return ids, mask, labels


def window_loss(model, micro_batches, autocast):
    """Sum over the whole step / learned tokens of the whole step; gradients are left in place."""
    count = sum((labels[:, 1:] != IGNORED).sum().item() for _, _, labels in micro_batches)
    loss = 0.0
    for ids, mask, labels in micro_batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = model(input_ids=ids, attention_mask=mask).logits
        part = token_losses(logits.float() if autocast else logits, labels)[0].sum() / count
        part.backward()
        loss += part.item()
    return loss, count


def train(model, rows, plan, accumulate=1, autocast=False, decay=0.0, clip=1.0, stop=None,
          first_gradients=None):
    """Runs the steps of the plan, or the first `stop` of them; returns the curves."""
    model.train()
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = set(Trainer.get_decay_parameter_names(None, model)) if decay else set()
    groups = [{"params": [p for name, p in named if name in decayed], "weight_decay": decay},
              {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=plan["rate"])
    schedule = get_scheduler("linear", optimizer, plan["warmup"], plan["steps"])
    curves = {"loss": [], "grad_norm": [], "lr": [], "tokens": []}
    size = BATCH * accumulate
    for step in range(stop or plan["steps"]):
        window = [rows[(step * size + i) % ROWS] for i in range(size)]
        loss, count = window_loss(model, [pad(window[i:i + BATCH]) for i in range(0, size, BATCH)], autocast)
        if step == 0 and first_gradients is not None:
            first_gradients |= {name: p.grad.float().clone() for name, p in named}
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], clip).item()
        for key, value in zip(curves, (loss, norm, schedule.get_last_lr()[0], count)):
            curves[key].append(value)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return {key: torch.tensor(values, dtype=torch.int32 if key == "tokens" else torch.float64)
            for key, values in curves.items()}


def save_adapter(model, folder, base="tiny-llama"):
    """PEFT's own writer, with what depends on this machine taken out."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config |= {"base_model_name_or_path": base, "target_modules": sorted(config["target_modules"])}
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    (folder / "adapter_model.safetensors").chmod(0o644)


def make_start():
    base = load_model(BASE, torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = normal(f"start/{name}", p.shape, 0.05 if "lora_B" in name else p.shape[1] ** -0.5)
    save_adapter(model, START)


def adapted(kind):
    """tiny-llama with adapters/start, as each precision has it."""
    if kind == "bf16":
        base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16, attn_implementation="sdpa")
        return PeftModel.from_pretrained(base, START, is_trainable=True)
    model = PeftModel.from_pretrained(load_model(BASE, torch.float32), START, is_trainable=True)
    return widen(model.double()) if kind == "f64" else model


def check_against_trainer(rows):
    """transformers' own loss function with num_items_in_batch is the same number."""
    model = load_model(BASE, torch.float32)
    ids, mask, labels = pad(rows[:BATCH])
    loss, count = window_loss(model, [(ids, mask, labels)], False)
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=count).loss.item()
    assert abs(loss - theirs) < 1e-5, (loss, theirs)


def run_all(what, make, rows, plan, cases):
    """One safetensors file of curves "<case>.<precision>.<curve>"; returns the float64 models."""
    curves, models, first = {}, {}, {}
    for case, options in cases.items():
        for kind in ("f64", "f32", "bf16"):
            model = make(kind)
            keep = first if kind == "f64" and case == "plain" else None
            result = train(model, rows, plan, autocast=kind == "bf16", first_gradients=keep, **options)
            curves |= {f"{case}.{kind}.{key}": value for key, value in result.items()}
            if kind == "f64":
                models[case] = model
        drift = (curves[f"{case}.f64.loss"] - curves[f"{case}.f32.loss"]).abs().max().item()
        bf16 = (curves[f"{case}.f64.loss"] - curves[f"{case}.bf16.loss"]).abs().max().item()
        loss = curves[f"{case}.f64.loss"]
        clipped = (curves[f"{case}.f64.grad_norm"] > options.get("clip", 1.0)).sum().item()
        print(f"    {what} {case}: loss {loss[0]:.4f} -> {loss[-1]:.4f}, clipped {clipped}, "
              f"f32 off by {drift:.1e}, bf16 by {bf16:.1e}")
    write_tensors(f"training/{what}-curves.safetensors", curves, **plan)
    if what == "lora":                                  # of a full run, logits/ has gradients
        write_tensors("training/lora-first-gradients.safetensors", {
            name.replace(".default", ""): g for name, g in first.items()})
    return models


def main():
    rows = [make_row(i) for i in range(ROWS)]
    write_rows(rows)
    make_start()
    check_against_trainer(rows)
    models = run_all("lora", adapted, rows, LORA, {"plain": {}, "accum2": {"accumulate": 2, "clip": 1.7}})
    save_adapter(models["plain"].float(), FINAL)
    models = run_all("full", lambda kind: load_model(BASE, torch.float64 if kind == "f64" else torch.float32),
                     rows, FULL, {"plain": {}, "decay": {"decay": 0.1, "clip": 5.0}})
    for case, model in models.items():
        state = {name: p.float() for name, p in model.named_parameters()}
        if case == "plain":
            write_tensors("training/full-final.safetensors", state)
        else:                                           # of the second run, sums are enough
            sums = {name: torch.stack([p.sum(), p.square().sum()]) for name, p in model.named_parameters()}
            write_tensors("training/full-decay-final-sums.safetensors", sums)


if __name__ == "__main__":
    main()
