"""Makes gguf/: tiny models as llama.cpp stores them, and ggml's blocks by themselves.

    tiny-llama-f32.gguf         every tensor as it is in models/tiny-llama
    tiny-llama-q8_0.gguf        linears and embedding Q8_0
    tiny-llama-mixed.gguf       each linear another type; alignment 64 instead of 32
    tiny-llama-untied-f16.gguf  output.weight, and key_length that is not hidden / heads
    tiny-llama3-rope-f32.gguf   llama3 scaling as the tensor rope_freqs.weight
    blocks.safetensors          for each type: bytes, and what gguf-py makes of them; and back

llama.cpp rotates neighbouring numbers where Hugging Face rotates halves, so the rows of q and k
are exchanged in the file: per head of width D, file row 2j + h is row h D/2 + j of the folder.
The writing side is here; the reading side, which proves it, is transformers' own GGUF reader: each
quantised file is read by it and run, and tiny-llama-f32.gguf must give the folder's logits.  Only
rope_freqs it does not read: tiny-llama3-rope-f32.gguf has to give what the folder gives.
"""
import gguf

from common import *
from tiny_logits import prompts, kept_rows, run
from tiny_models import CONTROL, MERGES, byte_letters

KIND = gguf.GGMLQuantizationType
MIXED = {"attn_q": KIND.Q4_0, "attn_k": KIND.Q4_1, "attn_v": KIND.Q5_0, "attn_output": KIND.Q5_1,
         "ffn_gate": KIND.F16, "ffn_up": KIND.BF16, "ffn_down": KIND.Q8_0, "token_embd": KIND.Q8_0}
# Where the f16 scales of a block lie, so that random bytes do not become infinities.
SCALES = {KIND.Q4_0: [0], KIND.Q4_1: [0, 2], KIND.Q5_0: [0], KIND.Q5_1: [0, 2], KIND.Q8_0: [0],
          KIND.Q2_K: [80, 82], KIND.Q3_K: [108], KIND.Q4_K: [0, 2], KIND.Q5_K: [0, 2], KIND.Q6_K: [208],
          KIND.IQ4_NL: [0], KIND.IQ4_XS: [0]}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}


def file_name(name):
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return NAMES[stem] + ".weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def exchange_rows(weight, heads):
    """Halves to neighbours: [heads, 2, D/2, I] becomes [heads, D/2, 2, I]."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def add_metadata(writer, config):
    """What llama.cpp's converter writes for a Llama with a byte-level tokenizer."""
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_parameters", config)
    writer.add_rope_freq_base(rope["rope_theta"])
    width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_dimension_count(width)
    if "head_dim" in config:
        writer.add_key_length(width)
        writer.add_value_length(width)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(byte_letters() + CONTROL + ["".join(pair) for pair in MERGES])
    writer.add_token_types([1] * 256 + [3] * len(CONTROL) + [1] * len(MERGES))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def write_gguf(path, model, kind_of, alignment=None):
    folder = OUT / "models" / model
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    add_metadata(writer, config)
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                values = exchange_rows(values, config[heads])
        kind = KIND.F32 if values.ndim == 1 else kind_of(file_name(name))
        writer.add_tensor(file_name(name), gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    if "rope_scaling" in config:
        scaled = load_model(folder, torch.float32).model.rotary_emb.inv_freq.double().numpy()
        plain = config["rope_theta"] ** (-np.arange(len(scaled)) / len(scaled))
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path.relative_to(OUT.parent)}: {path.stat().st_size} bytes")


def run_gguf(path):
    """What transformers' reader makes of the file, in float64."""
    model = load_model(path.parent, torch.float64, gguf_file=path.name)
    ids, offsets = prompts()
    rows = kept_rows(offsets)
    logits, losses = run(model, ids, offsets)
    return logits, {"input_ids": ids, "segments": offsets, "rows": rows, "losses_f64": losses,
                    "logits_f64": logits[rows.long()]}


def blocks():
    """bytes -> values for every type, and source -> quantised where gguf-py can quantise."""
    tensors = {}
    for kind, scales in SCALES.items():
        n_values, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        raw = stream(f"blocks/{kind.name}").integers(0, 256, (3, n_bytes)).astype(np.uint8)
        for index, at in enumerate(scales):
            scale = stream(f"scales/{kind.name}/{index}").standard_normal((3, 1)).astype(np.float16)
            raw[:, at:at + 2] = scale.view(np.uint8)
        tensors[f"{kind.name}.bytes"] = torch.from_numpy(raw)
        tensors[f"{kind.name}.values"] = torch.from_numpy(gguf.quants.dequantize(raw, kind).reshape(3, n_values))
        if n_values == 32 and kind in MIXED.values():
            source = normal(f"source/{kind.name}", (4, 32))
            source[3] = 0
            source[2, 5] = 40
            tensors[f"{kind.name}.source"] = source
            tensors[f"{kind.name}.quantised"] = torch.from_numpy(gguf.quants.quantize(source.numpy(), kind))
    return tensors


def main():
    folder = OUT / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors("gguf/blocks.safetensors", blocks())
    write_gguf(folder / "tiny-llama-f32.gguf", "tiny-llama", lambda name: KIND.F32)
    write_gguf(folder / "tiny-llama-q8_0.gguf", "tiny-llama", lambda name: KIND.Q8_0)
    write_gguf(folder / "tiny-llama-mixed.gguf", "tiny-llama", lambda name: MIXED[name.split(".")[-2]], 64)
    write_gguf(folder / "tiny-llama-untied-f16.gguf", "tiny-llama-untied", lambda name: KIND.F16)
    write_gguf(folder / "tiny-llama3-rope-f32.gguf", "tiny-llama3-rope", lambda name: KIND.F32)
    exact, _ = run_gguf(folder / "tiny-llama-f32.gguf")
    ids, offsets = prompts()
    expected, _ = run(load_model(OUT / "models" / "tiny-llama", torch.float64), ids, offsets)
    assert (exact - expected).abs().max() < 1e-7      # the norm's eps is a float32 in the file
    for name in ("tiny-llama-q8_0", "tiny-llama-mixed", "tiny-llama-untied-f16"):
        logits, tensors = run_gguf(folder / f"{name}.gguf")
        write_tensors(f"logits/{name}.gguf.safetensors", tensors, model=f"{name}.gguf")
        if "untied" not in name:
            print("    quantisation moves logits by at most", (logits - expected).abs().max().item())


if __name__ == "__main__":
    main()
