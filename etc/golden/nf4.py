"""Makes nf4/: what bitsandbytes makes of tensors in 4 bits, and a LoRA run on such weights.

    nf4/nf4.safetensors     both code books; per case what goes in, what bitsandbytes stores, and
                            what it reads back
    nf4/curves.safetensors  50 steps as "plain" of training/lora-curves, but every linear weight
                            except lm_head is what bitsandbytes reads back from NF4

The nearest 8-bit code of a scale is found with the package's own kernel for any device, which
compares with midpoints as its CUDA code does; its library for CPUs looks codes up in a coarse
table, and the script prints how many of them are a neighbour of the nearest.  A case's
`values` are float32, `values_bf16` what bitsandbytes gives a bfloat16 model.
"""
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"                 # as written, not as a compiler fuses it
import bitsandbytes.functional as F
from bitsandbytes.backends.utils import CODE

from common import *
from tiny_training import LORA, ROWS, adapted, make_row, train

KEY = torch._C.DispatchKey.CompositeExplicitAutograd    # bitsandbytes' "default" kernels


def default(name, *args):
    return getattr(torch.ops.bitsandbytes, name).default._op_dk(KEY, *args)


def quantise(x):
    """Codes, block maxima, and the scales' own codes, maxima and mean (compress_statistics)."""
    codes, absmax = default("quantize_4bit", x, 64, "nf4", torch.uint8)
    offset = absmax.mean()
    scales, nested = default("quantize_blockwise", absmax - offset, F.create_dynamic_map(), 256)
    theirs = F.quantize_blockwise(absmax - offset, blocksize=256)[0]
    return codes.reshape(-1), absmax, scales, nested, offset, (scales != theirs).sum().item()


def dequantise(x, dtype=torch.float32):
    codes, _, scales, nested, offset, _ = quantise(x)
    absmax = default("dequantize_blockwise", scales, nested, F.create_dynamic_map(), 256, torch.float32) + offset
    return default("dequantize_4bit", codes.reshape(-1, 1), absmax, 64, "nf4", list(x.shape), dtype)


def edges():
    """Every midpoint of the code book, and its neighbours in float32; the maxima are 1."""
    book = CODE["nf4"].numpy()
    middles = (book[:-1] + book[1:]) / np.float32(2)
    values = np.concatenate([middles, np.nextafter(middles, np.float32(2)), np.nextafter(middles, np.float32(-2))])
    return torch.from_numpy(np.concatenate([[1], values, np.zeros(64 - 1 - values.size)]).astype(np.float32).reshape(1, 64))


def cases():
    huge = normal("nf4/huge", (6, 64))
    huge[:2] *= 1e30
    huge[2] *= 3e37 / huge[2].abs().max()
    huge[3] *= 1e-30
    huge[4] *= 1e-40
    mixed = normal("nf4/mixed", (4, 96))
    mixed[1] = 0
    mixed[2, 5] = 40
    mixed[3] = mixed[3].abs()
    return {
        "normal": normal("nf4/normal", (12, 192), 0.02),
        "zeros": torch.zeros(3, 64),
        "huge": huge,
        "mixed": mixed,
        "edges": edges(),
        "ragged": normal("nf4/ragged", (7, 31)),         # odd; blocks straddle rows, the last is short
        "short": normal("nf4/short", (1, 5)),
        "large": (normal("nf4/large", (263, 65)) * 2 ** (normal("nf4/spread", (263, 1)) / 2)).bfloat16().float(),
    }


def blocks():
    tensors = {"book": CODE["nf4"], "map": F.create_dynamic_map()}
    for name, x in cases().items():
        codes, absmax, scales, nested, offset, differs = quantise(x)
        assert torch.equal(codes, F.quantize_4bit(x, quant_type="nf4")[0].reshape(-1)), name
        tensors |= {f"{name}.source": x.bfloat16() if name == "large" else x, f"{name}.codes": codes,
                    f"{name}.absmax": absmax, f"{name}.scales": scales, f"{name}.nested": nested,
                    f"{name}.offset": offset, f"{name}.values": dequantise(x),
                    f"{name}.values_bf16": dequantise(x, torch.bfloat16)}
        error = (dequantise(x).double() - x).norm() / x.double().norm().clamp(min=1e-38)
        print(f"    {name}: {scales.numel()} scales, {differs} of them differ in the CPU library; relative error {error:.4f}")
    write_tensors("nf4/nf4.safetensors", tensors)


def quantised(kind):
    """tiny-llama with adapters/start, its linear weights those that bitsandbytes reads back."""
    model = adapted(kind)
    for name, module in model.named_modules():
        if name.endswith(".base_layer") and "lm_head" not in name:
            weight = module.weight.data
            module.weight.data = dequantise(weight.float()).to(weight.dtype)
    return model


def main():
    blocks()
    rows = [make_row(i) for i in range(ROWS)]
    curves = {}
    for kind in ("f64", "f32", "bf16"):
        result = train(quantised(kind), rows, LORA, autocast=kind == "bf16")
        curves |= {f"plain.{kind}.{key}": value for key, value in result.items()}
    write_tensors("nf4/curves.safetensors", curves, **LORA)


if __name__ == "__main__":
    main()
