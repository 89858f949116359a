"""The activations that every analysis reads: a store and a limit on norms flow in, sparse matrices flow out.

Positions with massive activations are dropped here, once, so that no analysis can count them. Analyses of single
features process the dictionary block by block, so that their memory does not grow with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64, Num, Shaped, UInt32
from scipy import sparse

from saecatalog.analysis.by_feature import ByFeature, InFiles, by_feature_in_files
from saecatalog.analysis.disk_arrays import by_column
from saecatalog.engines import Engine
from saecatalog.store import Store, band_edge, norm_bands

BLOCK_ENTRIES, BLOCK_FEATURES = 1_000_000, 1024
"""The most active entries and features of a block. These limits bound the memory of each thread and keep blocks small
enough for `order_within`."""


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

    def read(self) -> "Block":
        """Itself: its entries are in memory."""
        return self

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
        """The entries of each feature in turn, strongest first; ties in the order of the tokens."""
        return strongest_first(self.columns, self.values)


@dataclass(frozen=True)
class UnreadBlock:
    """A block whose entries are read from files by whoever works on it."""

    entries: InFiles

    @property
    def first(self) -> int:
        """The first feature."""
        return int(self.entries.features[0])

    def __len__(self) -> int:
        return len(self.entries.features)

    def read(self) -> Block:
        entries = self.entries.read()
        return Block(self.first, entries.indptr, entries.rows, entries.values)


def order_within(columns: Int[np.ndarray, "entry"], keys: UInt32[np.ndarray, "entry"]) -> Int64[np.ndarray, "entry"]:
    """The order by column, then key, then index: `np.lexsort((keys, columns))`, as one sort of integers.

    Columns ascend. Column, key and index of each entry share 64 bits, which is enough for a block of features; where it
    is not, it is that lexsort.
    """
    if not len(keys):
        return np.empty(0, np.int64)
    bits = int(len(keys) - 1).bit_length()
    if int(columns[-1]).bit_length() + 32 + bits > 64:
        return np.lexsort((keys, columns))
    # From the highest bit: column, key (32 bits), index. Sorting integers in place takes a fraction of the time of a
    # lexsort, which sorts indirectly, once per key. All indices differ, so the sort need not be stable.
    packed: np.ndarray = columns.astype(np.uint64)
    for width, part in ((32, keys), (bits, np.arange(len(keys), dtype=np.uint64))):
        packed <<= np.uint64(width)
        packed |= part
    packed.sort()
    # Keep only the indices: they are the order.
    packed &= np.uint64((1 << bits) - 1)
    return packed.view(np.int64)


def strongest_first(
    columns: Int[np.ndarray, "entry"], values: Float32[np.ndarray, "entry"]
) -> Int64[np.ndarray, "entry"]:
    """The order by column, then value, the largest first, then index; no value is below 0, and columns ascend."""
    # The bits of non-negative floats, read as integers, have the same order as the floats.
    return order_within(columns, ~np.ascontiguousarray(values, np.float32).view(np.uint32))


def among_largest(
    columns: Int[np.ndarray, "entry"], values: Float64[np.ndarray, "entry"], most: int
) -> Bool[np.ndarray, "entry"]:
    """Which values may be among the `most` largest of their column: in float32, those not below the last one.

    No value is below 0, and columns ascend.
    """
    rounded = values.astype(np.float32)
    order = strongest_first(columns, rounded)
    starts = runs(columns)
    last = np.minimum(starts + most, np.append(starts, len(columns))[1:]) - 1
    # Rounding keeps the order, except for new ties, and all values that tie with the last one are taken.
    return rounded >= np.repeat(rounded[order[last]], np.diff(np.append(starts, len(columns))))


def first_largest(values: Num[np.ndarray, "entry"], starts: Int64[np.ndarray, "run"]) -> Int64[np.ndarray, "run"]:
    """The index of the largest value of each run, the first one in a tie."""
    if not len(starts):
        return starts
    # numpy has no argmax over runs. Find all values equal to their run's maximum, then the first of them in each run.
    sizes = np.diff(np.append(starts, len(values)))
    at_peak = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), sizes))
    run = np.repeat(np.arange(len(starts)), sizes)[at_peak]
    return np.asarray(at_peak[runs(run)])


def ranks_in_runs(starts: Int64[np.ndarray, "run"], length: int) -> Int64[np.ndarray, "entry"]:
    """The index of each entry within its run; `length` is the number of entries."""
    return np.asarray(np.arange(length) - np.repeat(starts, np.diff(np.append(starts, length))))


def runs(*keys: Shaped[np.ndarray, "entry"]) -> Int64[np.ndarray, "run"]:
    """The index at which each run of equal values begins; with several arrays, all must stay equal within a run."""
    changed = np.ones(len(keys[0]), bool)
    changed[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(changed)


@dataclass(frozen=True)
class CorpusTokens:
    """The tokens of a corpus without their activations: 13 bytes a token, whatever the size of the dictionary."""

    ids: Int32[np.ndarray, "token"]
    texts: Int32[np.ndarray, "token"]
    """The text of each token."""
    positions: Int32[np.ndarray, "token"]
    """Each token's index in its text."""
    included: Bool[np.ndarray, "token"]
    """False if the position is left out of every statistic."""
    text_offsets: Int64[np.ndarray, "text_plus_1"]
    """Text `t` holds the tokens `text_offsets[t]` up to `text_offsets[t + 1]`."""
    per_text: Int64[np.ndarray, "text"]
    """Number of included tokens of each text."""

    @classmethod
    def of(cls, store: Store, included: Bool[np.ndarray, "token"]) -> "CorpusTokens":
        # `asarray` turns memory maps into plain arrays, which an engine can share without a copy for each worker.
        ids, offsets, texts = np.asarray(store.token_ids), np.asarray(store.text_offsets), store.token_texts()
        per_text = np.bincount(texts[included], minlength=store.n_texts)
        return cls(ids, texts, store.token_positions(), included, offsets, per_text)

    @property
    def n_included(self) -> int:
        return int(self.included.sum())


