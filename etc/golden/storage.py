"""Reference files for the readers, the writer and the storages, made by the packages of the
formats' owners: safetensors (Hugging Face) and gguf (llama.cpp).

    pip install -r etc/golden/requirements.txt     (numpy, safetensors, gguf)
    python etc/golden/storage.py tests/data/files

storage.safetensors  <format>.source, .blocks, .values: input, encoded bytes, decoded f32
sample.safetensors   eight types, a scalar, an empty tensor, names that need escapes
sample.gguf          every type of metadata, several types of tensors, alignment 64
llama.gguf           a llama of two layers with llama3 rope factors
"""
import pathlib
import sys

import gguf
import numpy as np
import safetensors
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from safetensors.numpy import save_file

out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(20240607)


def sources(n_blocks, elems):
    """Random rows, and what breaks encoders: zeros, equal values, one sign, ties, tiny, huge."""
    x = rng.standard_normal((n_blocks, elems), dtype=np.float32)
    x[0] = 0
    x[1] = 0.75
    x[2] = -x[2].__abs__()
    x[3] *= np.float32(1e-7)
    x[4] *= np.float32(3000)
    x[5] = np.arange(elems, dtype=np.float32) - elems / 2
    x[6, :] = 0
    x[6, 3] = np.float32(-1.5)
    halves = np.arange(elems, dtype=np.float32) / 2
    x[7] = halves  # ties of q8_0: the scale is 1
    x[7, 1::4] *= -1
    x[7, 0] = 127
    x[8] = halves  # ties of q4_1: minimum 0, scale 1
    x[8, 31] = 15
    x[9] = halves - 8  # ties of q4_0: scale 1
    return x.reshape(-1)


def storages():
    tensors = {}
    for name in ("Q8_0", "Q4_0", "Q4_1"):
        x = sources(24, 32)
        blocks = gguf.quants.quantize(x, T[name])
        tensors[name.lower() + ".source"] = x
        tensors[name.lower() + ".blocks"] = blocks
        tensors[name.lower() + ".values"] = gguf.quants.dequantize(blocks, T[name])
    for name, size, scales in (("Q4_K", 144, (0, 2)), ("Q6_K", 210, (208,))):
        blocks = rng.integers(0, 256, (6, size), dtype=np.uint8)
        for at in scales:  # finite, and one zero
            d = (rng.standard_normal(6) * 0.01).astype(np.float16)
            d[5] = 0
            blocks[:, at : at + 2] = d.view(np.uint8).reshape(6, 2)
        blocks = blocks.reshape(-1)
        tensors[name.lower() + ".blocks"] = blocks
        tensors[name.lower() + ".values"] = gguf.quants.dequantize(blocks, T[name])
    # f16 both ways: every exponent, ties, subnormals, overflow.
    bits = np.concatenate([np.arange(0, 65536, 7, dtype=np.uint16), np.array([1, 2, 0x3FF, 0x400, 0x7BFF], np.uint16)])
    half = bits.view(np.float16)
    half = half[np.isfinite(half)]
    tensors["f16.stored"] = half
    tensors["f16.values"] = half.astype(np.float32)
    wide = np.concatenate([
        (half.astype(np.float64) * (1 + rng.standard_normal(half.size) * 3e-4)).astype(np.float32),
        np.array([65504, 65519.996, 65520, 70000, 2.98e-8, 2.9802322e-8, 2.9802326e-8, 8.9e-8, -1e-9, 1 + 2**-11, 1 + 3 * 2**-11], np.float32),
    ])
    with np.errstate(over="ignore"):
        tensors["f16.rounded"] = wide.astype(np.float16)
    tensors["f16.wide"] = wide
    save_file(tensors, out / "storage.safetensors", {"format": "pt"})


