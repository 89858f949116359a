"""The active entries of a corpus feature by feature: a store flows in, the entries of any features flow out.

They are in one matrix of this process; or, where workers reach its folders, in files that they write and read, each for
some of the tokens. Then no process has all entries: a block of features travels as the names of those files.
"""

import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64
from scipy import sparse

from saecatalog.engines import Engine, Threads
from saecatalog.file_arrays import FileArray
from saecatalog.store import Store, narrow, ranges, row_spans

FILE_ENTRIES = 2_000_000
"""Approximate number of entries of a file, at least."""

ENTRIES_PER_FEATURE = 16
"""The same for each feature of the dictionary: a file has a number for every feature, besides its entries."""


@dataclass(frozen=True)
class Entries:
    """The entries of some features, one feature after another; rows ascend within each."""

    indptr: Int64[np.ndarray, "feature_plus_1"]
    rows: Int32[np.ndarray, "entry"]
    values: Float32[np.ndarray, "entry"]

    def __len__(self) -> int:
        """The number of features."""
        return len(self.indptr) - 1

    def read(self) -> "Entries":
        """Itself: these are in memory."""
        return self

    def without_values(self) -> "Entries":
        """The same to be sent where only rows count."""
        return Entries(self.indptr, self.rows, np.empty(0, np.float32))


@dataclass(frozen=True)
class ColumnFile:
    """The entries of some consecutive rows, in CSC form in three files of a folder."""

    folder: Path

    @cached_property
    def indptr(self) -> Int[np.ndarray, "d_sae_plus_1"]:
        return self._array("indptr")

    @cached_property
    def indices(self) -> Int32[np.ndarray, "entry"]:
        return self._array("indices")

    @cached_property
    def data(self) -> Float32[np.ndarray, "entry"]:
        return self._array("data")

    def _array(self, name: str) -> np.ndarray:
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r"))

    def __getstate__(self) -> dict[str, Path]:
        """The name alone, not what has been read."""
        return {"folder": self.folder}

    def write(self, matrix: sparse.csc_matrix) -> None:
        """Make the files. If another worker made them meanwhile, they are the same."""
        part = self.folder.with_name(f"{self.folder.name}.part-{uuid.uuid4().hex}")
        part.mkdir()
        for name in ("indptr", "indices", "data"):
            np.save(part / f"{name}.npy", getattr(matrix, name))
        try:
            part.rename(self.folder)
        except OSError:
            shutil.rmtree(part)
            if not self.folder.is_dir():
                raise


@dataclass(frozen=True)
class InFiles:
    """The entries of some features, to be read where they are needed."""

    files: tuple[ColumnFile, ...]
    features: Int64[np.ndarray, "feature"]

    def read(self) -> Entries:
        return gather(self.files, self.features)


@dataclass(frozen=True)
class ByFeature:
    """A matrix `[row, feature]` by feature."""

    parts: tuple[sparse.csc_matrix | ColumnFile, ...]
    """The rows of each follow those of the one before."""
    indptr: Int64[np.ndarray, "d_sae_plus_1"]
    """Feature `i` has `indptr[i + 1] - indptr[i]` entries."""

    @property
    def in_files(self) -> bool:
        """Whether workers can read the entries."""
        return isinstance(self.parts[0], ColumnFile)

    @classmethod
    def of(cls, matrix: sparse.csc_matrix) -> "ByFeature":
        return cls((matrix,), matrix.indptr.astype(np.int64))

    def entries(self, features: Int64[np.ndarray, "feature"]) -> Entries:
        """The entries of some features, ascending."""
        return gather(self.parts, features)

    def sent(self, features: Int64[np.ndarray, "feature"]) -> Entries | InFiles:
        """The same in the form in which it is sent to workers: the files' names, if workers reach them."""
        files = tuple(part for part in self.parts if isinstance(part, ColumnFile))
        return InFiles(files, features) if files else self.entries(features)


