"""Makes models/: Llamas so small that they can be committed, in Hugging Face's folder form.

The weights are random, but not as an initialiser would have them: with a deviation of 0.02 every
attention is flat and every logit is near zero, and a wrong mask, a wrong rotary pair or a missing
norm weight would hide below the tolerance.  Here attention logits have a deviation of about 3, and
norm weights are spread around one.

    tiny-llama         3 layers, 4 heads on 2 key-value heads of 8, tied head
    tiny-llama-bf16    the same weights rounded to bfloat16
    tiny-llama-untied  head of its own; heads of 16, so that q_proj is [64, 32] and not square
    tiny-llama3-rope   rope_scaling "llama3", all three of its frequency ranges in use
    tiny-linear-rope   rope_scaling "linear", factor 4

263 tokens: 256 bytes, four control tokens, three merges.  263 is prime, so no kernel meets a
vocabulary that its vectors divide.  tiny-llama and tiny-llama-untied carry the tokenizer too.
config.json is spelt as transformers 4 did (rope_theta, rope_scaling, torch_dtype), as nearly all
published folders are; tiny-llama-untied has transformers 5's spelling (rope_parameters, dtype).
"""
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from common import *

VOCABULARY = 263
ROLES = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
            "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

BASE = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCABULARY, hidden_size=32,
            intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=256,
            attention_bias=False, mlp_bias=False, tie_word_embeddings=True, initializer_range=0.2,
            bos_token_id=257, eos_token_id=258, pad_token_id=259, torch_dtype="float32")
SMALL = dict(head_dim=16, intermediate_size=32, num_hidden_layers=2)
CONFIGS = {
    "tiny-llama": BASE,
    "tiny-llama-bf16": {**BASE, "torch_dtype": "bfloat16"},
    "tiny-llama-untied": {**BASE, **SMALL, "intermediate_size": 64, "tie_word_embeddings": False},
    "tiny-llama3-rope": {**BASE, **SMALL, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}},
    "tiny-linear-rope": {**BASE, **SMALL, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
}


def byte_letters():
    """The printable stand-in of each byte, in GPT-2's order of bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {}, 256
    for byte in range(256):
        letters[byte] = chr(byte) if byte in plain else chr(spare)
        spare += byte not in plain
    return [letters[byte] for byte in range(256)]


def make_tokenizer():
    """Byte-level BPE as SmolLM2's: single digits split off, no prefix space."""
    tokens = byte_letters() + CONTROL + ["".join(pair) for pair in MERGES]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    return tokenizer


def make_weights(name, config):
    """State of a LlamaForCausalLM, each tensor drawn from its own stream."""
    seed = "tiny-llama" if name == "tiny-llama-bf16" else name
    model = LlamaForCausalLM(LlamaConfig(**config))
    state = {}
    for key, old in model.state_dict().items():
        if key == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        if "norm" in key:
            state[key] = normal(f"{seed}/{key}", old.shape, 0.2, 1.0)
        else:
            state[key] = normal(f"{seed}/{key}", old.shape, 0.3 if "q_proj" in key or "k_proj" in key else 0.2)
        if config["torch_dtype"] == "bfloat16":
            state[key] = state[key].bfloat16()
    return state


def respell(config):
    """transformers 5's spelling of the same configuration."""
    new = {key: value for key, value in config.items() if key not in ("rope_theta", "torch_dtype")}
    return {**new, "rope_parameters": {"rope_theta": config["rope_theta"], "rope_type": "default"},
            "dtype": config["torch_dtype"]}


def main():
    for name, config in CONFIGS.items():
        folder = f"models/{name}"
        write_tensors(f"{folder}/model.safetensors", make_weights(name, config))
        write_json(f"{folder}/config.json", respell(config) if name == "tiny-llama-untied" else config)
        if name in ("tiny-llama", "tiny-llama-untied"):
            make_tokenizer().save(str(OUT / folder / "tokenizer.json"), pretty=False)
            write_json(f"{folder}/tokenizer_config.json", {
                "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, **ROLES,
                "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE})


if __name__ == "__main__":
    main()
