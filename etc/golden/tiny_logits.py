"""Makes logits/<model>.safetensors: what transformers computes for each model of models/.

Prompts of 1, 7, 33 and 96 tokens, run one by one.  hone runs them as four segments of one ragged
stream whose positions restart; this script checks that transformers, given one row of 137 tokens
with restarting position ids and a block-diagonal mask, says the same.

Logits are kept for selected rows only (all of the two short prompts, every eighth and the last of
the two long ones), the loss of every next token for all.  float32's own distance from float64 is
in the metadata, as the base of a tolerance; so is the narrowest lead of the 16 tokens that greedy
decoding appends to the third prompt.  tiny-llama has also its hidden states (7 tokens) and
the gradient of the mean loss over all 133 learned tokens by every weight.
"""
from common import *

LENGTHS = [1, 7, 33, 96]


def prompts():
    ids = torch.from_numpy(stream("prompts").integers(0, 263, sum(LENGTHS)).astype(np.int32))
    return ids, torch.tensor([0, *np.cumsum(LENGTHS)], dtype=torch.int32)


def kept_rows(offsets):
    """Rows of the stream whose logits are written."""
    rows = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        step = 1 if end - begin < 8 else 8
        rows += sorted({*range(begin, end, step), end - 1})
    return torch.tensor(rows, dtype=torch.int32)


def segments(ids, offsets):
    return [ids[b:e].long()[None] for b, e in zip(offsets[:-1].tolist(), offsets[1:].tolist())]


@torch.no_grad()
def run(model, ids, offsets):
    """Logits [137, V] and losses [137] (0 where a segment ends and nothing is predicted)."""
    logits, losses = [], []
    for part in segments(ids, offsets):
        out = model(input_ids=part).logits
        loss, _ = token_losses(out, part)
        logits.append(out[0])
        losses.append(torch.cat([loss[0], loss.new_zeros(1)]))
    return torch.cat(logits), torch.cat(losses)


@torch.no_grad()
def check_packed(model, ids, offsets, expected):
    """The same in one row: positions restart, nothing is seen across a border."""
    lengths = offsets.diff().tolist()
    position = torch.cat([torch.arange(n) for n in lengths])[None]
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = (document[:, None] == document) & (torch.arange(len(ids))[:, None] >= torch.arange(len(ids)))
    mask = seen[None, None]
    packed = model(input_ids=ids.long()[None], position_ids=position, attention_mask=mask).logits[0]
    gap = (packed - expected).abs().max().item()
    assert gap < 1e-10, gap


@torch.no_grad()
def hidden_states(model, part):
    """Embedding, after each layer, and after the last norm."""
    states = model(input_ids=part, output_hidden_states=True).hidden_states
    last = []
    hook = model.model.norm.register_forward_pre_hook(lambda module, given: last.append(given[0]))
    model(input_ids=part)
    hook.remove()
    return {**{f"hidden.{i}": state[0] for i, state in enumerate(states[:-1])},
            f"hidden.{len(states) - 1}": last[0][0], "hidden.norm": states[-1][0]}


def gradients(model, ids, offsets):
    """d(mean loss over all learned tokens) / d(weight), as float32."""
    parts = segments(ids, offsets)
    total = sum(token_losses(model(input_ids=part).logits, part)[0].sum() for part in parts)
    count = sum(part.shape[1] - 1 for part in parts)
    (total / count).backward()
    return {f"grad.{name}": p.grad.float() for name, p in model.named_parameters()}, total.item() / count


def main():
    ids, offsets = prompts()
    rows = kept_rows(offsets)
    for name in MODELS:
        wide = load_model(OUT / "models" / name, torch.float64)
        narrow = load_model(OUT / "models" / name, torch.float32)
        logits, losses = run(wide, ids, offsets)
        near, near_losses = run(narrow, ids, offsets)
        check_packed(wide, ids, offsets, logits)
        tensors = {"input_ids": ids, "segments": offsets, "rows": rows, "losses_f64": losses,
                   "logits_f64": logits[rows.long()], "logits_f32": near[rows.long()]}
        facts = {"model": name, "f32_error": (near - logits).abs().max().item(),
                 "f32_loss_error": (near_losses - losses).abs().max().item(),
                 "logits_std": logits.std().item()}
        tensors["greedy"], facts["greedy_lead"] = greedy(wide, segments(ids, offsets)[2], 16)
        if name == "tiny-llama":
            tensors |= hidden_states(wide, segments(ids, offsets)[1])
            grads, facts["mean_loss"] = gradients(wide, ids, offsets)
            write_tensors("logits/tiny-llama-gradients.safetensors", grads, mean_loss=facts["mean_loss"])
        write_tensors(f"logits/{name}.safetensors", tensors, **facts)
        print("   ", facts)


if __name__ == "__main__":
    main()
