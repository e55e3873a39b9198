"""Loads what hone exported with PEFT and transformers, and compares their logits with hone's.

    build/tests/golden_peft FOLDER && python3 load_exports.py FOLDER

golden_peft exports each case as an adapter and as merged models (float32, bfloat16) and writes its
own float32 logits to FOLDER/logits.json.  Nothing is missing or left over when they are loaded,
and float32 logits are within 2e-4.  bfloat16 is printed only: rounding the weights moves logits.
Not a test of `ctest`, because building hone needs no Python.
"""
import os
import re
import sys
from pathlib import Path

from common import *
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

TOLERANCE = 2e-4


@torch.no_grad()
def distance(model, doc, case):
    ids, offsets = torch.tensor(doc["input_ids"]), doc["segments"]
    parts = [model(input_ids=ids[a:b][None]).logits[0] for a, b in zip(offsets, offsets[1:])]
    logits = torch.cat(parts)[torch.tensor(doc["rows"])]
    return (logits.float() - torch.tensor(case["logits"])).abs().max().item()


def whole(folder, dtype):
    """The model, where nothing may be missing, new or of another shape."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    assert str(model.config.dtype or "").endswith(str(dtype).split(".")[-1])
    return model.eval()


def adapted(case):
    base = AutoModelForCausalLM.from_pretrained(case["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, case["adapter"])
    names = set(load_file(case["adapter"] + "/adapter_model.safetensors"))
    own = {n.replace(".default", "") for n in model.state_dict() if "lora_" in n}
    assert names == own, names ^ own
    return model.eval()


def pasted(folder):
    """The model that the lines of the folder's README.md make, as they stand, in the folder."""
    names = {}
    os.chdir(folder)
    for code in re.findall(r"```python\n(.*?)```", (Path(folder) / "README.md").read_text(), re.S):
        exec(code, names)  # what was written a moment ago by hone
    return names["model"].float().eval()


def check_tokenizer(case):
    text = "def f(x):\n  return 1234 + x  # naïve <|im_end|>"
    want = AutoTokenizer.from_pretrained(case["base"])(text).input_ids
    for form in ("adapter", "model"):
        assert AutoTokenizer.from_pretrained(case[form])(text).input_ids == want, form


def main():
    folder = Path(sys.argv[1])
    doc = json.loads((folder / "logits.json").read_text())
    for case in doc["cases"]:
        gaps = {"adapter": distance(adapted(case), doc, case),
                "model": distance(whole(case["model"], torch.float32), doc, case),
                "card of adapter": distance(pasted(case["adapter"]), doc, case),
                "card of model": distance(pasted(case["model"]), doc, case)}
        rounded = distance(whole(case["bf16"], torch.bfloat16).float(), doc, case)
        check_tokenizer(case)
        if (Path(case["model"]) / "generation_config.json").exists():
            GenerationConfig.from_pretrained(case["model"])
        print(case["name"], *(f"{form} {gap:.1e}" for form, gap in gaps.items()), f"bf16 {rounded:.1e}")
        assert max(gaps.values()) <= TOLERANCE


if __name__ == "__main__":
    main()
