"""The activations every analysis reads: a store and a limit on residual norms flow in, sparse matrices flow out.

Positions with massive activations are dropped here, once, so that no analysis can count them. Analyses of single
features go through the dictionary block by block, so that what they hold in memory does not grow with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from scipy import sparse

from saecatalog.store import Store, band_edge, norm_bands

BLOCK_ENTRIES, BLOCK_FEATURES = 2_000_000, 1024
"""A block of features ends before it holds more active entries, or more features, than this."""


@dataclass(frozen=True)
class Block:
    """Consecutive features and where they are active, feature by feature; tokens ascend within a feature."""

    first: int
    """The first feature."""
    indptr: Int64[np.ndarray, "feature_plus_1"]
    """Feature `first + i` holds the entries `indptr[i]` up to `indptr[i + 1]`."""
    tokens: Int32[np.ndarray, "entry"]
    values: Float32[np.ndarray, "entry"]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def features(self) -> Int32[np.ndarray, "feature"]:
        return np.arange(self.first, self.first + len(self), dtype=np.int32)

    @property
    def n_active(self) -> Int64[np.ndarray, "feature"]:
        return np.diff(self.indptr)

    @cached_property
    def columns(self) -> Int32[np.ndarray, "entry"]:
        """The feature of each entry, counted from `first`."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.n_active)

    @cached_property
    def strongest(self) -> Int64[np.ndarray, "entry"]:
        """The entries of each feature in turn, strongest first; equal ones in the order of the tokens."""
        return np.lexsort((-self.values, self.columns))


def runs(*keys: np.ndarray) -> Int64[np.ndarray, "run"]:
    """Where each run of equal values begins, of arrays that are looked at side by side."""
    changed = np.ones(len(keys[0]), bool)
    changed[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(changed)


@dataclass(frozen=True)
class Activations:
    """The store's activations without the excluded positions."""

    store: Store
    included: Bool[np.ndarray, "token"]
    """False where the position is left out of every statistic."""
    norm_median: float
    """Median residual norm over all positions of the corpus."""
    norm_limit: float
    """Positions with a larger residual norm are left out."""

    @cached_property
    def by_token(self) -> sparse.csr_matrix:
        """`[token, feature]`, rows of excluded tokens empty."""
        store = self.store
        if self.included.all():
            return _csr(store.activations, store.features, store.indptr, store.shape)
        counts = np.diff(store.indptr)
        keep = np.repeat(self.included, counts)
        indptr = np.concatenate([[0], np.cumsum(np.where(self.included, counts, 0))])
        return _csr(store.activations[keep], store.features[keep], indptr, store.shape)

    @cached_property
    def by_feature(self) -> sparse.csc_matrix:
        """`[token, feature]` by columns; tokens ascend within a column."""
        return self.by_token.tocsc()

    def blocks(self) -> Iterator[Block]:
        """The whole dictionary, a few features at a time."""
        matrix = self.by_feature
        first = 0
        while first < self.d_sae:
            full = np.searchsorted(matrix.indptr, int(matrix.indptr[first]) + BLOCK_ENTRIES, side="right") - 1
            stop = min(max(int(full), first + 1), first + BLOCK_FEATURES, self.d_sae)
            entries = slice(matrix.indptr[first], matrix.indptr[stop])
            indptr = matrix.indptr[first : stop + 1].astype(np.int64) - int(matrix.indptr[first])
            yield Block(first, indptr, matrix.indices[entries], matrix.data[entries])
            first = stop

    @cached_property
    def token_texts(self) -> Int32[np.ndarray, "token"]:
        return self.store.token_texts()

    @cached_property
    def token_positions(self) -> Int32[np.ndarray, "token"]:
        return self.store.token_positions()

    @cached_property
    def tokens_per_text(self) -> Int64[np.ndarray, "text"]:
        """Counted tokens of each text."""
        return np.bincount(self.token_texts[self.included], minlength=self.store.n_texts)

    @property
    def n_tokens(self) -> int:
        """Counted tokens of the corpus."""
        return int(self.included.sum())

    @property
    def d_sae(self) -> int:
        return self.store.d_sae

    def column(self, feature: int) -> tuple[Int32[np.ndarray, "active"], Float32[np.ndarray, "active"]]:
        """The tokens a feature is active on, ascending, and its activations there."""
        matrix = self.by_feature
        start, stop = matrix.indptr[feature], matrix.indptr[feature + 1]
        return matrix.indices[start:stop], matrix.data[start:stop]


def _csr(values: np.ndarray, features: np.ndarray, indptr: np.ndarray, shape: np.ndarray) -> sparse.csr_matrix:
    """A matrix over the given arrays; scipy would widen every index to 64 bits for the sake of `indptr`."""
    if indptr[-1] < np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return sparse.csr_matrix((values, features, indptr), shape=tuple(shape))


def include(store: Store, outlier_multiple: float, median: float | None = None) -> Activations:
    """Drop the positions whose residual norm exceeds `outlier_multiple` times the median norm.

    The limit is moved up to the next edge of the store's norm bands, so that the bands' sums stay exact. `median`
    takes another corpus' median (concepts are judged by the corpus they are compared with).
    """
    norms = np.asarray(store.norms)
    middle = float(np.median(norms)) if median is None else median
    limit = band_edge(max(middle * outlier_multiple, float(np.finfo(np.float32).tiny)))
    return Activations(store, norm_bands(norms) < norm_bands(np.array([limit * 1.001]))[0], middle, limit)
