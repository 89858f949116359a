"""Arrays too large for memory, in unnamed temporary files that disappear with the array or the process.

The files are memory-mapped, so the system can move pages that are not in use out of memory. Sparse matrices are
converted from CSR to CSC here, part by part, so that the memory needed does not grow with the matrix.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int32, Num
from scipy import sparse

from saecatalog.store import narrow, ranges, row_spans
from saecatalog.threads import in_order

PART_ENTRIES = 2_000_000
"""Matrix entries converted from CSR to CSC at once, in each thread."""


def scratch_array(folder: Path | None, dtype: npt.DTypeLike, *shape: int) -> Num[np.ndarray, "..."]:
    """An array of zeros in a file of `folder`, or of the system's temporary folder; raises OSError on a full disk."""
    with tempfile.TemporaryFile(dir=folder) as file:
        size = max(1, int(np.prod(shape, dtype=np.int64))) * np.dtype(dtype).itemsize
        # Otherwise the file would be sparse, and a full disk would kill the process with SIGBUS when a page is written.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return _mapped(file, dtype, shape)


def _mapped(file: IO[bytes], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Num[np.ndarray, "..."]:
    """A file as an array of the given shape. The array may be empty; the file may not, as it could not be mapped."""
    size = int(np.prod(shape, dtype=np.int64))
    return np.asarray(np.memmap(file, dtype, "r+", shape=max(1, size)))[:size].reshape(shape)


class Appended:
    """An array of unknown length, written piece by piece to an unnamed temporary file."""

    def __init__(self, folder: Path | None, dtype: npt.DTypeLike):
        self.dtype, self.length = dtype, 0
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, because `close` closes it

    def append(self, values: Num[np.ndarray, "n"]) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.length += len(values)

    def close(self) -> Num[np.ndarray, "length"]:
        """Everything appended, as one array; nothing can be appended afterwards."""
        with self._file:
            if not self.length:
                return np.empty(0, self.dtype)
            self._file.flush()
            return _mapped(self._file, self.dtype, (self.length,))


def by_column(
    matrix: sparse.csr_matrix, keep: Bool[np.ndarray, "row"] | None = None, folder: Path | None = None
) -> sparse.csc_matrix:
    """The same matrix in CSC form, rows ascending within a column, in scratch arrays; rows not kept are empty."""
    # The first pass counts the entries of each column, which gives the place of the first part's share of it; then each
    # part's share begins where that of the part before ends.
    totals, parts = np.zeros(matrix.shape[1], np.int64), list(_parts(matrix, keep))
    for counts in in_order(lambda rows: np.bincount(matrix[rows].indices, minlength=matrix.shape[1]), parts):
        totals += counts
    indptr = np.concatenate([[0], np.cumsum(totals)])
    indices, data = (scratch_array(folder, dtype, int(indptr[-1])) for dtype in (np.int32, matrix.dtype))
    starts = indptr[:-1].copy()
    for rows, part in in_order(lambda rows: (rows, matrix[rows].tocsc()), parts):
        counts = np.diff(part.indptr)
        place = ranges(starts, counts)
        indices[place], data[place] = rows[part.indices], part.data
        starts += counts
    return sparse.csc_matrix((data, indices, narrow(indptr)), shape=matrix.shape)


def _parts(matrix: sparse.csr_matrix, keep: Bool[np.ndarray, "row"] | None) -> Iterator[Int32[np.ndarray, "kept_row"]]:
    """The rows that are kept, about PART_ENTRIES entries at a time; at least one part, which may be empty."""
    for start, stop in row_spans(matrix.indptr, PART_ENTRIES):
        rows = np.arange(start, stop, dtype=np.int32)
        yield rows if keep is None else rows[keep[start:stop]]
