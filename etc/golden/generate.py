"""Makes generate.json: texts that transformers and PEFT answer prompts with, greedily, in float64.

Two models: tiny-llama as it is, and with the adapter of adapters/final. Prompts are raw, or one user
message through the chat template. `text` is the tokenizer's decoding without special tokens; the
models are small and drawn at random, so it is mostly no text at all, with bytes that are no UTF-8.
"""
from common import *

from peft import PeftModel
from transformers import AutoTokenizer

PROMPTS = ["Hello", "The quick brown fox", "naïve 日本", "a", "one two three four five six seven eight nine ten",
           "x = {1, 2};\ty"]
COUNT = 20


def answer(model, tokenizer, ids):
    new, lead = greedy(model, ids, COUNT)
    new = new.tolist()
    assert lead > 2e-4, lead       # float32, off by 1e-5, finds the same tokens
    stopped = tokenizer.eos_token_id in new
    if stopped:
        new = new[:new.index(tokenizer.eos_token_id)]
    return {"text": tokenizer.decode(new, skip_special_tokens=True), "num_tokens": len(new),
            "finish_reason": "stop" if stopped else "length"}


def main():
    folder = OUT / "models" / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cases = []
    for adapter in [None, "adapters/final"]:
        model = load_model(folder, torch.float32)
        if adapter:
            model = PeftModel.from_pretrained(model, OUT / adapter)
        model = widen(model.double()).eval()
        for prompt in PROMPTS:
            for chat in [False, True]:
                ids = tokenizer(prompt, return_tensors="pt").input_ids
                if chat:
                    ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], return_tensors="pt",
                                                        return_dict=True, add_generation_prompt=True).input_ids
                cases.append({"adapter": adapter, "chat": chat, "prompt": prompt, **answer(model, tokenizer, ids)})
    write_json("generate.json", {"max_new_tokens": COUNT, "cases": cases})


if __name__ == "__main__":
    main()
