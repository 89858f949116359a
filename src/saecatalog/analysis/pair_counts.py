"""On how many rows two features are both active: the activity of a corpus flows in, counts flow out.

There are three exact ways to count, each the cheapest for some features: dense products, gathered rows added up in
dense arrays, and gathered rows multiplied as sparse matrices. Where an engine's workers reach the folder for scratch
arrays, they make and read them there, and only names travel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64
from scipy import sparse

from saecatalog.analysis.by_feature import ByFeature, ColumnFile, Entries, InFiles
from saecatalog.engines import Engine, Threads
from saecatalog.file_arrays import FileArray
from saecatalog.store import Store, narrow, row_spans

BLOCK = 512
"""Most features whose counts with all others are in memory at once, in each thread."""

MOST_COUNTS = 2**24
"""Most counts of a block in memory at once, 4 bytes each, unless one feature has more."""

MOST_MET = 2**22
"""Most pairs of entries, counted with repetitions, that a block of features that meet few others has."""

WORTH_KEEPING = 0.8
"""If fewer of the features are active on enough rows for a pair, the others are left out before anything is counted."""

MEETS_FEW = 0.2
"""A feature meets few others if its pairs of entries are fewer than this share of the dictionary."""

GATHERED = 1_000_000
"""Approximate number of row entries gathered at a time: few enough to stay in the processor's cache."""

DENSE_ROWS = 4095
"""Rows of a dense product: two counts up to this number share one float32, which is exact below 2**24."""

GATHERING = 400.0
"""Cost of counting one pair of entries from gathered rows, relative to one pair in a dense product."""


@dataclass(frozen=True)
class ActiveRows:
    """The features that are active on each row, ascending: 4 bytes for each."""

    indptr: Int[np.ndarray, "row_plus_1"]
    features: Int32[np.ndarray, "entry"] | FileArray
    width: int
    """Number of features."""

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> "ActiveRows":
        """The activity in a matrix `[row, feature]`."""
        # `asarray` turns a memory map into a plain array, which an engine can share without a copy for each worker.
        return cls(matrix.indptr, np.asarray(matrix.indices)[: matrix.nnz], matrix.shape[1])

    @classmethod
    def of_store(cls, store: Store, in_files: bool) -> "ActiveRows":
        """The activity in a store; as the name of its file, if workers reach that."""
        file = FileArray.behind(store.features) if in_files else None
        return cls(narrow(np.asarray(store.indptr)), file or np.asarray(store.features), store.d_sae)

    def entries(self, start: int = 0, stop: int | None = None) -> Int32[np.ndarray, "entry"]:
        """The features of the rows from `start` up to `stop`, row after row."""
        features = self.features.read() if isinstance(self.features, FileArray) else self.features
        return features[self.indptr[start] : self.indptr[-1 if stop is None else stop]]

    def matrix(self) -> sparse.csr_matrix:
        """`[row, feature]`, with one-byte values, which are never read: rows are gathered faster than with four bytes.

        The bytes are a view of the features, so no new array is allocated.
        """
        features = self.entries()
        values = features.view(np.int8)[: len(features)]
        return sparse.csr_matrix((values, features, self.indptr), shape=(len(self.indptr) - 1, self.width))

    def dense(self, start: int, stop: int) -> Bool[np.ndarray, "row d_sae"]:
        """What is active on the rows from `start` up to `stop`."""
        features, indptr = self.entries(start, stop), self.indptr[start : stop + 1]
        content = (np.ones(len(features), bool), features, indptr - indptr[0])
        return np.asarray(sparse.csr_matrix(content, shape=(stop - start, self.width)).toarray())


@dataclass(frozen=True)
class Doubled:
    """What is active on each row, if that is several percent of all features: 2 bytes for each row and feature.

    In a dense array, two features share each number. It is 1 if the feature of the first half is active, plus
    DENSE_ROWS + 1 if its twin in the second half is.
    """

    values: Float32[np.ndarray, "row half_width"] | FileArray

    def read(self) -> Float32[np.ndarray, "row half_width"]:
        return self.values.read() if isinstance(self.values, FileArray) else self.values


@dataclass(frozen=True)
class Matrix:
    """The activity of the features that are counted, which every block shares; they are numbered from 0."""

    supported: Int64[np.ndarray, "feature"]
    """The number of each in the dictionary, ascending."""

    counts: Float64[np.ndarray, "feature"]
    """On how many kept rows each feature is active."""
    n: int
    """Number of kept rows."""
    support: int
    """Pairs active together on fewer rows do not count."""
    active: ActiveRows | Doubled

    def in_memory(self) -> "Matrix":
        """The same for workers that do not reach the files."""
        if isinstance(self.active, Doubled):
            return replace(self, active=Doubled(self.active.read()))
        return replace(self, active=replace(self.active, features=self.active.entries()))


@dataclass(frozen=True)
class Block:
    """Some features, ascending, and the rows on which each is active, row after row."""

    features: Int64[np.ndarray, "feature"]
    """As numbered in the `Matrix`."""
    entries: Entries | InFiles
    """Of no use for dense products, and empty for them."""
    few: bool
    """Whether they meet few others."""