def sample_safetensors():
    keep = []  # TensorSpec holds an address only

    def entry(dtype, shape, n):
        keep.append(rng.integers(0, 255, n + 1, dtype=np.uint8))
        return safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=keep[-1].ctypes.data, data_len=n)

    tensors = {
        "w.f32": entry("float32", [3, 5], 60),
        "w.bf16": entry("bfloat16", [2, 3, 4], 48),
        "w.f16": entry("float16", [7], 14),
        "w.i64": entry("int64", [2], 16),
        "w.u8": entry("uint8", [1, 3], 3),
        "w.bool": entry("bool", [5], 5),
        "scalar": entry("float32", [], 4),
        "empty": entry("float32", [0, 4], 0),
        'name "with" \\ \u00fcml\u00e4ut \U0001f600': entry("int32", [1, 1, 1, 1, 2], 8),
    }
    blob = safetensors.serialize(tensors, {"format": "pt"})
    (out / "sample.safetensors").write_bytes(blob)


def sample_gguf():
    w = gguf.GGUFWriter(out / "sample.gguf", "test")
    w.add_custom_alignment(64)
    for value, kind in ((200, V.UINT8), (-100, V.INT8), (60000, V.UINT16), (-30000, V.INT16),
                        (4000000000, V.UINT32), (-2000000000, V.INT32), (2**63 + 5, V.UINT64),
                        (-(2**62), V.INT64), (1.5, V.FLOAT32), (-2.25, V.FLOAT64), (True, V.BOOL)):
        w.add_key_value(f"k.{kind.name.lower()}", value, kind)
    w.add_string("k.string", "gr\u00fc\u00dfe")
    w.add_array("k.words", ["a", "", "long enough"])
    w.add_array("k.numbers", [1, -2, 3])
    w.add_array("k.floats", [0.5, 1.5])
    w.add_array("k.flags", [True, False, True])
    x = rng.standard_normal((4, 64), dtype=np.float32)
    w.add_tensor("a.f32", x)
    w.add_tensor("b.f16", x.astype(np.float16))
    for t in (T.Q8_0, T.Q4_0, T.Q4_1, T.BF16):
        w.add_tensor("c." + t.name.lower(), gguf.quants.quantize(x, t), raw_dtype=t)
    w.add_tensor("d.q5_0", gguf.quants.quantize(x, T.Q5_0), raw_dtype=T.Q5_0)
    w.add_tensor("e.vector", x[0])
    w.add_tensor("f.deep", x.reshape(2, 2, 4, 16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama_gguf():
    """Llama 3.1's rope factors: Hugging Face's formula, in f32 as its converter does."""
    w = gguf.GGUFWriter(out / "llama.gguf", "llama")
    D, F, H, KV, V_, L, hd = 64, 96, 4, 2, 40, 2, 16
    w.add_name("tiny")
    w.add_string("general.repo_url", "https://huggingface.co/someone/tiny")
    w.add_context_length(131072)
    w.add_embedding_length(D)
    w.add_block_count(L)
    w.add_feed_forward_length(F)
    w.add_head_count(H)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(500000.0)
    w.add_rope_dimension_count(hd)
    w.add_tokenizer_model("gpt2")
    w.add_token_list([f"t{i}" for i in range(V_)])
    w.add_token_types([1] * V_)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_eot_token_id(3)
    factor, lo, hi, old = 8.0, 1.0, 4.0, 8192
    values = []
    for freq in 1.0 / (500000.0 ** (np.arange(0, hd, 2, dtype=np.float32) / hd)):
        wave = 2 * np.pi / freq
        if wave < old / hi:
            values.append(1)
        elif wave > old / lo:
            values.append(factor)
        else:
            s = (old / wave - lo) / (hi - lo)
            values.append(1 / ((1 - s) / factor + s))
    r = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    w.add_tensor("token_embd.weight", r(V_, D))
    w.add_tensor("rope_freqs.weight", np.array(values, np.float32))
    for i in range(L):
        for name, shape in (("attn_norm", (D,)), ("attn_q", (H * hd, D)), ("attn_k", (KV * hd, D)),
                            ("attn_v", (KV * hd, D)), ("attn_output", (D, H * hd)), ("ffn_norm", (D,)),
                            ("ffn_gate", (F, D)), ("ffn_up", (F, D)), ("ffn_down", (D, F))):
            w.add_tensor(f"blk.{i}.{name}.weight", r(*shape).astype(np.float32 if len(shape) == 1 else np.float16))
    w.add_tensor("output_norm.weight", r(D))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


out.mkdir(parents=True, exist_ok=True)
storages()
sample_safetensors()
sample_gguf()
llama_gguf()
