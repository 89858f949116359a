"""The activations every analysis reads: a store and a limit on residual norms flow in, sparse matrices flow out.

Positions with massive activations are dropped here, once, so that no analysis can count them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from scipy import sparse

from saecatalog.store import Store, band_edge, norm_bands


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
            return store.matrix()
        keep = np.repeat(self.included, np.diff(store.indptr))
        counts = np.where(self.included, np.diff(store.indptr), 0)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return sparse.csr_matrix((store.activations[keep], store.features[keep], indptr), shape=tuple(store.shape))

    @cached_property
    def by_feature(self) -> sparse.csc_matrix:
        """`[token, feature]` by columns; tokens ascend within a column."""
        return self.by_token.tocsc()

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


def include(store: Store, outlier_multiple: float, median: float | None = None) -> Activations:
    """Drop the positions whose residual norm exceeds `outlier_multiple` times the median norm.

    The limit is moved up to the next edge of the store's norm bands, so that the bands' sums stay exact. `median`
    takes another corpus' median (concepts are judged by the corpus they are compared with).
    """
    norms = np.asarray(store.norms)
    middle = float(np.median(norms)) if median is None else median
    limit = band_edge(max(middle * outlier_multiple, float(np.finfo(np.float32).tiny)))
    return Activations(store, norm_bands(norms) < norm_bands(np.array([limit * 1.001]))[0], middle, limit)