def share_activity(
    active: ActiveRows,
    by_feature: ByFeature,
    keep: Bool[np.ndarray, "row"],
    support: int,
    folder: Path,
    engine: Engine | None = None,
) -> Matrix:
    """The activity in the form for the cheaper of two exact ways to count.

    Gathering rows costs the sum of squared row lengths, because each active feature is paired with every other one on
    its row. Dense products cost the square of the dictionary's width for every row, but each step is far cheaper.
    The engine's workers (default `Threads`) make what is needed in files of the folder.
    """
    engine = engine or Threads()
    writers = engine if engine.reaches(folder) else Threads()
    counts = np.diff(by_feature.indptr).astype(np.float64)
    supported = np.arange(len(counts))
    if (counts >= support).mean() < WORTH_KEEPING:
        supported = np.flatnonzero(counts >= support)
        active = only(active, counts >= support, folder, writers)
    n, width = len(keep), len(supported)
    gathering = float(np.square(np.diff(active.indptr).astype(np.float64)).sum())
    dense = float(n) * width * width < GATHERING * gathering
    shown = two_in_one(active, keep, folder, writers) if dense else active
    matrix = Matrix(supported, counts[supported], int(keep.sum()), support, shown)
    return matrix if writers is engine else matrix.in_memory()


@dataclass(frozen=True)
class Chosen:
    """The features that are kept of some activity."""

    active: ActiveRows
    chosen: Bool[np.ndarray, "d_sae"]


@dataclass(frozen=True)
class Renumbered:
    """The same with the place of each row's entries in a file, and the new number of each feature."""

    kept: Chosen
    numbers: Int32[np.ndarray, "d_sae"]
    indptr: Int64[np.ndarray, "row_plus_1"]
    file: FileArray


def only(active: ActiveRows, chosen: Bool[np.ndarray, "d_sae"], folder: Path, engine: Engine) -> ActiveRows:
    """The activity of some of the features, renumbered from 0, in a file that the engine's workers write."""
    kept, spans = Chosen(active, chosen), list(row_spans(active.indptr, GATHERED))
    lengths = np.concatenate(list(engine.in_order(count_chosen, kept, spans)))
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    file = FileArray.make(folder / "chosen.npy", np.int32, indptr[-1])
    numbers = np.cumsum(chosen, dtype=np.int32) - 1
    for _ in engine.in_order(write_chosen, Renumbered(kept, numbers, indptr, file), spans):
        pass
    return ActiveRows(narrow(indptr), file, int(chosen.sum()))


def count_chosen(kept: Chosen, span: tuple[int, int]) -> Int64[np.ndarray, "row"]:
    """How many of the chosen features are active on each of some rows."""
    start, stop = span
    before = np.concatenate([[0], np.cumsum(kept.chosen[kept.active.entries(start, stop)])])
    return np.diff(before[kept.active.indptr[start : stop + 1] - kept.active.indptr[start]])


def write_chosen(to: Renumbered, span: tuple[int, int]) -> None:
    """Write the new numbers of the chosen features that are active on some rows."""
    features = to.kept.active.entries(*span)
    with to.file.opened() as file:
        file.write(int(to.indptr[span[0]]), to.numbers[features[to.kept.chosen[features]]])


@dataclass(frozen=True)
class Doubling:
    """What `write_doubled` writes, and where."""

    active: ActiveRows
    keep: Bool[np.ndarray, "row"]
    file: FileArray


def two_in_one(active: ActiveRows, keep: Bool[np.ndarray, "row"], folder: Path, engine: Engine) -> Doubled:
    """The activity on the kept rows, in a file that the engine's workers write."""
    n, half = len(keep), (active.width + 1) // 2
    file = FileArray.make(folder / "doubled.npy", np.float32, n, half)
    for _ in engine.in_order(write_doubled, Doubling(active, keep, file), range(0, n, BLOCK)):
        pass
    return Doubled(file)


def write_doubled(to: Doubling, start: int) -> None:
    """Write BLOCK rows."""
    active, width = to.active, to.active.width
    half = (width + 1) // 2
    rows = slice(start, start + BLOCK)
    dense = active.dense(start, min(start + BLOCK, len(to.keep)))
    dense &= to.keep[rows, None]
    doubled = dense[:, :half].astype(np.float32)
    doubled[:, : width - half] += (DENSE_ROWS + 1) * dense[:, half:].astype(np.float32)
    with to.file.opened() as file:
        file.write(start * half, doubled)


