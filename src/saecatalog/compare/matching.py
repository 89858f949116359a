"""Finds the most similar feature of another dictionary for each feature, and what chance would find.

In: two sets of vectors, one per feature: the features' scores on the same texts, or their decoder rows. Out: the best
partner of every feature in both directions, and the similarity that features reach when the rows are shuffled.

The best correlation of a feature with any of another dictionary, and the best cosine, whose mean over a dictionary is
its MMCS (mean max cosine similarity), are the usual measures of how far two dictionaries agree: Sharkey, Braun and
Millidge, "Taking features out of superposition with sparse autoencoders" (2022); Bricken et al., "Towards
monosemanticity" (2023), on correlations of activations. Both are maxima over thousands of features and are large by
chance alone, so they mean something only beside their value under a permutation of the rows (Good, "Permutation,
parametric, and bootstrap tests of hypotheses", 2005).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy import sparse

BLOCK_BYTES = 1 << 26
"""Memory of one block of vectors in float32. The similarities of two blocks take at most four times as much."""
WIDEST = 4096
"""Most features in a block."""

DECIMALS = 5
"""Similarities are compared after rounding to this many decimals, because equal ones differ by rounding errors of the
matrix product; the smaller index then breaks the tie."""

CHANCE = 0.95
"""The quantile of the best similarities after shuffling that counts as chance."""


class Vectors(Protocol):
    """One vector of length 1 per feature (or of length 0, if the feature has no direction)."""

    def __len__(self) -> int: ...

    @property
    def rows(self) -> int:
        """The number of entries of a vector."""
        ...

    def unit(self, features: Int64[np.ndarray, "feature"]) -> Float64[np.ndarray, "row feature"]:
        """The vectors of some features, as columns."""
        ...


@dataclass(frozen=True)
class Scores:
    """Scores of features on texts. The dot product of two vectors is the Pearson correlation of their scores."""

    matrix: sparse.csc_matrix
    """`[text, feature]`"""

    def __len__(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[0])

    def unit(self, features: Int64[np.ndarray, "feature"]) -> Float64[np.ndarray, "row feature"]:
        scores = self.matrix[:, features].toarray().astype(np.float64)
        return of_length_one(scores - scores.mean(0))


@dataclass(frozen=True)
class Directions:
    """Decoder rows. The dot product of two vectors is their cosine."""

    decoder: Float32[np.ndarray, "feature d_out"]

    def __len__(self) -> int:
        return len(self.decoder)

    @property
    def rows(self) -> int:
        return int(self.decoder.shape[1])

    def unit(self, features: Int64[np.ndarray, "feature"]) -> Float64[np.ndarray, "row feature"]:
        return of_length_one(self.decoder[features].T.astype(np.float64))


def of_length_one(columns: Float64[np.ndarray, "row feature"]) -> Float64[np.ndarray, "row feature"]:
    """The columns divided by their lengths; one of length 0 stays as it is."""
    lengths = np.linalg.norm(columns, axis=0)
    # What is left of a constant column after its mean is subtracted is rounding error.
    tiny = 1e-12 * np.sqrt(len(columns))
    return np.asarray(np.where(lengths > tiny, columns / np.where(lengths > tiny, lengths, 1.0), 0.0))


class Best:
    """The best partner of each feature so far: its index, -1 before any was seen, and the similarity."""

    def __init__(self, features: int):
        self.partner = np.full(features, -1, np.int64)
        self.similarity = np.full(features, -np.inf, np.float32)

    def update(
        self,
        features: Int64[np.ndarray, "few"],
        partners: Int64[np.ndarray, "many"],
        found: Float32[np.ndarray, "few many"],
    ) -> None:
        """Take the largest of each row where it is larger; indices come in ascending order, so the first one stays."""
        place = found.argmax(1)
        value = found[np.arange(len(found)), place]
        better = value > self.similarity[features]
        self.partner[features[better]] = partners[place[better]]
        self.similarity[features[better]] = value[better]


def best_partners(first: Vectors, second: Vectors, order: Sequence[int] | None = None) -> tuple[Best, Best]:
    """The best partner of each feature of `first` in `second`, and the other way round.

    `order` shuffles the rows of `first`. Only blocks of the similarities are in memory: with 24,576 features on both
    sides, all of them would take 2.4 GB. If one side has no feature, the other finds no partner.
    """
    of_first, of_second = Best(len(first)), Best(len(second))
    for left in _blocks(first):
        mine = first.unit(left)[order].astype(np.float32) if order is not None else first.unit(left).astype(np.float32)
        for right in _blocks(second):
            # [row, left] and [row, right] -> [left, right]
            found = np.round(mine.T @ second.unit(right).astype(np.float32), DECIMALS)
            of_first.update(left, right, found)
            of_second.update(right, left, found.T)
    return of_first, of_second


def _blocks(vectors: Vectors) -> Iterator[Int64[np.ndarray, "few"]]:
    width = int(np.clip(BLOCK_BYTES // (4 * max(vectors.rows, 1)), 1, WIDEST))
    return (np.arange(at, min(at + width, len(vectors))) for at in range(0, len(vectors), width))


def similarity(
    first: Vectors, second: Vectors, partner: Int64[np.ndarray, "feature"]
) -> Float64[np.ndarray, "feature"]:
    """The similarity of each feature of `first` with its partner in `second`; NaN where that is -1."""
    found = np.full(len(first), np.nan)
    for block in _blocks(first):
        chosen = block[partner[block] >= 0]
        found[chosen] = (first.unit(chosen) * second.unit(partner[chosen])).sum(0)
    return found


def shuffled(names: Sequence[str]) -> list[int]:
    """An order of some names that has nothing to do with them and is the same everywhere: that of their hashes."""
    return sorted(range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest())


def chance_levels(
    n_active: Int64[np.ndarray, "feature"], best: Float32[np.ndarray, "feature"]
) -> Float32[np.ndarray, "feature"]:
    """The similarity that 95 % of the features that fire about as often do not exceed with shuffled rows.

    Which best similarity chance gives depends above all on how often a feature fires: a feature of one text matches any
    other of that text exactly. So the quantile is taken among features whose number of active texts is between the same
    two powers of two. `best` are the best similarities with shuffled rows.
    """
    octave = np.floor(np.log2(np.maximum(n_active, 1))).astype(np.int64)
    levels = np.zeros(len(best), np.float32)
    for group in np.unique(octave):
        inside = octave == group
        levels[inside] = np.quantile(best[inside], CHANCE, method="higher")
    return levels


def mutual(there: Int64[np.ndarray, "a"], back: Int64[np.ndarray, "b"]) -> Bool[np.ndarray, "a"]:
    """Whether each feature is the best partner of its own best partner."""
    known = there >= 0
    found = np.zeros(len(there), bool)
    found[known] = back[there[known]] == np.flatnonzero(known)
    return found
