"""Makes peft/ia3/ and peft/ia3.safetensors: an (IA)^3 adapter of PEFT on tiny-llama.

    ia3/                an adapter_config.json and adapter_model.safetensors as PEFT writes them;
                        l is [O,1] where the output is scaled, [1,I] where the input is
    ia3.safetensors     logits and losses with it, and some weights after merge_and_unload

Of the modules q_proj and o_proj are square, 32 by 32; q_proj is scaled by outputs and o_proj by
inputs, so taking one axis for the other changes the numbers and not the shapes.
"""
from peft import IA3Config, PeftModel, get_peft_model

from common import *
from tiny_logits import kept_rows, prompts, run
from tiny_training import BASE, save_adapter

FOLDER = OUT / "peft" / "ia3"
INPUTS = ["o_proj", "down_proj"]
MODULES = ["q_proj", "k_proj", "v_proj"] + INPUTS


def make_adapter():
    model = get_peft_model(load_model(BASE, torch.float32), IA3Config(
        task_type="CAUSAL_LM", target_modules=MODULES, feedforward_modules=INPUTS))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = normal(f"ia3/{name}", p.shape, 0.3, 1.0)
    save_adapter(model, FOLDER)
    path = FOLDER / "adapter_config.json"
    config = json.loads(path.read_text())
    config["feedforward_modules"] = sorted(config["feedforward_modules"])
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def main():
    make_adapter()
    ids, offsets = prompts()
    rows = kept_rows(offsets)
    plain, _ = run(load_model(BASE, torch.float64), ids, offsets)
    model = PeftModel.from_pretrained(load_model(BASE, torch.float32), FOLDER)
    logits, losses = run(widen(model.double()).eval(), ids, offsets)
    whole = model.merge_and_unload()
    gap = (run(whole, ids, offsets)[0] - logits).abs().max().item()
    assert gap < 1e-10 and (logits - plain).abs().max() > 0.1, gap
    tensors = {"logits_f64": logits[rows.long()], "losses_f64": losses}
    for key, value in whole.state_dict().items():
        if key.startswith(("model.layers.0.self_attn", "model.layers.1.mlp.down_proj")):
            tensors[f"merged.{key}"] = value.float()
    write_tensors("peft/ia3.safetensors", tensors)


if __name__ == "__main__":
    main()
