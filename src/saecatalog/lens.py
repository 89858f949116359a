"""The lens: what the weights alone say of each feature, whatever the corpus.

A subject flows in; arrays flow out: each feature's strongest direct effects on the logits, its nearest decoder rows,
the decoder itself, and the vocabulary as readable strings.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecatalog.store import Lens, write_json
from saecatalog.subject import Subject
from saecatalog.vocabulary import token_strings

CHUNK = 256
"""Features whose logits are held in memory at once."""

BINS = 40
"""Bins of the histogram of a feature's effects on the logits."""


@torch.inference_mode()
def make_lens(subject: Subject, k: int, folder: Path, tick: Callable[[int], object]) -> None:
    """Compute the lens of a subject and write it, with the vocabulary, into an empty folder.

    `tick` is told of features done.
    """
    decoder = subject.sae.W_dec.detach().float()
    unembedding = logit_map(subject)
    unit = torch.nn.functional.normalize(decoder, dim=-1)
    columns: dict[str, list[Tensor]] = {f.name: [] for f in fields(Lens)}
    for start in range(0, len(decoder), CHUNK):
        part = decoder[start : start + CHUNK]
        logits = part @ unembedding if unembedding is not None else part.new_zeros((len(part), 0))
        logits -= logits.mean(-1, keepdim=True)
        _append(columns, "promoted", logits, k)
        _append_spread(columns, logits)
        _append(columns, "suppressed", logits.neg_(), k)
        cosines = unit[start : start + CHUNK] @ unit.T
        cosines[torch.arange(len(part)), torch.arange(start, start + len(part))] = -torch.inf
        _append(columns, "neighbour", cosines, k)
        tick(len(part))
    columns["decoder"] = [decoder]
    columns["suppressed_logits"] = [-values for values in columns["suppressed_logits"]]
    for name, parts in columns.items():
        values = torch.cat(parts).cpu().numpy()
        np.save(folder / f"{name}.npy", values.astype(np.int32) if name.endswith("_ids") else values)
    write_json(folder / "vocabulary.json", token_strings(subject.tokenizer, subject.info.d_vocab))


def _append_spread(columns: dict[str, list[Tensor]], logits: Float[Tensor, "feature d_vocab"]) -> None:
    """Moments and histogram of each row of effects, whose mean is 0; nothing where there is no vocabulary."""
    n, d_vocab = logits.shape
    if not d_vocab:
        columns["logit_moments"].append(logits.new_zeros((n, 3)))
        columns["logit_edges"].append(logits.new_zeros((n, 0)))
        columns["logit_counts"].append(logits.new_zeros((n, 0), dtype=torch.int64))
        return
    square = logits * logits
    variance = square.mean(-1).clamp_min(torch.finfo(logits.dtype).tiny)
    skew = (square * logits).mean(-1) / variance**1.5
    kurtosis = square.square_().mean(-1) / variance**2 - 3
    columns["logit_moments"].append(torch.stack([variance.sqrt(), skew, kurtosis], -1))
    low, high = logits.amin(-1, keepdim=True), logits.amax(-1, keepdim=True)
    place = ((logits - low) * (BINS / (high - low).clamp_min(1e-30))).to(torch.uint8).clamp_max_(BINS - 1)
    counts = [torch.from_numpy(np.bincount(row, minlength=BINS)) for row in place.cpu().numpy()]
    columns["logit_counts"].append(torch.stack(counts))
    steps = torch.linspace(0, 1, BINS + 1, device=logits.device)
    columns["logit_edges"].append(low + (high - low) * steps)


def _append(columns: dict[str, list[Tensor]], name: str, values: Float[Tensor, "feature n"], k: int) -> None:
    """Keep the k largest values of each row, ties in the order of the columns."""
    indices = _stable_top(values, min(k, values.shape[1]))
    key = "cosines" if name == "neighbour" else "logits"
    columns[f"{name}_ids"].append(indices)
    columns[f"{name}_{key}"].append(values.gather(1, indices))


def _stable_top(values: Float[Tensor, "row n"], k: int) -> Int[Tensor, "row k"]:
    """Columns of the k largest values of each row; `torch.topk` alone leaves the order of ties open."""
    if k == 0:
        return torch.empty((len(values), 0), dtype=torch.long, device=values.device)
    last = torch.topk(values, k, dim=-1).values[:, -1:]
    row, column = (values >= last).nonzero(as_tuple=True)
    order = np.lexsort((column.cpu().numpy(), -values[row, column].cpu().numpy(), row.cpu().numpy()))
    starts = torch.searchsorted(row, torch.arange(len(values), device=row.device)).cpu().numpy()
    first_k = order[starts[:, None] + np.arange(k)]
    return column[torch.from_numpy(first_k).to(column.device)]


def logit_map(subject: Subject) -> Float[Tensor, "d_model d_vocab"] | None:
    """The linear map from a direction in the residual stream to logits, without the final norm's division.

    The final norm subtracts the mean (LayerNorm only), divides by a scale that depends on the whole context, and
    multiplies by its weight; everything but the division is linear and is folded in here. None where the SAE does not
    write to the residual stream.
    """
    model, info = subject.model, subject.info
    if info.d_in != info.d_model or not any(p in info.hook for p in ("resid", "mlp_out", "attn_out")):
        return None
    unembedding: Tensor = model.W_U.detach().float()
    weight = _final_norm_weight(model)
    scaled = unembedding if weight is None else weight[:, None] * unembedding
    centred = "LN" in str(model.cfg.normalization_type or "")
    return scaled - scaled.mean(0) if centred else scaled


def _final_norm_weight(model: Any) -> Float[Tensor, "d_model"] | None:
    """The final norm's weight; None where it was folded into the unembedding or there is none."""
    norm = getattr(model, "ln_final", None)
    for name in ("w", "weight"):
        weight = getattr(norm, name, None)
        if isinstance(weight, Tensor):
            # Gemma's norm multiplies by 1 + weight; HookedTransformer has folded the 1 in, TransformerBridge has not.
            offset = isinstance(model, TransformerBridge) and getattr(model.cfg, "rmsnorm_uses_offset", False)
            return weight.detach().float() + int(offset)
    return None
