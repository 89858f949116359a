"""The lens: what the weights alone say about each feature, independently of the corpus.

A subject flows in, arrays flow out: each feature's strongest direct effects on the logits, its nearest decoder rows,
the decoder itself, and the vocabulary as readable strings.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from saecatalog.constants import LENS_BINS, LENS_ENTRIES
from saecatalog.json_files import write_json
from saecatalog.models.vocabulary import token_strings
from saecatalog.remote_subject import RemoteSubject
from saecatalog.subject import Subject, model_error
from saecatalog.threads import MAX_THREADS, n_passes, passes_in_order

CHUNK = 256
"""Features whose logits `[feature, d_vocab]` are in memory at once, in each thread."""

GROUP = MAX_THREADS
"""Chunks that a worker has in hand at once: one for each of its threads."""

MIN_ROWS = 32
"""A smaller chunk is padded for its products: libraries use different code for very thin ones, which adds in another
order and so rounds differently."""

CACHED_VALUES = 2**19
"""On a CPU, values processed at a time after a product: a part this small stays in the processor's cache, and its
temporary arrays are not given back to the system after each step."""

SORTED = 128
"""A row of at most so many values is sorted to find its largest."""


Columns = dict[str, Shaped[np.ndarray, "feature ..."]]
"""The rows of some features in each array of a lens."""


def make_lens(
    subject: Subject,
    folder: Path,
    tick: Callable[[int], object],
    k: int = LENS_ENTRIES,
    remote: RemoteSubject | None = None,
) -> None:
    """Compute the lens of a subject and write it, with the vocabulary, into an empty folder.

    `k` is the number of promoted tokens, suppressed tokens and neighbours of each feature. `tick` is called with the
    number of features processed. With `remote`, its workers compute. A decoder row that is 0 has effects and cosines
    of 0. Raises CatalogError if the model's unembedding is not finite.
    """
    decoder = subject.sae.W_dec.detach().float()
    features = range(len(decoder))
    chunks = [features[start : start + CHUNK] for start in features[::CHUNK]]
    if remote is None:
        found = Weights(subject, k).run(chunks)
    else:
        groups = (chunks[first : first + GROUP] for first in range(0, len(chunks), GROUP))
        found = chain.from_iterable(remote.in_order(Weights, (k,), Weights.run_group, groups))
    _write(folder, found, len(decoder), tick)
    np.save(folder / "decoder.npy", decoder.cpu().numpy())
    write_json(folder / "vocabulary.json", token_strings(subject.tokenizer, subject.info.d_vocab))


def _write(folder: Path, chunks: Iterable[Columns], n_features: int, tick: Callable[[int], object]) -> None:
    """Write each array into a file as its rows come: all of them together may not fit into memory."""
    files: dict[str, IO[bytes]] = {}
    with ExitStack() as opened:
        for chunk in chunks:
            for name, rows in chunk.items():
                if name not in files:
                    files[name] = opened.enter_context((folder / f"{name}.npy").open("wb"))
                    shape = (n_features, *rows.shape[1:])
                    header = {"descr": rows.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(files[name], header)
                files[name].write(rows.tobytes())
            tick(len(rows))


class Weights:
    """What every chunk of features is multiplied by."""

    @torch.inference_mode()
    def __init__(self, subject: Subject, k: int):
        self.device, self.k = subject.device, k
        self.decoder = decoder = subject.sae.W_dec.detach().float()
        self.unembedding = logit_map(subject)
        if self.unembedding is not None and not self.unembedding.isfinite().all():
            raise model_error(subject, "The map from the residual stream to the logits is not finite.")
        # [d_sae, d_in] with rows of length 1, so that dot products are cosines.
        self.unit = torch.nn.functional.normalize(decoder / _power_of_two(decoder.abs().amax(-1, keepdim=True)), dim=-1)

    def run(self, chunks: Sequence[range]) -> Iterator[Columns]:
        """The rows of some chunks of features."""
        return passes_in_order(self._chunk, chunks, n_passes(self.device, len(chunks)))

    def run_group(self, chunks: Sequence[range]) -> list[Columns]:
        """The same, for a worker."""
        return list(self.run(chunks))

    @torch.inference_mode()
    def _chunk(self, features: range) -> Columns:
        part = self.decoder[features.start : features.stop]
        found = {**_effects(part, self.unembedding, self.k), **_neighbours(self.unit, features, self.k)}
        arrays = {name: values.cpu().numpy() for name, values in found.items()}
        return {name: array.astype(np.int32) if name.endswith("_ids") else array for name, array in arrays.items()}


def _effects(
    decoder: Float[Tensor, "feature d_in"], unembedding: Float[Tensor, "d_in d_vocab"] | None, k: int
) -> dict[str, Tensor]:
    """The direct effects on the logits minus their mean: the strongest on both sides, and their distribution.

    Softmax ignores what is added to all logits, so only the difference from the mean has a meaning. Without an
    unembedding every array has no columns.
    """
    logits = _product(decoder, unembedding) if unembedding is not None else decoder.new_zeros((len(decoder), 0))
    return _part_by_part(logits, lambda part: _described(part, k))


def _described(logits: Float[Tensor, "feature d_vocab"], k: int) -> dict[str, Tensor]:
    """What `_effects` says of some features. Their logits are overwritten, to save arrays of this size."""
    logits -= logits.mean(-1, keepdim=True)
    promoted, promoted_logits = strongest(logits, k)
    spread = _spread(logits)
    # After everything else has read the logits.
    suppressed, suppressed_logits = strongest(logits.neg_(), k)
    return {
        "promoted_ids": promoted,
        "promoted_logits": promoted_logits,
        "suppressed_ids": suppressed,
        "suppressed_logits": -suppressed_logits,
        **spread,
    }


def _neighbours(unit: Float[Tensor, "d_sae d_in"], features: range, k: int) -> dict[str, Tensor]:
    """The decoder rows nearest to those of a chunk of features, by cosine; a feature is not its own neighbour."""
    cosines = _product(unit[features.start : features.stop], unit.T)
    cosines.diagonal(features.start).fill_(-torch.inf)
    names = "neighbour_ids", "neighbour_cosines"
    return _part_by_part(cosines, lambda part: dict(zip(names, strongest(part, k), strict=True)))


def _product(rows: Float[Tensor, "row n"], matrix: Float[Tensor, "n column"]) -> Float[Tensor, "row column"]:
    """Their product; no row of it depends on how many others there are."""
    missing = max(0, MIN_ROWS - len(rows))
    return (torch.nn.functional.pad(rows, (0, 0, 0, missing)) @ matrix)[: len(rows)]


def _part_by_part(values: Float[Tensor, "row n"], work: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The results of `work` for all rows, a few of them at a time on a CPU."""
    n = values.shape[1]
    # Two rows at least, because torch divides one row alone among its threads and then adds in another order.
    at_once = max(2, CACHED_VALUES // max(n, 1)) if values.device.type == "cpu" else len(values)
    found = [work(part) for part in values.tensor_split(max(1, len(values) // at_once))]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def _spread(logits: Float[Tensor, "feature d_vocab"]) -> dict[str, Tensor]:
    """Moments and histogram of each row of effects, whose mean is 0; empty if there is no vocabulary."""
    n, d_vocab = logits.shape
    if not d_vocab:
        none = logits.new_zeros((n, 0))
        return {"logit_moments": logits.new_zeros((n, 3)), "logit_edges": none, "logit_counts": none.long()}
    low, high = logits.amin(-1, keepdim=True), logits.amax(-1, keepdim=True)
    steps = torch.linspace(0, 1, LENS_BINS + 1, device=logits.device)
    return {
        "logit_moments": _moments(logits, _power_of_two(torch.maximum(-low, high))),
        "logit_edges": low + (high - low) * steps,
        "logit_counts": _counts(logits, low, high),
    }


def _moments(logits: Float[Tensor, "feature d_vocab"], scale: Float[Tensor, "feature 1"]) -> Float[Tensor, "feature 3"]:
    """Standard deviation, skewness and kurtosis of each row, whose mean is 0; `scale` is near its largest size."""
    # The fourth power of a small effect would be rounded to 0.
    scaled = logits / scale
    square = scaled * scaled
    variance = square.mean(-1)
    # Without any spread, which is divided by, skewness and kurtosis are 0.
    varied, divisor = variance > 0, torch.where(variance > 0, variance, 1)
    # Not to the power of 1.5, which torch rounds differently at different places of an array.
    skew = scaled.mul_(square).mean(-1) / (divisor * divisor.sqrt())
    kurtosis = torch.where(varied, square.square_().mean(-1) / divisor**2 - 3, 0)
    return torch.stack([variance.sqrt() * scale.squeeze(-1), skew, kurtosis], -1)


def _counts(
    logits: Float[Tensor, "feature d_vocab"], low: Float[Tensor, "feature 1"], high: Float[Tensor, "feature 1"]
) -> Int[Tensor, "feature bin"]:
    """How many values of each row are in each of LENS_BINS equal bins from its lowest to its highest value."""
    # The maximum belongs to the last bin.
    width = LENS_BINS / (high - low).clamp_min(1e-30)
    place = (logits - low).mul_(width).to(torch.int32).clamp_max_(LENS_BINS - 1)
    place[(low == high).squeeze(-1)] = LENS_BINS - 1
    # One count over all rows: the bins of each follow those of the row before.
    place += LENS_BINS * torch.arange(len(place), dtype=torch.int32, device=place.device)[:, None]
    return place.flatten().bincount(minlength=len(place) * LENS_BINS).reshape(-1, LENS_BINS)


def _power_of_two(sizes: Float[Tensor, "row 1"]) -> Float[Tensor, "row 1"]:
    """A power of 2 near each row's largest size: dividing the row by it rounds nothing."""
    sizes = sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
    return sizes / (2 * sizes.frexp().mantissa)


def strongest(values: Float[Tensor, "row n"], k: int) -> tuple[Int[Tensor, "row k"], Float[Tensor, "row k"]]:
    """Columns and values of the k largest of each row, largest first, ties in the order of the columns."""
    columns = _stable_top(values, min(k, values.shape[1]))
    return columns, values.gather(1, columns)


def _stable_top(values: Float[Tensor, "row n"], k: int) -> Int[Tensor, "row k"]:
    """Columns of the k largest values of each row; `torch.topk` leaves the order of ties open, and takes longer.

    The k largest values are in the k groups of columns with the largest maxima, of those with equal maxima in the first
    ones: before any value of another group come the maxima of these k.
    """
    n = values.shape[1]
    if k == 0 or n <= max(SORTED, 4 * k):
        return values.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    # As many values in the k groups as there are groups.
    size = math.isqrt(n // k)
    whole = n // size * size
    maxima = values[:, :whole].reshape(len(values), whole // size, size).amax(-1)
    if whole < n:
        maxima = torch.cat([maxima, values[:, whole:].amax(-1, keepdim=True)], dim=1)
    groups = _stable_top(maxima, k).sort(dim=-1).values
    columns = (groups[..., None] * size + torch.arange(size, device=values.device)).flatten(1)
    # The last group may be shorter; -inf in the places beyond it comes after everything.
    found = values.gather(1, columns.clamp_max(n - 1)).masked_fill(columns >= n, -torch.inf)
    return columns.gather(1, _stable_top(found, k))


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
