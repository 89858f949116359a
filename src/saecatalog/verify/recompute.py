"""One pass over published texts: contents flow in, what every token activates flows out, and what is too close to call.

Another machine, or another shape of batch, rounds differently: a value within rounding of its threshold may fall on
either side of it. Such an activation is *undecided*, and counts are then checked against a range. Everything the pass
keeps is sparse, so that a corpus of a million tokens fits in a few gigabytes.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse

from saecatalog.verify import figures
from saecatalog.verify.model import decode_rows, encode_rows
from saecatalog.verify.runner import Runner


@dataclass(frozen=True)
class Tolerance:
    """How far two machines may be apart that run the same model in one number format."""

    undecided: float
    """A decision is open where its margin is below this share of the size of the terms (see Encoded).

    In float32 the largest error seen on the embedded model and SAE is 2e-7 of that size, 25 times less.
    """
    relative: float
    """Relative difference of two activations, besides the same share of the size of the terms."""


TOLERANCES = {
    "float32": Tolerance(5e-6, 1e-4),
    "float16": Tolerance(1e-2, 1e-2),
    "bfloat16": Tolerance(3e-2, 5e-2),
}
MAX_WORKERS = 4
"""Threads at most; each keeps modules of its own."""

NEAR_LIMIT = 1e-4
"""A residual norm this close to the limit may stand on either side of it, relative."""


@dataclass(frozen=True)
class Block:
    """One text's features that are active or undecided somewhere in it, dense: `[token, feature]`."""

    features: np.ndarray
    """Their numbers, ascending."""
    values: np.ndarray
    """Activations, those of undecided ones as if they were active; 0 elsewhere."""
    sure: np.ndarray
    """True where the feature is active beyond doubt."""
    slack: np.ndarray
    """Largest rounding error to expect of each feature's activations in this text."""


