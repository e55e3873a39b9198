#!/usr/bin/env python3
"""Reference values of the operations of hone/op.h, computed by PyTorch in float64.

Writes tests/data/golden/ops.json (cases: operation, attributes, operands with type, shape and
offset) and tests/data/golden/ops.bin (all numbers as little-endian float64, whatever the type
of the operand).  Gradients come from torch.autograd, never from a formula written here; the
random numbers of dropout come from an implementation of Philox in this file, checked against
the known answers of its authors.

    python3 etc/golden/ops.py            # writes both files
"""
import json
import math
import pathlib
import struct

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "golden"
NAMES = {torch.float64: "f64", torch.float32: "f32", torch.bfloat16: "bf16",
         torch.float16: "f16", torch.int32: "i32", torch.uint8: "u8"}

torch.manual_seed(20240611)
cases, numbers = [], bytearray()


def describe(tensor):
    tensor = tensor.detach()
    entry = {"dtype": NAMES[tensor.dtype], "dim": list(tensor.shape), "offset": len(numbers) // 8}
    numbers.extend(struct.pack(f"<{tensor.numel()}d", *tensor.double().flatten().tolist()))
    return entry


def case(name, op, inputs, outputs, **attr):
    cases.append({"name": name, "op": op, "attr": attr,
                  "in": [describe(t) for t in inputs], "out": [describe(t) for t in outputs]})


def normal(*shape, scale=1.0):
    return torch.randn(*shape, dtype=torch.float64) * scale


def i32(*values):
    return torch.tensor(values, dtype=torch.int32)


def leaf(tensor):
    return tensor.detach().clone().requires_grad_(True)


def matmul():
    a, b, c = normal(5, 7), normal(3, 7), normal(5, 3)
    case("nt", "matmul", [a, b], [a @ b.T], form=0)
    case("nt plus c", "matmul", [a, b, c], [torch.addmm(c, a, b.T)], form=0)
    a, b, c = normal(5, 3), normal(3, 7), normal(5, 7)
    case("nn", "matmul", [a, b], [a @ b], form=1)
    case("nn plus c", "matmul", [a, b, c], [torch.addmm(c, a, b)], form=1)
    case("tn", "matmul", [a, c], [a.T @ c], form=2)


UNARY = {1: torch.neg, 2: torch.exp, 3: torch.log, 4: torch.sqrt, 5: torch.rsqrt, 6: torch.square,
         7: torch.abs, 8: torch.reciprocal, 9: torch.sigmoid, 10: F.logsigmoid,
         11: lambda x: F.softplus(x, threshold=1000), 12: torch.tanh, 13: torch.relu, 14: F.silu,
         15: F.gelu, 16: lambda x: F.gelu(x, approximate="tanh"),
         17: lambda x: x * torch.sigmoid(1.702 * x)}


def unary():
    for kind, f in UNARY.items():
        if kind in (3, 4, 5, 8):
            x = torch.tensor([[1e-6, 0.03, 0.5, 1.0], [2.0, 7.5, 100.0, 1e8]]).double()
        else:
            x = torch.tensor([[0.0, -0.3, 0.7, -1.5, 3.0, -4.0], [6.0, -9.0, 20.0, -20.0, 40.0, -40.0]])
            x = x.double()
        x, dy = leaf(x), normal(*x.shape)
        y = f(x)
        case(f"kind {kind}", "unary", [x], [y], kind=kind)
        case(f"kind {kind}", "unary_back", [dy, x], torch.autograd.grad(y, x, dy), kind=kind)


def binary():
    functions = {1: torch.add, 2: torch.sub, 3: torch.mul, 4: torch.div, 5: torch.minimum,
                 6: torch.maximum, 7: torch.lt, 8: torch.eq}
    nan = math.nan
    for kind, f in functions.items():
        a = normal(4, 3)
        if kind > 4:
            a = torch.tensor([[1, 2, 3], [nan, 1, -1], [0, -0.0, 2], [5, 5, nan]]).double()
        for b in (normal(4, 3), normal(3), normal(1, 3), normal(4, 1), normal(1)):
            if kind > 4:
                b = b.round()
            case(f"kind {kind} {list(b.shape)}", "binary", [a, b], [f(a, b).double()], kind=kind)
        if kind > 4:
            b = torch.tensor([[1, nan, 4], [2, 1, -1], [-0.0, 0, 2], [nan, 4, nan]]).double()
            case(f"kind {kind} nan", "binary", [a, b], [f(a, b).double()], kind=kind)


def affine():
    x = normal(3, 4)
    case("", "scale", [x], [-0.3 * x + 1.5], alpha=-0.3, beta=1.5)
    case("", "fill", [x], [torch.full_like(x, -2.25)], alpha=3.0, beta=-2.25)
    # Ties of either parity, subnormals, overflow by rounding, and what has no number.
    x = torch.tensor([0.0, -0.0, 1.0, 1.00390625, 1.01171875, -1.00390625, 65519.0, 65520.0, 1e30,
                      3.3895314e38, 3.4e38, -3.4e38, 2.0 ** -24, 2.0 ** -25, 1.5 * 2.0 ** -24,
                      6e-8, 6.1e-5, 6.097555e-5, 1e-40, 1e-45, math.inf, -math.inf, math.nan,
                      1.0009766, 2049.0, 2051.0, 0.333333343]).reshape(1, -1)
    for to in (torch.bfloat16, torch.float16, torch.float64, torch.float32):
        case(NAMES[to], "cast", [x], [x.to(to)], dtype=NAMES[to])
    x = torch.tensor([[0.0, 0.9, 1.5, 2.5, 200.7, 254.99]])
    case("u8", "cast", [x], [x.to(torch.uint8)], dtype="u8")
    x = torch.tensor([[0.0, -0.9, 1.5, -2.5, 2.0 ** 30, -(2.0 ** 31)]])
    case("i32", "cast", [x], [x.to(torch.int32)], dtype="i32")


def norms():
    x, w, b, dy = leaf(normal(4, 6) + 0.5), leaf(normal(6)), leaf(normal(6)), normal(4, 6)
    y = F.rms_norm(x, (6,), w, eps=0.01)
    rstd = torch.rsqrt(x.square().mean(1, keepdim=True) + 0.01)
    dx, dw = torch.autograd.grad(y, (x, w), dy)
    case("", "rms_norm", [x, w], [y, rstd], eps=0.01)
    case("", "rms_norm_back", [dy, x, w, rstd], [dx])
    case("", "rms_norm_weight_back", [dy, x, rstd], [dw])
    y, mean, rstd = torch.native_layer_norm(x, (6,), w, b, 0.02)
    dx, dw, db = torch.autograd.grad(y, (x, w, b), dy)
    case("", "layer_norm", [x, w, b], [y, mean, rstd], eps=0.02)
    case("", "layer_norm_back", [dy, x, w, mean, rstd], [dx])
    case("", "layer_norm_weight_back", [dy, x, mean, rstd], [dw, db])


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def rope():
    positions = i32(0, 1, 5, 1000, 131071)
    n = 4
    frequencies = (10000.0 ** (-torch.arange(n, dtype=torch.float64) / n))
    angles = positions.double()[:, None] * frequencies
    table = torch.cat((angles.cos(), angles.sin()), 1) * 1.25
    case("", "rope_table", [positions], [table], n=n, scale=1.25, inv_freq=frequencies.tolist())
    x, dy = leaf(normal(5, 3, 10)), normal(5, 3, 10)  # 8 of 10 columns turn
    cos = torch.cat((table[:, :n], table[:, :n]), 1)[:, None]
    sin = torch.cat((table[:, n:], table[:, n:]), 1)[:, None]
    turned = x[..., :8] * cos + rotate_half(x[..., :8]) * sin
    y = torch.cat((turned, x[..., 8:]), -1)
    dx, = torch.autograd.grad(y, x, dy)
    case("halves", "rope", [x.reshape(5, 30), table], [y.reshape(5, 30)],
         head_dim=10, layout=0, inverse=0)
    case("halves inverse", "rope", [dy.reshape(5, 30), table], [dx.reshape(5, 30)],
         head_dim=10, layout=0, inverse=1)
    # Interleaved pairs are complex numbers.
    unit = torch.complex(table[:, :n], table[:, n:])[:, None]
    pairs = torch.view_as_complex(x[..., :8].reshape(5, 3, n, 2))
    y = torch.cat((torch.view_as_real(pairs * unit).flatten(-2), x[..., 8:]), -1)
    dx, = torch.autograd.grad(y, x, dy)
    case("interleaved", "rope", [x.reshape(5, 30), table], [y.reshape(5, 30)],
         head_dim=10, layout=1, inverse=0)
    case("interleaved inverse", "rope", [dy.reshape(5, 30), table], [dx.reshape(5, 30)],
         head_dim=10, layout=1, inverse=1)


def attend(q, k, v, P, scale, causal, window, softcap):
    """q [T,H,K], k and v [P+U,H,K] -> o, lse.  Rows that see nothing give 0 and -inf."""
    T, U = q.shape[0], k.shape[0] - P
    i, j = torch.arange(T)[:, None], torch.arange(U)[None]
    seen = torch.ones(T, U, dtype=torch.bool)
    if causal:
        seen &= j <= i + (U - T)
    if window:
        seen &= j > i + (U - T) - window
    seen = torch.cat((torch.ones(T, P, dtype=torch.bool), seen), 1)
    score = torch.einsum("thk,uhk->htu", q, k) * scale
    if softcap:
        score = softcap * torch.tanh(score / softcap)
    score = score.masked_fill(~seen, -math.inf)
    lse = torch.logsumexp(score, -1)
    if softcap or not seen.any(1).all():
        p = torch.softmax(score, -1).masked_fill(~seen.any(1)[None, :, None], 0)
        o = torch.einsum("htu,uhk->thk", p.nan_to_num(0.0), v)
    else:
        o = F.scaled_dot_product_attention(q.transpose(0, 1)[None], k.transpose(0, 1)[None],
                                           v.transpose(0, 1)[None], attn_mask=seen, scale=scale)
        o = o[0].transpose(0, 1)
    return o, lse.T


def attention_case(name, H, G, K, offsets, ranges, L, P=0, scale=0.5, causal=0, window=0,
                   softcap=0.0, size=1.0):
    N = offsets[-1]
    q, k, v = leaf(normal(N, H * K, scale=size)), leaf(normal(L, G * K)), leaf(normal(L, G * K))
    prefix = [leaf(normal(P, G * K)), leaf(normal(P, G * K))] if P else []
    os, lses = [], []
    for s, (first, last) in enumerate(ranges):
        rows = q[offsets[s]:offsets[s + 1]].reshape(-1, H, K)
        keys, values = (torch.cat(([p] if P else []) + [x[first:last]]).reshape(-1, G, K)
                        .repeat_interleave(H // G, 1)
                        for x, p in ((k, prefix[0] if P else None), (v, prefix[1] if P else None)))
        if not len(rows):
            continue
        if not len(keys):
            os.append(rows * 0)
            lses.append(torch.full((len(rows), H), -math.inf).double())
            continue
        o, lse = attend(rows, keys, values, P, scale, causal, window, softcap)
        os.append(o)
        lses.append(lse)
    o, lse = torch.cat(os).reshape(N, H * K), torch.cat(lses)
    d_o = normal(N, H * K)
    grads = torch.autograd.grad(o, [q, k, v] + prefix, d_o, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g.nan_to_num(0.0)
             for g, x in zip(grads, [q, k, v] + prefix)]
    index = [i32(*offsets), torch.tensor(ranges, dtype=torch.int32)]
    attr = dict(n_heads=H, n_kv_heads=G, head_dim=K, window=window, causal=causal, scale=scale,
                softcap=softcap)
    case(name, "attention", [q, k, v] + index + prefix, [o, lse], **attr)
    case(name, "attention_back", [d_o, q, k, v, o, lse] + index + prefix, grads, **attr)


def attention():
    own = dict(offsets=[0, 3, 3, 8], ranges=[[0, 3], [3, 3], [3, 8]], L=8)
    cross = dict(offsets=[0, 2, 6, 7], ranges=[[0, 5], [4, 6], [7, 7]], L=9)
    attention_case("bidirectional", 2, 2, 3, **own)
    attention_case("causal, shared heads", 4, 2, 3, causal=1, **own)
    attention_case("one key head", 4, 1, 3, causal=1, **own)
    attention_case("window 2", 2, 1, 3, causal=1, window=2, **own)
    attention_case("window 2, bidirectional", 2, 1, 3, window=2, **own)
    attention_case("softcap", 2, 1, 3, causal=1, softcap=1.5, size=3.0, **own)
    attention_case("prefix", 2, 1, 3, causal=1, P=2, **own)
    attention_case("prefix, window, softcap", 4, 2, 3, causal=1, P=2, window=2, softcap=2.0, **own)
    attention_case("other keys", 2, 1, 3, **cross)
    attention_case("other keys, causal", 2, 1, 3, causal=1, **cross)
    attention_case("other keys, prefix", 2, 1, 3, causal=1, P=1, **cross)
    attention_case("scores of 1e4", 2, 1, 3, causal=1, size=1e4, **own)


def rows():
    table, index = leaf(normal(6, 3)), i32(2, 0, 5, 2)
    y = F.embedding(index.long(), table)
    dy = normal(4, 3)
    case("", "gather_rows", [table, index], [y])
    case("", "scatter_add_rows", [dy, index], torch.autograd.grad(y, table, dy), rows=6)
    x, unique = normal(6, 3), i32(3, 0, 5, 4)
    case("", "put_rows", [x, dy, unique], [x.index_copy(0, unique.long(), dy)])


def segments():
    x, offsets = leaf(normal(7, 3)), [0, 0, 3, 4, 7]
    x.data[5] = x.data[4]  # a tie
    reductions = {1: lambda r: r.sum(0), 2: lambda r: r.mean(0), 3: lambda r: r.max(0).values,
                  4: lambda r: r.logsumexp(0)}
    for kind, f in reductions.items():
        y = torch.stack([f(x[a:b]) if b > a else torch.zeros(3, dtype=torch.float64)
                         for a, b in zip(offsets, offsets[1:])])
        dy = normal(4, 3)
        case(f"kind {kind}", "segment_reduce", [x, i32(*offsets)], [y], kind=kind)
        case(f"kind {kind}", "segment_reduce_back", [dy, x, y, i32(*offsets)],
             torch.autograd.grad(y, x, dy), kind=kind)
    s = normal(4, 3)
    lengths = torch.tensor([b - a for a, b in zip(offsets, offsets[1:])])
    case("", "segment_broadcast", [s, i32(*offsets), x], [s.repeat_interleave(lengths, 0)])


def reductions():
    x = normal(4, 5)
    x[1, 3] = x[1].max()
    x[2, 1] = -math.inf
    x[3, :] = torch.tensor([1.0, 3.0, 3.0, -2.0, 3.0])
    functions = {1: lambda t: t.sum(1), 2: lambda t: t.mean(1), 3: lambda t: t.max(1).values,
                 4: lambda t: t.logsumexp(1)}
    for kind, f in functions.items():
        case(f"kind {kind}", "reduce_cols", [x], [f(x)[:, None]], kind=kind)
    nothing = torch.full((1, 3), -math.inf, dtype=torch.float64)
    case("all -inf", "reduce_cols", [nothing], [nothing.logsumexp(1)[:, None]], kind=4)
    # The lowest index of the maximum, which torch.argmax does not promise.
    lowest = (x == x.max(1, keepdim=True).values).int().argmax(1)
    case("argmax", "reduce_cols", [x], [lowest[:, None].int()], kind=5)
    x = normal(6, 4)
    case("", "reduce_rows", [x], [x.sum(0, keepdim=True)])
    case("", "sum_squares", [x], [x.square().sum().reshape(1)])


def loss():
    for smoothing in (0.0, 0.1):
        for scale in (1.0, 1e4):
            x, labels = leaf(normal(5, 7, scale=scale)), i32(3, -1, 0, 6, -1)
            y = F.cross_entropy(x, labels.long(), reduction="none", ignore_index=-1,
                                label_smoothing=smoothing)[:, None]
            lse, dy = x.logsumexp(1, keepdim=True), normal(5, 1)
            name = f"smoothing {smoothing} scale {scale}"
            case(name, "nll", [x, labels], [y, lse], label_smoothing=smoothing)
            case(name, "nll_back", [dy, x, labels, lse], torch.autograd.grad(y, x, dy),
                 label_smoothing=smoothing)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# The known answers of Random123 for philox4x32, 10 rounds.
assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def mix(z):
    """The finaliser of SplitMix64; with its increment, mix(G) is the first number of seed 0."""
    mask = (1 << 64) - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


G = 0x9E3779B97F4A7C15
assert mix(G) == 0xE220A8397B1DCDAF         # SplitMix64 of seed 0, its first number


def draw(seed, stream, example, position, column):
    mask = (1 << 64) - 1
    z = mix((mix((seed + G) & mask) + stream) & mask)
    four = philox([position, example, column >> 2, 0], [z & 0xFFFFFFFF, z >> 32])
    return (four[column & 3] >> 8) / 2.0 ** 24


def dropout():
    seed, step, stream, p = 42, 3, 0x123456789ABCDEF, 0.3
    keys = torch.tensor([[0, 0], [0, 1], [7, 0], [7, 900]], dtype=torch.int32)
    x = normal(4, 9)
    kept = torch.tensor([[draw(seed, stream ^ step, e, q, j) >= p for j in range(9)]
                         for e, q in keys.tolist()])
    case("", "dropout", [x, keys], [x * kept / (1 - p)], p=p, stream=stream, seed=seed, step=step)


def shape():
    x, y, z = normal(3, 5), normal(3, 1), normal(3, 2)
    case("", "slice_cols", [x], [x[:, 1:4]], begin=1, end=4)
    case("", "concat_cols", [x, y, z], [torch.cat((x, y, z), 1)])
    row = normal(5)
    case("row", "broadcast", [row, x], [row.expand(3, 5)])
    case("[1,D]", "broadcast", [row[None], x], [row.expand(3, 5)])
    case("scalar", "broadcast", [row[:1], x], [row[:1].expand(3, 5)])


def adamw():
    lr, lr_scale, beta1, beta2, eps, decay = 0.02, 0.5, 0.8, 0.95, 1e-6, 0.1
    p = torch.nn.Parameter(normal(2, 3))
    optimizer = torch.optim.AdamW([p], lr=lr * lr_scale, betas=(beta1, beta2), eps=eps,
                                  weight_decay=decay)
    m, v = torch.zeros(2, 3).double(), torch.zeros(2, 3).double()
    for t in range(1, 4):
        before, g, factor = p.detach().clone(), normal(2, 3), 0.25
        p.grad = g * factor
        optimizer.step()
        state = optimizer.state[p]
        hyper = torch.tensor([lr, 1 - beta1 ** t, 1 - beta2 ** t, factor], dtype=torch.float64)
        after = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
        case(f"step {t}", "adamw", [before, g, m, v, hyper], [p, *after], beta1=beta1, beta2=beta2,
             eps=eps, weight_decay=decay, lr_scale=lr_scale)
        m, v = after


for family in (matmul, unary, binary, affine, norms, rope, attention, rows, segments, reductions,
               loss, dropout, shape, adamw):
    family()
OUT.mkdir(parents=True, exist_ok=True)
lines = ",\n".join(json.dumps(c) for c in cases)
(OUT / "ops.json").write_text('{"torch": "%s", "cases": [\n%s\n]}\n' % (torch.__version__, lines))
(OUT / "ops.bin").write_bytes(bytes(numbers))
print(len(cases), "cases,", len(numbers), "bytes")
