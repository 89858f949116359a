"""One pass over published texts: contents flow in, the activations of every token flow out, some of them undecided.

Another machine, or a batch of another shape, rounds differently, so a value near its threshold may fall on either side
of it. Such an activation is *undecided*, and counts are checked against a range. The results are sparse, so a corpus of
a million tokens fits into a few gigabytes.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64
from scipy import sparse

from saecatalog.verify import formulas
from saecatalog.verify.model import in_double, windows_of
from saecatalog.verify.runner import Runner
from saecatalog.verify.sae import decode_rows, encode_rows


@dataclass(frozen=True)
class Tolerance:
    """How much the results of two machines may differ for the same model in the same number format."""

    undecided: float
    """An activation is undecided if its margin is within this share of the size of the terms (see `Encoded`).

    In float32, the largest error seen with the embedded model and SAE is 2e-7 of that size, 25 times less.
    """
    relative: float
    """Allowed relative difference of two activations, in addition to that share of the size of the terms."""
    measured: bool = False
    """Whether each token's own rounding error is measured, and allowed for where it is larger."""


TOLERANCES = {
    "float32": Tolerance(5e-6, 1e-4),
    "float16": Tolerance(1e-2, 1e-2),
    "bfloat16": Tolerance(3e-2, 5e-2),
}
MAX_WORKERS = 4
"""Largest number of threads; each has its own modules, which share the weights."""

NEAR_LIMIT = 1e-4
"""A norm this close to the limit, as a share of the limit, may be on either side of it."""


@dataclass(frozen=True)
class Block:
    """The features that are active or undecided somewhere in one text, dense."""

    features: Int32[np.ndarray, "feature"]
    """Their numbers, ascending."""
    values: Float64[np.ndarray, "token feature"]
    """Activations, treating undecided ones as active; 0 elsewhere."""
    sure: Bool[np.ndarray, "token feature"]
    """True if the feature is surely active."""
    slack: Float64[np.ndarray, "feature"]
    """Largest expected rounding error of each feature's activations in this text."""