def split(matrix: Matrix, by_feature: ByFeature, engine: Engine | None = None) -> Iterator[Block]:
    """All features in blocks that need a bounded amount of memory."""
    width = len(matrix.counts)
    features = np.arange(width)
    at_once = max(1, min(BLOCK, MOST_COUNTS // max(width, 1)))
    if isinstance(matrix.active, Doubled):
        nothing = Entries(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        for start in range(0, len(features), at_once):
            yield Block(features[start : start + at_once], nothing, few=False)
        return
    met = _entries_met(by_feature, np.diff(matrix.active.indptr), engine or Threads())[matrix.supported]
    few = met < MEETS_FEW * width
    many, rare = features[~few], features[few]
    groups = (np.cumsum(met[few]) - 1) // MOST_MET
    for mine in np.split(rare, np.flatnonzero(np.diff(groups)) + 1) if len(rare) else []:
        yield block_of(matrix, by_feature, mine, few=True)
    for start in range(0, len(many), at_once):
        yield block_of(matrix, by_feature, many[start : start + at_once], few=False)


def block_of(matrix: Matrix, by_feature: ByFeature, features: Int64[np.ndarray, "feature"], few: bool) -> Block:
    entries = by_feature.sent(matrix.supported[features])
    return Block(features, entries.without_values() if isinstance(entries, Entries) else entries, few)


def _entries_met(by_feature: ByFeature, lengths: Int[np.ndarray, "row"], engine: Engine) -> Int64[np.ndarray, "d_sae"]:
    """The sum of the lengths of the rows on which each feature is active."""
    engine = engine if by_feature.in_files else Threads()
    total = np.zeros(len(by_feature.indptr) - 1, np.int64)
    for found in engine.in_order(met_in_part, lengths, by_feature.parts):
        total += found
    return total


def met_in_part(lengths: Int[np.ndarray, "row"], part: sparse.csc_matrix | ColumnFile) -> Int64[np.ndarray, "d_sae"]:
    """The same for the rows of one part."""
    indptr, total = part.indptr, 0
    # A running sum over all entries, read where each feature begins, for as many entries at once as a block gathers.
    found = np.zeros(len(indptr), np.int64)
    for start in range(0, int(indptr[-1]), GATHERED):
        sums = total + np.cumsum(lengths[part.indices[start : start + GATHERED]], dtype=np.int64)
        first, stop = np.searchsorted(indptr, [start, start + len(sums)], side="right")
        found[first:stop] = sums[indptr[first:stop] - start - 1]
        total = int(sums[-1])
    return np.diff(found)


def count_met(active: sparse.csr_matrix, entries: Entries) -> sparse.csr_matrix:
    """Counts `[feature, d_sae]` from the rows on which each feature is active, where they are above 0."""
    rows, n = active[entries.rows], len(entries.rows)
    met = sparse.csr_matrix((np.ones(rows.nnz, np.int32), rows.indices, rows.indptr), shape=rows.shape)
    # Which of the gathered rows belong to each feature.
    own = sparse.csr_matrix((np.ones(n, np.int32), np.arange(n), entries.indptr), shape=(len(entries), n))
    return own @ met


def count_gathered(active: sparse.csr_matrix, entries: Entries) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts from the rows on which each feature is active, gathered and added up per feature."""
    width, indptr, end = active.shape[1], entries.indptr, len(entries.rows)
    both = np.zeros((len(entries), width), np.float32)
    # The number of rows that have about GATHERED entries, by the mean length of a row.
    step = max(1, GATHERED * active.shape[0] // max(active.nnz, 1))
    ones = np.ones(GATHERED, np.float32)
    for start in range(0, end, step):
        stop = min(start + step, end)
        rows = active[entries.rows[start:stop]]
        if rows.nnz > len(ones):
            ones = np.ones(rows.nnz, np.float32)
        # The features of these entries; the first and the last may have more entries elsewhere.
        a, b = np.searchsorted(indptr, start, "right") - 1, np.searchsorted(indptr, stop, "left")
        # A matrix [feature, d_sae] in CSR form. Each row lists the entries of all rows gathered for one feature, with
        # repetitions; conversion to a dense array adds up repeated entries, which gives the count.
        bounds = rows.indptr[np.clip(indptr[a : b + 1], start, stop) - start]
        both[a:b] += sparse.csr_matrix((ones[: rows.nnz], rows.indices, bounds), shape=(b - a, width)).toarray()
    return both


def count_dense(
    doubled: Float32[np.ndarray, "row half_width"], width: int, me: Int64[np.ndarray, "feature"]
) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts of the features `me` from dense products, DENSE_ROWS rows at a time.

    Each number of a product holds two counts. The left side holds one feature's activity as 0 and 1, so a product is
    (count with the feature of the first half) + (DENSE_ROWS + 1) * (count with its twin). Both counts are at most
    DENSE_ROWS, so the sum is below 2**24 and exact.
    """
    half = doubled.shape[1]
    both = np.zeros((len(me), width), np.float32)
    for start in range(0, len(doubled), DENSE_ROWS):
        rows = doubled[start : start + DENSE_ROWS]
        # The columns of the block's own features [row, feature], separated into 0 and 1.
        mine = rows[:, me % half]
        twin = (mine > DENSE_ROWS).astype(np.float32)
        mine = np.where(me < half, mine - (DENSE_ROWS + 1) * twin, twin)
        product = mine.T @ rows
        second = np.floor(product / (DENSE_ROWS + 1))
        both[:, :half] += product - (DENSE_ROWS + 1) * second
        both[:, half:] += second[:, : width - half]
    return both
