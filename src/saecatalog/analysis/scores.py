"""Text scores: one number per text and feature. Activations flow in, a sparse `[text, feature]` matrix flows out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from scipy import sparse

from saecatalog.analysis.activations import Activations, Block, first_largest, runs
from saecatalog.analysis.disk_arrays import Appended, by_column
from saecatalog.store import narrow
from saecatalog.threads import in_order


@dataclass(frozen=True)
class TextScores:
    """The scores above 0 of all texts and features."""

    by_feature: sparse.csc_matrix
    """`[text, feature]`; texts ascend within a feature."""
    positions: Int32[np.ndarray, "entry"]
    """For each entry, the position in its text with the largest activation (the last one for score `last`)."""
    scratch: Path | None = None
    """Where scratch arrays are made; None is the system's temporary folder."""

    @property
    def n_texts(self) -> int:
        return int(self.by_feature.shape[0])

    @property
    def d_sae(self) -> int:
        return int(self.by_feature.shape[1])

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """`[text, feature]` by rows; features ascend within a text."""
        return by_column(self.by_feature.T, folder=self.scratch).T

    def block(self, first: int, stop: int) -> "TextScores":
        """The scores of the features from `first` up to `stop`."""
        matrix = self.by_feature
        entries = slice(matrix.indptr[first], matrix.indptr[stop])
        indptr = matrix.indptr[first : stop + 1] - matrix.indptr[first]
        columns = (matrix.data[entries], matrix.indices[entries], indptr)
        return TextScores(sparse.csc_matrix(columns, shape=(self.n_texts, stop - first)), self.positions[entries])

    def of_texts(self, chosen: Bool[np.ndarray, "text"]) -> "TextScores":
        """The scores on some of the texts, numbered anew."""
        matrix = self.by_feature
        keep = chosen[matrix.indices]
        kept = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
        rows = (np.cumsum(chosen) - 1)[matrix.indices[keep]]
        shape = (int(chosen.sum()), self.d_sae)
        return TextScores(sparse.csc_matrix((matrix.data[keep], rows, kept), shape=shape), self.positions[keep])


@dataclass(frozen=True)
class Peaks:
    """Every text on which each feature of a block is active, feature by feature, texts in order."""

    columns: Int32[np.ndarray, "peak"]
    """The feature, counted from the block's first."""
    texts: Int32[np.ndarray, "peak"]
    starts: Int64[np.ndarray, "peak"]
    """The block's first entry in that text."""
    entries: Int64[np.ndarray, "peak"]
    """The block's strongest entry in that text, the earliest in a tie."""


def find_peaks(block: Block, token_texts: Int32[np.ndarray, "token"]) -> Peaks:
    """Where each feature is strongest in each text."""
    texts = token_texts[block.tokens]
    starts = runs(block.columns, texts)
    return Peaks(block.columns[starts], texts[starts], starts, first_largest(block.values, starts))


def score_texts(
    activations: Activations, score: str, tick: Callable[[int], object] = lambda features: None
) -> TextScores:
    """Score every text by `max`, `last` or `mean` over its counted tokens.

    `last` reads the text's last token, and is 0 where that position is excluded. `tick` is told of features done.
    """
    folder = activations.scratch
    values, texts, positions = (Appended(folder, dtype) for dtype in (np.float32, np.int32, np.int32))
    counts = []
    for found in in_order(lambda block: _score_block(activations, block, score), activations.blocks()):
        for whole, part in zip((values, texts, positions), found[:3], strict=True):
            whole.append(part)
        counts.append(found[3])
        tick(len(found[3]))
    indptr = narrow(np.concatenate([[0], np.cumsum(np.concatenate(counts))]))
    shape = (activations.store.n_texts, activations.d_sae)
    matrix = sparse.csc_matrix((values.close(), texts.close(), indptr), shape=shape)
    return TextScores(matrix, positions.close(), folder)


def _score_block(
    activations: Activations, block: Block, score: str
) -> tuple[Float32[np.ndarray, "entry"], np.ndarray, np.ndarray, np.ndarray]:
    """Scores, texts, positions, and how many each feature of the block has."""
    peaks = find_peaks(block, activations.token_texts)
    columns, texts, entries = peaks.columns, peaks.texts, peaks.entries
    if score == "last":
        ends = activations.store.text_offsets[1:]
        entries = np.flatnonzero(block.tokens == ends[activations.token_texts[block.tokens]] - 1)
        columns, texts = block.columns[entries], activations.token_texts[block.tokens[entries]]
    values = block.values[entries]
    if score == "mean" and len(entries):
        sums = np.add.reduceat(block.values.astype(np.float64), peaks.starts)
        values = (sums / activations.tokens_per_text[texts]).astype(np.float32)
    positions = activations.token_positions[block.tokens[entries]]
    return values, texts, positions, np.bincount(columns, minlength=len(block))