@dataclass(frozen=True)
class Activations:
    """The store's activations without the excluded positions."""

    store: Store
    included: Bool[np.ndarray, "token"]
    """False if the position is left out of every statistic."""
    norm_median: float
    """Median norm of the SAE's input over all positions of the corpus."""
    norm_limit: float
    """Positions with a larger norm are left out."""
    scratch: Path | None = None
    """Folder for scratch arrays; None means the system's temporary folder."""
    engine: Engine | None = None
    """Who makes the columns; None means the threads of this process."""

    @cached_property
    def by_token(self) -> sparse.csr_matrix:
        """`[token, feature]` in CSR form, the excluded tokens included."""
        return self.store.matrix()

    @cached_property
    def by_feature(self) -> ByFeature:
        """The same by feature, without excluded tokens: in scratch arrays, or in files if workers reach them."""
        if self.engine and self.scratch:
            found = by_feature_in_files(self.store, self.included, self.scratch, self.engine)
            if found:
                return found
        keep = None if self.included.all() else self.included
        return ByFeature.of(by_column(self.by_token, keep, self.scratch))

    def blocks(self) -> Iterator[Block | UnreadBlock]:
        """The whole dictionary, block by block."""
        indptr = self.by_feature.indptr
        first = 0
        while first < self.d_sae:
            # The last feature that still fits; a feature with more entries than a block gets a block of its own.
            full = np.searchsorted(indptr, int(indptr[first]) + BLOCK_ENTRIES, side="right") - 1
            stop = min(max(int(full), first + 1), first + BLOCK_FEATURES, self.d_sae)
            found = self.by_feature.sent(np.arange(first, stop))
            if isinstance(found, InFiles):
                yield UnreadBlock(found)
            else:
                yield Block(first, found.indptr, found.rows, found.values)
            first = stop

    @cached_property
    def tokens(self) -> CorpusTokens:
        return CorpusTokens.of(self.store, self.included)

    @property
    def token_texts(self) -> Int32[np.ndarray, "token"]:
        return self.tokens.texts

    @property
    def token_positions(self) -> Int32[np.ndarray, "token"]:
        return self.tokens.positions

    @property
    def n_tokens(self) -> int:
        """Number of included tokens of the corpus."""
        return self.tokens.n_included

    @property
    def d_sae(self) -> int:
        return self.store.d_sae

    def column(self, feature: int) -> tuple[Int32[np.ndarray, "active"], Float32[np.ndarray, "active"]]:
        """The tokens a feature is active on, ascending, and its activations there."""
        found = self.by_feature.entries(np.array([feature]))
        return found.rows, found.values


def include(
    store: Store,
    outlier_multiple: float,
    median: float | None = None,
    scratch: Path | None = None,
    engine: Engine | None = None,
) -> Activations:
    """Exclude the positions where the norm of the SAE's input exceeds `outlier_multiple` times the median norm.

    The limit is rounded up to the next edge of the store's norm bands, so that each band is kept or dropped as a whole
    and sums stay exact. `median` overrides the median norm: for concepts, it is that of the corpus they are compared
    with. `scratch` is a folder for arrays too large for memory, in which the engine's workers make columns if they
    reach it.
    """
    norms = np.asarray(store.norms)
    middle = float(np.median(norms)) if median is None else median
    limit = band_edge(max(middle * outlier_multiple, float(np.finfo(np.float32).tiny)))
    # Compared by band: the limit is the lower edge of the first dropped band, and 0.1 % above it lies inside that band.
    included = norm_bands(norms) < norm_bands(np.array([limit * 1.001]))[0]
    return Activations(store, included, middle, limit, scratch, engine)
