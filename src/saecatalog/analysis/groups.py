"""Sums over groups of texts: a sparse `[text, feature]` matrix and each text's group flow in, dense sums flow out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64
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

    def of_texts(self, chosen: np.ndarray) -> "TextGroups":
        """The groups of some of the texts; a group may have none of them."""
        return TextGroups(self.names, self.member[chosen])

    @property
    def sizes(self) -> Int64[np.ndarray, "group 1"]:
        """Texts of each group."""
        return np.bincount(self.member, minlength=len(self.names))[:, None]

    @cached_property
    def _indicator(self) -> sparse.csr_matrix:
        n = len(self.member)
        return sparse.csr_matrix((np.ones(n), (self.member, np.arange(n))), shape=(len(self.names), n))

    def sums(self, matrix: sparse.csc_matrix, values: np.ndarray) -> Float64[np.ndarray, "group feature"]:
        """The sum of `values`, which stand in the place of the matrix' entries, over each group."""
        replaced = sparse.csc_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)
        return (self._indicator @ replaced).toarray()
