"""Makes peft/: which modules PEFT adapts for a configuration, what they compute, how they merge.

    sites.json             for each configuration: the adapted modules with rank and scaling, or
                           the error that PEFT gives
    patterned/             an adapter on tiny-llama-untied with rank_pattern, alpha_pattern and rsLoRA
    logits.safetensors     logits and losses with adapters/start (on tiny-llama) and patterned/
    merged.safetensors     weights after merge_and_unload, some modules of each

The configurations try each form that target_modules takes: names, paths, a regex, "all-linear",
names that end in another name without a dot before it, and names that nothing has.
"""
import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from common import *
from tiny_logits import kept_rows, prompts, run
from tiny_training import BASE, START, save_adapter

UNTIED = OUT / "models" / "tiny-llama-untied"
PATTERNED = dict(r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear",
                 rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.up_proj": 7},
                 alpha_pattern={"v_proj": 16, "model.layers.0.self_attn.q_proj": 3})
CONFIGS = {
    "names": dict(target_modules=["q_proj", "v_proj"]),
    "none_given": dict(),
    "all_linear": dict(target_modules="all-linear"),
    "all_linear_excluding": dict(target_modules="all-linear", exclude_modules=["mlp.down_proj", "k_proj"]),
    "excluded_by_regex": dict(target_modules=["q_proj", "o_proj"], exclude_modules=r".*\.layers\.0\..*"),
    "path": dict(target_modules=["model.layers.0.mlp.down_proj"]),
    "partial_path": dict(target_modules=["self_attn.q_proj", "0.mlp.up_proj"]),
    "half_a_name": dict(target_modules=["proj"]),
    "half_of_one_name": dict(target_modules=["_proj", "k_proj"]),
    "regex": dict(target_modules=r".*\.layers\.1\.self_attn\.(q|k)_proj"),
    "regex_matches_whole_path": dict(target_modules=r"layers\.1\.self_attn\.q_proj"),
    "regex_of_one_name": dict(target_modules="q_proj"),
    "unknown_name": dict(target_modules=["q_porj"]),
    "one_unknown_name": dict(target_modules=["q_proj", "c_attn"]),
    "head": dict(target_modules=["lm_head", "q_proj"]),
    "embedding": dict(target_modules=["embed_tokens", "q_proj"]),
    "not_a_linear": dict(target_modules=["input_layernorm"]),
    "container": dict(target_modules=["mlp"]),
    "layers": dict(target_modules=["q_proj", "lm_head"], layers_to_transform=[1]),
    "layers_pattern": dict(target_modules=["q_proj"], layers_to_transform=0, layers_pattern="layers"),
    "alpha": dict(r=8, lora_alpha=16, target_modules=["q_proj"]),
    "rslora": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "up_proj"]),
    "rank_pattern": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 2}),
    "rank_pattern_path": dict(r=4, target_modules=["q_proj"], rank_pattern={"model.layers.1.self_attn.q_proj": 6}),
    "rank_pattern_regex": dict(r=4, target_modules=["q_proj", "k_proj"], rank_pattern={r"layers\.[01]\..*k_proj": 3}),
    "rank_pattern_anchored": dict(r=4, target_modules=["q_proj"], rank_pattern={"^model.layers.0.*q_proj": 3}),
    "rank_pattern_half_name": dict(r=4, target_modules=["q_proj", "k_proj"], rank_pattern={"proj": 3, "k_proj": 5}),
    "rank_pattern_first_wins": dict(r=4, target_modules=["q_proj"], rank_pattern={"self_attn.q_proj": 2, "q_proj": 6}),
    "alpha_pattern": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], alpha_pattern={"v_proj": 32}),
    "both_patterns_rslora": PATTERNED,
}


def adapted_modules(model):
    """Path, rank and scaling of each adapted module, in the model's order."""
    found = []
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.scaling:
            found.append({"module": name, "r": module.r["default"], "scaling": module.scaling["default"]})
    return found


def sites():
    result = []
    for name, options in CONFIGS.items():
        base = AutoModelForCausalLM.from_pretrained(UNTIED, dtype=torch.float32)
        entry = {"name": name, "config": options}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                entry["modules"] = adapted_modules(get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **options)))
        except ValueError as error:
            entry["error"] = str(error).split("\n")[0]
        result.append(entry)
        print(f"    {name}: {len(entry.get('modules', []))} {entry.get('error', '')[:90]}")
    write_json("peft/sites.json", result)


def make_patterned():
    model = get_peft_model(load_model(UNTIED, torch.float32), LoraConfig(task_type="CAUSAL_LM", **PATTERNED))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = normal(f"patterned/{name}", p.shape, 0.08 if "lora_B" in name else p.shape[1] ** -0.5)
    save_adapter(model, OUT / "peft" / "patterned", "tiny-llama-untied")


def use(tensors, merged, name, folder, adapter):
    """Logits with the adapter as it is, and after merging, which must agree in float64."""
    ids, offsets = prompts()
    rows = kept_rows(offsets)
    plain, _ = run(load_model(folder, torch.float64), ids, offsets)
    model = PeftModel.from_pretrained(load_model(folder, torch.float32), adapter)
    logits, losses = run(widen(model.double()).eval(), ids, offsets)
    whole = model.merge_and_unload()
    gap = (run(whole, ids, offsets)[0] - logits).abs().max().item()
    assert gap < 1e-10 and (logits - plain).abs().max() > 0.1, gap
    tensors |= {f"{name}.logits_f64": logits[rows.long()], f"{name}.losses_f64": losses}
    for key, value in whole.state_dict().items():
        if key.startswith(("model.layers.0.self_attn", "model.layers.1.mlp")):
            merged[f"{name}.{key}"] = value.float()
    return {"input_ids": ids, "segments": offsets, "rows": rows}


def main():
    sites()
    make_patterned()
    tensors, merged = {}, {}
    tensors |= use(tensors, merged, "start", BASE, START)
    tensors |= use(tensors, merged, "patterned", UNTIED, OUT / "peft" / "patterned")
    write_tensors("peft/logits.safetensors", tensors)
    write_tensors("peft/merged.safetensors", merged)


if __name__ == "__main__":
    main()
