"""Sums over groups of texts: a sparse `[text, feature]` matrix and each text's group flow in, sums per cell flow out.

A cell is a pair of a group and a feature. Only cells that are asked for exist, so that time and memory grow with the
scores and not with groups times features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num
from scipy import sparse


@dataclass(frozen=True)
class TextGroups:
    """Which group each text belongs to."""

    names: list[str]
    """Sorted."""
    member: Int64[np.ndarray, "text"]
    """Index in `names`."""

    @classmethod
    def of(cls, labels: list[str]) -> "TextGroups":
        names, member = np.unique(np.array(labels, object), return_inverse=True)
        return cls(names.tolist(), member)

    def of_texts(self, chosen: Bool[np.ndarray, "text"]) -> "TextGroups":
        """The groups of some of the texts; a group may be empty."""
        return TextGroups(self.names, self.member[chosen])

    @property
    def sizes(self) -> Int64[np.ndarray, "group"]:
        """Number of texts in each group."""
        return np.bincount(self.member, minlength=len(self.names))

    def cells(self, matrix: sparse.csc_matrix, every: bool = False) -> "Cells":
        """The cells with an entry of `matrix`, `[text, feature]`, or every cell."""
        width = matrix.shape[1]
        codes = self.member[matrix.indices] * width + columns_of(matrix)
        found, of_entry = np.arange(len(self.names) * width), codes
        if not every:
            found, of_entry = np.unique(codes, return_inverse=True)
        group, column = np.divmod(found, width) if width else (found, found)
        return Cells(group, column, of_entry)


@dataclass(frozen=True)
class Cells:
    """Pairs of a group and a column of a sparse matrix, by group, then column."""

    group: Int64[np.ndarray, "cell"]
    column: Int64[np.ndarray, "cell"]
    of_entry: Int64[np.ndarray, "entry"]
    """The cell of each entry of the matrix."""

    def __len__(self) -> int:
        return len(self.group)

    def of_entries(self, kept: Bool[np.ndarray, "entry"]) -> "Cells":
        """The same cells for a matrix with some of the entries; a cell may have none."""
        return Cells(self.group, self.column, self.of_entry[kept])

    def sums(
        self, *values: Num[np.ndarray, "entry"] | Bool[np.ndarray, "entry"] | None
    ) -> list[Float64[np.ndarray, "cell"]]:
        """For each of `values`, its sum over the entries of each cell; None counts the entries."""
        return [np.bincount(self.of_entry, weights, len(self)).astype(np.float64) for weights in values]


def columns_of(matrix: sparse.csc_matrix) -> Int64[np.ndarray, "entry"]:
    """The column of each entry."""
    return np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