def gather(parts: tuple[sparse.csc_matrix | ColumnFile, ...], features: Int64[np.ndarray, "feature"]) -> Entries:
    """The entries of some features, ascending, from all parts."""
    starts = np.stack([part.indptr[features] for part in parts]).astype(np.int64)
    sizes = np.stack([part.indptr[features + 1] for part in parts]).astype(np.int64) - starts
    indptr = np.concatenate([[0], np.cumsum(sizes.sum(0))])
    if len(parts) == 1 and (np.diff(features) == 1).all():
        first = int(starts[0, :1].sum())
        whole = slice(first, first + int(indptr[-1]))
        return Entries(indptr, parts[0].indices[whole], parts[0].data[whole])
    rows, values = np.empty(int(indptr[-1]), np.int32), np.empty(int(indptr[-1]), np.float32)
    # Within a feature, the entries of a part come after those of the parts before it.
    places = indptr[:-1] + np.cumsum(sizes, axis=0) - sizes
    for part, start, size, place in zip(parts, starts, sizes, places, strict=True):
        to, own = ranges(place, size), ranges(start, size)
        rows[to], values[to] = part.indices[own], part.data[own]
    return Entries(indptr, rows, values)


@dataclass(frozen=True)
class Rows:
    """What the files of columns are made from: a store's entries, token by token, in files."""

    features: FileArray
    activations: FileArray
    indptr: Int64[np.ndarray, "token_plus_1"]
    included: Bool[np.ndarray, "token"]
    d_sae: int
    folder: Path
    """Where the columns are written."""

    @classmethod
    def of(cls, store: Store, included: Bool[np.ndarray, "token"], folder: Path) -> "Rows | None":
        """None if the store is not in files."""
        features, activations = FileArray.behind(store.features), FileArray.behind(store.activations)
        if features is None or activations is None:
            return None
        return cls(features, activations, np.asarray(store.indptr), included, store.d_sae, folder)

    def parts(self) -> list[tuple[int, tuple[int, int]]]:
        """A number for each file and the tokens it is for, from and up to."""
        most = max(FILE_ENTRIES, ENTRIES_PER_FEATURE * self.d_sae)
        return list(enumerate(row_spans(self.indptr, most)))

    def write(self, engine: Engine) -> ByFeature:
        """The entries by feature, in files that the engine's workers write."""
        parts = self.parts()
        counts = np.zeros(self.d_sae, np.int64)
        for found in engine.in_order(write_columns, self, parts):
            counts += found
        files = tuple(self.file(number) for number, *_ in parts)
        return ByFeature(files, np.concatenate([[0], np.cumsum(counts)]))

    def file(self, number: int) -> ColumnFile:
        return ColumnFile(self.folder / f"columns-{number}")


def write_columns(rows: Rows, part: tuple[int, tuple[int, int]]) -> Int32[np.ndarray, "d_sae"]:
    """Write the columns of some tokens, the included ones; returns the number of entries of each feature."""
    number, (start, stop) = part
    indptr = rows.indptr[start : stop + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    shape = (stop - start, rows.d_sae)
    content = (rows.activations.read()[entries], rows.features.read()[entries], narrow(indptr - indptr[0]))
    kept = np.flatnonzero(rows.included[start:stop])
    matrix = sparse.csr_matrix(content, shape=shape)[kept].tocsc()
    matrix.indices = (start + kept).astype(np.int32)[matrix.indices]
    rows.file(number).write(matrix)
    return np.asarray(np.diff(matrix.indptr), np.int32)


def by_feature_in_files(
    store: Store, included: Bool[np.ndarray, "token"], folder: Path, engine: Engine
) -> ByFeature | None:
    """A store's entries by feature, in files of a folder; None without workers that reach these files."""
    rows = Rows.of(store, included, folder)
    if isinstance(engine, Threads) or rows is None:
        return None
    reached = engine.reaches(folder) and engine.reaches(rows.features.path.parent)
    return rows.write(engine) if reached else None
