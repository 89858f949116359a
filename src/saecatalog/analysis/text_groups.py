"""Sums over groups of texts: a sparse `[text, feature]` matrix and each text's group flow in, dense sums flow out."""

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
    def sizes(self) -> Int64[np.ndarray, "group 1"]:
        """Number of texts in each group."""
        return np.bincount(self.member, minlength=len(self.names))[:, None]

    def sums(
        self, matrix: sparse.csc_matrix, *values: Num[np.ndarray, "entry"] | Bool[np.ndarray, "entry"] | None
    ) -> list[Float64[np.ndarray, "group feature"]]:
        """For each of `values`, its sums over the entries of each group and column of `matrix`, `[text, feature]`.

        Each of `values` has one number per entry of the matrix; None counts the entries.
        """
        shape = (len(self.names), matrix.shape[1])
        column = np.repeat(np.arange(shape[1]), np.diff(matrix.indptr))
        # Each cell [group, feature] has a number, so that one bincount computes all sums.
        cell = self.member[matrix.indices] * shape[1] + column
        sums = (np.bincount(cell, weights, minlength=shape[0] * shape[1]) for weights in values)
        return [found.reshape(shape).astype(np.float64) for found in sums]
