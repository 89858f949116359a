"""Text scores: one number per text and feature. Activations flow in, a sparse `[text, feature]` matrix flows out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32
from scipy import sparse

from saecatalog.analysis.activations import Activations


@dataclass(frozen=True)
class TextScores:
    """The scores above 0 of all texts and features."""

    matrix: sparse.csr_matrix
    """`[text, feature]`; features ascend within a text."""
    positions: Int32[np.ndarray, "entry"]
    """For each entry, the position in its text with the largest activation (the last one for score `last`)."""

    @property
    def n_texts(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def d_sae(self) -> int:
        return int(self.matrix.shape[1])

    @cached_property
    def rows(self) -> Int32[np.ndarray, "entry"]:
        """The text of each entry."""
        return np.repeat(np.arange(self.n_texts, dtype=np.int32), np.diff(self.matrix.indptr))

    @cached_property
    def by_feature(self) -> sparse.csc_matrix:
        return self.matrix.tocsc()


def score_texts(activations: Activations, score: str) -> TextScores:
    """Score every text by `max`, `last` or `mean` over its counted tokens.

    `last` reads the text's last token, and is 0 where that position is excluded.
    """
    store = activations.store
    matrix = activations.by_token
    columns, values, places, counts = [], [], [], []
    for text in range(store.n_texts):
        start, stop = int(store.text_offsets[text]), int(store.text_offsets[text + 1])
        first = stop - 1 if score == "last" else start
        entries = slice(matrix.indptr[first], matrix.indptr[stop])
        position = np.repeat(np.arange(first - start, stop - start), np.diff(matrix.indptr[first : stop + 1]))
        n_tokens = int(activations.tokens_per_text[text])
        feature, value, place = _peaks(matrix.indices[entries], matrix.data[entries], position, score, n_tokens)
        columns.append(feature)
        values.append(value)
        places.append(place)
        counts.append(len(feature))
    indptr = np.concatenate([[0], np.cumsum(counts)])
    scores = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), indptr), shape=(store.n_texts, store.d_sae)
    )
    return TextScores(scores, np.concatenate(places).astype(np.int32))


def _peaks(
    features: np.ndarray, values: np.ndarray, positions: np.ndarray, score: str, n_tokens: int
) -> tuple[np.ndarray, Float32[np.ndarray, "feature"], np.ndarray]:
    """One entry per feature of a text: its score, and where it peaks (the earliest place in a tie)."""
    order = np.lexsort((positions, -values, features))
    features, values, positions = features[order], values[order], positions[order]
    first = np.flatnonzero(np.concatenate([[True], features[1:] != features[:-1]])) if len(features) else order
    peak = values[first]
    if score == "mean" and len(first):
        peak = (np.add.reduceat(values.astype(np.float64), first) / n_tokens).astype(np.float32)
    return features[first], peak, positions[first]