@dataclass(frozen=True)
class Pass:
    """What was seen of a list of texts, one token after another."""

    offsets: np.ndarray
    """Text `t` holds the tokens `offsets[t]` up to `offsets[t + 1]`."""
    token_ids: np.ndarray
    norms: np.ndarray
    squared_errors: np.ndarray
    counted: np.ndarray
    """False on massive activations, where no feature counts."""
    indptr: np.ndarray
    """Token `i` holds the entries `indptr[i]` up to `indptr[i + 1]`, ascending in feature."""
    features: np.ndarray
    values: np.ndarray
    margins: np.ndarray
    slack: np.ndarray
    """Rounding error to expect of each value."""
    tolerance: Tolerance
    d_sae: int
    residual_sum: np.ndarray
    """Sum of the residuals of the counted tokens."""
    residual_square: float
    """Sum of their squared norms."""

    @property
    def n_texts(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sure(self) -> np.ndarray:
        """Which entries are active beyond doubt; the others are undecided."""
        return np.asarray(self.margins > self.tolerance.undecided)

    @cached_property
    def n_sure(self) -> np.ndarray:
        """Tokens on which each feature is surely active."""
        return np.bincount(self.features[self.sure], minlength=self.d_sae)

    @cached_property
    def n_possible(self) -> np.ndarray:
        """Tokens on which each feature is active or undecided."""
        return np.bincount(self.features, minlength=self.d_sae)

    @property
    def n_undecided(self) -> int:
        return int((~self.sure).sum())

    def matrix(self, surely: bool) -> sparse.csr_matrix:
        """Yes or no for each token and feature: surely active, or at least possibly."""
        yes = self.sure if surely else np.ones(len(self.features), bool)
        shape = (len(self.token_ids), self.d_sae)
        # Copied, for taking out the zeros would move the entries of this pass too.
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


@dataclass
class _Piece:
    """One text of a pass."""

    ids: list[int]
    norms: np.ndarray
    squared_errors: np.ndarray
    counted: np.ndarray
    counts: np.ndarray
    """Entries of each token."""
    entries: list[np.ndarray]
    """Features, values, margins and slack."""
    residual_sum: np.ndarray
    residual_square: float


def run_texts(
    runner: Runner, texts: list[tuple[str, int]], limit: float, tolerance: Tolerance, tick: Callable[[int], object]
) -> Pass:
    """Run texts, each given with its published number of massive positions; `tick` is told of tokens done.

    `limit` is the residual norm above which a position is massive. Each text is run alone; a few threads, one to a
    core, take them in turn.
    """
    threads_before = torch.get_num_threads()
    workers = max(1, min(threads_before, MAX_WORKERS, len(texts)))
    runners = [runner, *(runner.twin() for _ in range(workers - 1))]
    local = threading.local()

    def start() -> None:
        local.runner = runners.pop()
        torch.set_num_threads(1)

    def run(text: tuple[str, int]) -> _Piece:
        piece = _run_text(local.runner, *text, limit, tolerance)
        tick(len(piece.ids))
        return piece

    try:
        with ThreadPoolExecutor(workers, initializer=start) as pool:
            return _join(runner, list(pool.map(run, texts)), tolerance)
    finally:
        torch.set_num_threads(threads_before)


def _run_text(runner: Runner, content: str, n_excluded: int, limit: float, tolerance: Tolerance) -> _Piece:
    ids = runner.token_ids(content)
    windows = list(runner.windows(ids)) or [np.zeros((0, len(runner.sae.w["W_enc"])))]
    norms = np.concatenate([np.linalg.norm(x, axis=1) for x in windows])
    counted = _counted(norms, limit, n_excluded)
    x = np.concatenate(windows)[counted]
    spans = pairwise(np.cumsum([0, *(len(w) for w in windows)]).tolist())
    parts = [_encode(runner, w, counted[a:b], tolerance) for w, (a, b) in zip(windows, spans, strict=True)]
    return _Piece(
        ids=ids,
        norms=norms,
        squared_errors=np.concatenate([errors for errors, _, _ in parts]),
        counted=counted,
        counts=np.concatenate([counts for _, counts, _ in parts]),
        entries=[np.concatenate(arrays) for arrays in zip(*(entries for _, _, entries in parts), strict=True)],
        residual_sum=x.sum(0),
        residual_square=float((x**2).sum()),
    )


def _counted(norms: np.ndarray, limit: float, n_excluded: int) -> np.ndarray:
    """Which positions count; of those too close to the limit, as many are left out as was published."""
    excluded = norms > limit * (1 + NEAR_LIMIT)
    near = [int(i) for i in np.argsort(-norms, kind="stable") if abs(norms[i] / limit - 1) <= NEAR_LIMIT]
    for position in near[: max(0, n_excluded - int(excluded.sum()))]:
        excluded[position] = True
    return np.asarray(~excluded)


def _encode(
    runner: Runner, x: np.ndarray, counted: np.ndarray, tolerance: Tolerance
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Squared errors, entries per token, and the entries of one window."""
    encoded = encode_rows(runner.sae, x)
    active = sparse.csr_matrix(np.where(encoded.margins > 0, encoded.values, 0))
    errors = ((x - decode_rows(runner.sae, active, x)) ** 2).sum(1)
    rows, features = np.nonzero((encoded.margins > -tolerance.undecided) & counted[:, None])
    values = np.maximum(encoded.values[rows, features], np.finfo(np.float32).tiny).astype(np.float32)
    margins = encoded.margins[rows, features].astype(np.float32)
    slack = (encoded.sizes[rows, features] * tolerance.undecided).astype(np.float32)
    return errors, np.bincount(rows, minlength=len(x)), [features.astype(np.int32), values, margins, slack]


def _join(runner: Runner, pieces: list[_Piece], tolerance: Tolerance) -> Pass:
    """All texts one after another."""
    features, values, margins, slack = (
        np.concatenate([p.entries[kind] for p in pieces] or [np.zeros(0, np.int32)]) for kind in range(4)
    )
    d_in, d_sae = runner.sae.w["W_enc"].shape
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
        d_sae=int(d_sae),
        residual_sum=sum((p.residual_sum for p in pieces), np.zeros(d_in)),
        residual_square=float(sum(p.residual_square for p in pieces)),
    )


def _all(arrays: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])


def settle(seen: Pass, sample: list[int], n_active: dict[int, int]) -> np.ndarray:
    """The activations of some features, `[token, place in the sample]`, with every decision made.

    Of a feature's undecided tokens, as many are active as its published count leaves over, largest margin first.
    """
    columns = np.zeros((len(seen.token_ids), len(sample)), np.float32)
    wanted = np.flatnonzero(np.isin(seen.features, sample))
    for place, feature in enumerate(sample):
        mine = wanted[seen.features[wanted] == feature]
        mine = mine[np.argsort(-seen.margins[mine], kind="stable")]
        n_sure = int(seen.sure[mine].sum())
        chosen = mine[: max(n_sure, n_active.get(feature, n_sure))]
        tokens = np.searchsorted(seen.indptr, chosen, side="right") - 1
        columns[tokens, place] = seen.values[chosen]
    return columns


def dense_case(seen: Pass, columns: np.ndarray, text_ids: list[str], categories: list[str]) -> figures.Case:
    """The settled features as a case of the reference, feature numbers being places in the sample."""
    spans = list(pairwise(seen.offsets.tolist()))
    return figures.Case(
        text_ids,
        categories,
        [seen.ids(t) for t in range(seen.n_texts)],
        [columns[a:b] for a, b in spans],
        [seen.norms[a:b] for a, b in spans],
        [seen.squared_errors[a:b] for a, b in spans],
    )
