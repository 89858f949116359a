"""The lens: what the weights alone say about each feature, independently of the corpus.

A subject flows in, arrays flow out: each feature's strongest direct effects on the logits, its nearest decoder rows,
the decoder itself, and the vocabulary as readable strings.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecatalog.constants import LENS_BINS, LENS_ENTRIES
from saecatalog.json_files import write_json
from saecatalog.models.vocabulary import token_strings
from saecatalog.subject import Subject, model_error
from saecatalog.threads import n_passes, passes_in_order

CHUNK = 256
"""Features whose logits `[feature, d_vocab]` are in memory at once, in each thread."""


@torch.inference_mode()
def make_lens(subject: Subject, folder: Path, tick: Callable[[int], object], k: int = LENS_ENTRIES) -> None:
    """Compute the lens of a subject and write it, with the vocabulary, into an empty folder.

    `k` is the number of promoted tokens, suppressed tokens and neighbours of each feature. `tick` is called with the
    number of features processed. A decoder row that is 0 has effects and cosines of 0. Raises CatalogError if the
    model's unembedding is not finite.
    """
    decoder = subject.sae.W_dec.detach().float()
    unembedding = logit_map(subject)
    if unembedding is not None and not unembedding.isfinite().all():
        raise model_error(subject, "The map from the residual stream to the logits is not finite.")
    # [d_sae, d_in] with rows of length 1, so that dot products are cosines.
    unit = torch.nn.functional.normalize(decoder / _power_of_two(decoder), dim=-1)

    @torch.inference_mode()
    def work(start: int) -> dict[str, Tensor]:
        part = slice(start, start + CHUNK)
        found = {**_effects(decoder[part], unembedding, k), **_neighbours(unit, start, k)}
        tick(len(decoder[part]))
        return found

    starts = range(0, len(decoder), CHUNK)
    parts = list(passes_in_order(work, starts, n_passes(subject.device, len(starts))))
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, values in {**columns, "decoder": decoder}.items():
        array = values.cpu().numpy()
        np.save(folder / f"{name}.npy", array.astype(np.int32) if name.endswith("_ids") else array)
    write_json(folder / "vocabulary.json", token_strings(subject.tokenizer, subject.info.d_vocab))


def _effects(
    decoder: Float[Tensor, "feature d_in"], unembedding: Float[Tensor, "d_in d_vocab"] | None, k: int
) -> dict[str, Tensor]:
    """The direct effects on the logits minus their mean: the strongest on both sides, and their distribution.

    Softmax ignores what is added to all logits, so only the difference from the mean has a meaning. Without an
    unembedding every array has no columns.
    """
    logits = decoder @ unembedding if unembedding is not None else decoder.new_zeros((len(decoder), 0))
    logits -= logits.mean(-1, keepdim=True)
    promoted, promoted_logits = strongest(logits, k)
    spread = _spread(logits)
    # In place, after everything else has read the logits, to save a second array of this size.
    suppressed, suppressed_logits = strongest(logits.neg_(), k)
    return {
        "promoted_ids": promoted,
        "promoted_logits": promoted_logits,
        "suppressed_ids": suppressed,
        "suppressed_logits": -suppressed_logits,
        **spread,
    }


def _neighbours(unit: Float[Tensor, "d_sae d_in"], start: int, k: int) -> dict[str, Tensor]:
    """The decoder rows nearest to those of a chunk of features, by cosine; a feature is not its own neighbour."""
    part = unit[start : start + CHUNK]
    cosines = part @ unit.T
    cosines[torch.arange(len(part)), torch.arange(start, start + len(part))] = -torch.inf
    ids, values = strongest(cosines, k)
    return {"neighbour_ids": ids, "neighbour_cosines": values}


def _spread(logits: Float[Tensor, "feature d_vocab"]) -> dict[str, Tensor]:
    """Moments and histogram of each row of effects, whose mean is 0; empty if there is no vocabulary."""
    n, d_vocab = logits.shape
    if not d_vocab:
        none = logits.new_zeros((n, 0))
        return {"logit_moments": logits.new_zeros((n, 3)), "logit_edges": none, "logit_counts": none.long()}
    # The fourth power of a small effect would be rounded to 0.
    scale = _power_of_two(logits)
    scaled = logits / scale
    square = scaled * scaled
    variance = square.mean(-1)
    # Without any spread, which is divided by, skewness and kurtosis are 0.
    varied, divisor = variance > 0, torch.where(variance > 0, variance, 1)
    skew = scaled.mul_(square).mean(-1) / divisor**1.5
    kurtosis = torch.where(varied, square.square_().mean(-1) / divisor**2 - 3, 0)
    low, high = logits.amin(-1, keepdim=True), logits.amax(-1, keepdim=True)
    # The bin of every value, one byte each; the maximum belongs to the last bin.
    place = ((logits - low) * (LENS_BINS / (high - low).clamp_min(1e-30))).to(torch.uint8).clamp_max_(LENS_BINS - 1)
    place[(low == high).squeeze(-1)] = LENS_BINS - 1
    counts = [torch.from_numpy(np.bincount(row, minlength=LENS_BINS)) for row in place.cpu().numpy()]
    steps = torch.linspace(0, 1, LENS_BINS + 1, device=logits.device)
    return {
        "logit_moments": torch.stack([variance.sqrt() * scale.squeeze(-1), skew, kurtosis], -1),
        "logit_edges": low + (high - low) * steps,
        "logit_counts": torch.stack(counts),
    }


def _power_of_two(rows: Float[Tensor, "row n"]) -> Float[Tensor, "row 1"]:
    """A power of 2 near the largest size in each row: dividing a row by it rounds nothing."""
    sizes = rows.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return sizes.log2().floor().exp2()


def strongest(values: Float[Tensor, "row n"], k: int) -> tuple[Int[Tensor, "row k"], Float[Tensor, "row k"]]:
    """Columns and values of the k largest of each row, largest first, ties in the order of the columns."""
    indices = _stable_top(values, min(k, values.shape[1]))
    return indices, values.gather(1, indices)


def _stable_top(values: Float[Tensor, "row n"], k: int) -> Int[Tensor, "row k"]:
    """Columns of the k largest values of each row; `torch.topk` alone leaves the order of ties open."""
    if k == 0:
        return torch.empty((len(values), 0), dtype=torch.long, device=values.device)
    # Only values that reach the k-th largest, k or a few more per row because of ties, are sorted exactly.
    last = torch.topk(values, k, dim=-1).values[:, -1:]
    row, column = (values >= last).nonzero(as_tuple=True)
    order = np.lexsort((column.cpu().numpy(), -values[row, column].cpu().numpy(), row.cpu().numpy()))
    # Rows ascend in `order`, so each row's k largest begin where its first candidate does.
    starts = torch.searchsorted(row, torch.arange(len(values), device=row.device)).cpu().numpy()
    first_k = order[starts[:, None] + np.arange(k)]
    return column[torch.from_numpy(first_k).to(column.device)]


def logit_map(subject: Subject) -> Float[Tensor, "d_model d_vocab"] | None:
    """The linear map from a direction in the residual stream to logits, without the final norm's division.

    The final norm subtracts the mean (LayerNorm only), divides by a scale that depends on the whole residual, and
    multiplies by its weight. All but the division is linear and is folded into the map. None if the SAE does not write
    values of the residual stream or values that are added to it.
    """
    if subject.info.d_out != subject.info.d_model or not subject.model.adds_to_residual(subject.info.hook_out):
        return None
    parts = subject.model.logit_parts()
    scaled = parts.unembedding if parts.gain is None else parts.gain[:, None] * parts.unembedding
    # Subtracting each direction's mean before the map is the same as subtracting the mean over d_model from the map.
    return scaled - scaled.mean(0) if parts.centred else scaled