@dataclass(frozen=True)
class Pass:
    """The recomputed activations of a list of texts, token by token.

    An entry is an activation that is active or undecided; there are none on massive positions.
    """

    offsets: Int64[np.ndarray, "text_plus_1"]
    """Text `t` holds the tokens `offsets[t]` up to `offsets[t + 1]`."""
    token_ids: Int64[np.ndarray, "token"]
    norms: Float64[np.ndarray, "token"]
    """Norm of what the SAE reads."""
    squared_errors: Float64[np.ndarray, "token"]
    """Squared norm of (what the SAE is to write - reconstruction)."""
    counted: Bool[np.ndarray, "token"]
    """False for massive positions, which are left out of all figures."""
    indptr: Int64[np.ndarray, "token_plus_1"]
    """Token `i` holds the entries `indptr[i]` up to `indptr[i + 1]`, ascending by feature."""
    features: Int32[np.ndarray, "entry"]
    values: Float32[np.ndarray, "entry"]
    """The activation, treating undecided entries as active."""
    margins: Float32[np.ndarray, "entry"]
    """How far the feature is from its threshold: see `Encoded`."""
    slack: Float32[np.ndarray, "entry"]
    """Expected rounding error of each value."""
    tolerance: Tolerance
    d_sae: int
    written_sum: Float64[np.ndarray, "d_out"]
    """Sum of what the SAE is to write on the counted tokens."""
    written_square: float
    """Sum of their squared norms."""

    @property
    def n_texts(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sure(self) -> Bool[np.ndarray, "entry"]:
        """Which entries are surely active; the others are undecided."""
        return np.asarray(self.margins > self.tolerance.undecided)

    @cached_property
    def n_sure(self) -> Int64[np.ndarray, "d_sae"]:
        """The number of tokens on which each feature is surely active."""
        return np.bincount(self.features[self.sure], minlength=self.d_sae)

    @cached_property
    def n_possible(self) -> Int64[np.ndarray, "d_sae"]:
        """The number of tokens on which each feature is active or undecided."""
        return np.bincount(self.features, minlength=self.d_sae)

    @property
    def n_undecided(self) -> int:
        return int((~self.sure).sum())

    def matrix(self, surely: bool) -> sparse.csr_matrix:
        """A matrix `[token, feature]` of 0 and 1: surely active, or, if not `surely`, active or undecided."""
        yes = self.sure if surely else np.ones(len(self.features), bool)
        shape = (len(self.token_ids), self.d_sae)
        # Copied, because eliminating the zeros would otherwise change the arrays of this pass.
        found = sparse.csr_matrix((yes.astype(np.int32), self.features, self.indptr), shape=shape, copy=True)
        found.eliminate_zeros()
        return found

    def ids(self, text: int) -> list[int]:
        """The tokens of a text."""
        return [int(i) for i in self.token_ids[self.offsets[text] : self.offsets[text + 1]]]

    def block(self, text: int) -> Block:
        """One text, dense."""
        start, stop = int(self.offsets[text]), int(self.offsets[text + 1])
        entries = slice(int(self.indptr[start]), int(self.indptr[stop]))
        features, columns = np.unique(self.features[entries], return_inverse=True)
        rows = np.repeat(np.arange(stop - start), np.diff(self.indptr[start : stop + 1]))
        values, sure = np.zeros((stop - start, len(features))), np.zeros((stop - start, len(features)), bool)
        values[rows, columns], sure[rows, columns] = self.values[entries], self.sure[entries]
        slack = np.zeros(len(features))
        np.maximum.at(slack, columns, self.slack[entries])
        return Block(features, values, sure, slack)


@dataclass(frozen=True)
class RunText:
    """A published text."""

    content: str
    special_tokens: bool
    """Whether names of special tokens in it are special tokens."""
    n_excluded: int
    """Its published number of massive positions."""


@dataclass
class _Piece:
    """One text of a pass."""

    ids: list[int]
    norms: Float64[np.ndarray, "token"]
    squared_errors: Float64[np.ndarray, "token"]
    counted: Bool[np.ndarray, "token"]
    counts: Int64[np.ndarray, "token"]
    """Entries of each token."""
    entries: list[np.ndarray]
    """Features, values, margins and slack of the entries, each an array `[entry]`."""
    written_sum: Float64[np.ndarray, "d_out"]
    written_square: float


def run_texts(
    runner: Runner, texts: list[RunText], limit: float, tolerance: Tolerance, tick: Callable[[int], object]
) -> Pass:
    """Run texts.

    `limit` is the norm above which a position is massive. `tick` is called with the number of tokens
    processed. Each text is run alone; a few threads, one per core, share the texts.
    """
    threads_before = torch.get_num_threads()
    workers = max(1, min(threads_before, MAX_WORKERS, len(texts)))
    runners = [runner, *(runner.twin() for _ in range(workers - 1))]
    local = threading.local()

    def start() -> None:
        local.runner = runners.pop()
        torch.set_num_threads(1)

    def run(text: RunText) -> _Piece:
        piece = _run_text(local.runner, text, limit, tolerance)
        tick(len(piece.ids))
        return piece

    try:
        with ThreadPoolExecutor(workers, initializer=start) as pool:
            return _join(runner, list(pool.map(run, texts)), tolerance)
    finally:
        torch.set_num_threads(threads_before)


def _run_text(runner: Runner, text: RunText, limit: float, tolerance: Tolerance) -> _Piece:
    ids = runner.token_ids(text.content, text.special_tokens)
    # A text without tokens has no window; an empty one gives the arrays their width.
    windows = list(runner.windows(ids)) or [(np.zeros((0, runner.sae.d_in)), np.zeros((0, runner.sae.d_out)))]
    norms = np.concatenate([np.linalg.norm(read, axis=1) for read, _ in windows])
    counted = _counted(norms, limit, text.n_excluded)
    y = np.concatenate([written for _, written in windows])[counted]
    exact = _exact(runner, ids) if tolerance.measured and ids else [None] * len(windows)
    spans = pairwise(np.cumsum([0, *(len(read) for read, _ in windows)]).tolist())
    parts = [
        _encode(runner, *window, better, counted[a:b], tolerance)
        for window, better, (a, b) in zip(windows, exact, spans, strict=True)
    ]
    return _Piece(
        ids=ids,
        norms=norms,
        squared_errors=np.concatenate([errors for errors, _, _ in parts]),
        counted=counted,
        counts=np.concatenate([counts for _, counts, _ in parts]),
        entries=[np.concatenate(arrays) for arrays in zip(*(entries for _, _, entries in parts), strict=True)],
        written_sum=y.sum(0),
        written_square=float((y**2).sum()),
    )


def _exact(runner: Runner, ids: list[int]) -> list[Float64[np.ndarray, "token d_in"]] | list[None]:
    """What the SAE reads in each window with less rounding; None where the model cannot be run so."""
    with in_double(runner.model):
        try:
            return [read for read, _ in runner.windows(ids)]
        except RuntimeError:  # Parts that are not known here may insist on one number format.
            return [None] * len(windows_of(ids, runner.context, runner.bos, runner.overlap))


def _counted(norms: Float64[np.ndarray, "token"], limit: float, n_excluded: int) -> Bool[np.ndarray, "token"]:
    """Which positions are included. Of those too close to the limit, as many are excluded as were published."""
    excluded = norms > limit * (1 + NEAR_LIMIT)
    near = [int(i) for i in np.argsort(-norms, kind="stable") if abs(norms[i] / limit - 1) <= NEAR_LIMIT]
    for position in near[: max(0, n_excluded - int(excluded.sum()))]:
        excluded[position] = True
    return np.asarray(~excluded)


def _encode(
    runner: Runner,
    x: Float64[np.ndarray, "token d_in"],
    y: Float64[np.ndarray, "token d_out"],
    exact: Float64[np.ndarray, "token d_in"] | None,
    counted: Bool[np.ndarray, "token"],
    tolerance: Tolerance,
) -> tuple[Float64[np.ndarray, "token"], Int64[np.ndarray, "token"], list[np.ndarray]]:
    """Squared errors, entries per token, and the entries of one window, from what the SAE reads and is to write.

    `exact` is what it reads with less rounding, if that is measured.
    """
    encoded = encode_rows(runner.sae, x, tolerance.undecided, exact)
    # Sparse, because nearly all activations are 0 and a dense product with the decoder would take most of the time.
    active = sparse.csr_matrix(np.where(encoded.margins > 0, encoded.values, 0))
    errors = ((y - decode_rows(runner.sae, active, x)) ** 2).sum(1)
    rows, features = np.nonzero((encoded.margins > -tolerance.undecided) & counted[:, None])
    # An undecided entry may have a value of 0 or less; the smallest positive number keeps it distinct from no entry.
    values = np.maximum(encoded.values[rows, features], np.finfo(np.float32).tiny).astype(np.float32)
    margins = encoded.margins[rows, features].astype(np.float32)
    slack = (encoded.sizes[rows, features] * tolerance.undecided).astype(np.float32)
    return errors, np.bincount(rows, minlength=len(x)), [features.astype(np.int32), values, margins, slack]


def _join(runner: Runner, pieces: list[_Piece], tolerance: Tolerance) -> Pass:
    """All texts, one after another."""
    features, values, margins, slack = (
        np.concatenate([p.entries[kind] for p in pieces] or [np.zeros(0, np.int32)]) for kind in range(4)
    )
    return Pass(
        offsets=np.cumsum([0, *(len(p.ids) for p in pieces)]),
        token_ids=np.array([i for p in pieces for i in p.ids], np.int64),
        norms=_all(p.norms for p in pieces),
        squared_errors=_all(p.squared_errors for p in pieces),
        counted=_all(p.counted for p in pieces).astype(bool),
        indptr=np.concatenate([[0], np.cumsum(_all(p.counts for p in pieces))]).astype(np.int64),
        features=features,
        values=values,
        margins=margins,
        slack=slack,
        tolerance=tolerance,
        d_sae=runner.sae.d_sae,
        written_sum=sum((p.written_sum for p in pieces), np.zeros(runner.sae.d_out)),
        written_square=float(sum(p.written_square for p in pieces)),
    )


def _all(arrays: Iterator[np.ndarray]) -> Float64[np.ndarray, "token"]:
    """The arrays joined in double precision; there may be none."""
    return np.concatenate([np.zeros(0), *arrays])


def settle(seen: Pass, sample: list[int], n_active: dict[int, int]) -> Float32[np.ndarray, "token sampled_feature"]:
    """The activations of the sampled features, with undecided ones settled.

    A feature's undecided tokens become active, largest margin first, until the published number of tokens is active.
    """
    columns = np.zeros((len(seen.token_ids), len(sample)), np.float32)
    wanted = np.flatnonzero(np.isin(seen.features, sample))
    for place, feature in enumerate(sample):
        mine = wanted[seen.features[wanted] == feature]
        # Sure entries have the largest margins, so they come first.
        mine = mine[np.argsort(-seen.margins[mine], kind="stable")]
        n_sure = int(seen.sure[mine].sum())
        chosen = mine[: max(n_sure, n_active.get(feature, n_sure))]
        # The token that each entry belongs to.
        tokens = np.searchsorted(seen.indptr, chosen, side="right") - 1
        columns[tokens, place] = seen.values[chosen]
    return columns


def dense_case(
    seen: Pass, columns: Float[np.ndarray, "token sampled_feature"], text_ids: list[str], categories: list[str]
) -> formulas.Case:
    """The settled features as a case, in which features are numbered by index in the sample."""
    spans = list(pairwise(seen.offsets.tolist()))
    return formulas.Case(
        text_ids,
        categories,
        [seen.ids(t) for t in range(seen.n_texts)],
        [columns[a:b] for a, b in spans],
        [seen.norms[a:b] for a, b in spans],
        [seen.squared_errors[a:b] for a, b in spans],
    )
