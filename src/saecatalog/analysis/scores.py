"""Text scores: one number per text and feature. Activations flow in, a sparse `[text, feature]` matrix flows out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from scipy import sparse

from saecatalog.analysis.activations import Activations, Block, CorpusTokens, UnreadBlock, first_largest, runs
from saecatalog.analysis.disk_arrays import Appended, by_column
from saecatalog.engines import Engine, Threads
from saecatalog.store import narrow


@dataclass(frozen=True)
class TextScores:
    """The scores above 0 of some texts and features."""

    by_feature: sparse.csc_matrix
    """`[text, feature]`; texts ascend within a feature."""
    positions: Int32[np.ndarray, "entry"]
    """For each entry of `by_feature`, the position of the largest activation (for the score `last`, the last one)."""
    scratch: Path | None = None
    """Folder for scratch arrays; None means the system's temporary folder."""

    @property
    def n_texts(self) -> int:
        return int(self.by_feature.shape[0])

    @property
    def d_sae(self) -> int:
        return int(self.by_feature.shape[1])

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """`[text, feature]` in CSR form; features ascend within a text."""
        # The transpose of a CSC matrix is a CSR matrix over the same arrays, which `by_column` converts.
        return by_column(self.by_feature.T, folder=self.scratch).T

    def block(self, first: int, stop: int) -> "TextScores":
        """The scores of the features from `first` up to `stop`."""
        matrix = self.by_feature
        entries = slice(matrix.indptr[first], matrix.indptr[stop])
        indptr = matrix.indptr[first : stop + 1] - matrix.indptr[first]
        columns = (matrix.data[entries], matrix.indices[entries], indptr)
        return TextScores(sparse.csc_matrix(columns, shape=(self.n_texts, stop - first)), self.positions[entries])

    def of_texts(self, chosen: Bool[np.ndarray, "text"]) -> "TextScores":
        """The scores on some of the texts, renumbered from 0."""
        matrix = self.by_feature
        # scipy can slice the rows of a CSC matrix, but it does not return `keep`, which the positions need.
        keep = chosen[matrix.indices]
        # The new bounds are the numbers of entries kept before the old ones. Then come the new numbers of the texts.
        kept = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
        rows = (np.cumsum(chosen) - 1)[matrix.indices[keep]]
        shape = (int(chosen.sum()), self.d_sae)
        return TextScores(sparse.csc_matrix((matrix.data[keep], rows, kept), shape=shape), self.positions[keep])


@dataclass(frozen=True)
class Scoring:
    """How texts are scored, the same for every block of features."""

    tokens: CorpusTokens
    score: str
    """`max`, `last` or `mean`."""


@dataclass(frozen=True)
class Peaks:
    """Every pair of a feature of a block and a text on which it is active, ordered by feature, then text."""

    columns: Int32[np.ndarray, "peak"]
    """The feature, counted from the block's first."""
    texts: Int32[np.ndarray, "peak"]
    starts: Int64[np.ndarray, "peak"]
    """The block's first entry in that text."""
    entries: Int64[np.ndarray, "peak"]
    """The block's strongest entry in that text, the earliest in a tie."""


def find_peaks(block: Block, token_texts: Int32[np.ndarray, "token"]) -> Peaks:
    """The strongest entry of each feature of a block in each text."""
    # Entries ascend by feature, then token, so those of one feature in one text are a run.
    texts = token_texts[block.tokens]
    starts = runs(block.columns, texts)
    return Peaks(block.columns[starts], texts[starts], starts, first_largest(block.values, starts))


def score_texts(
    activations: Activations,
    score: str,
    tick: Callable[[int], object] = lambda features: None,
    engine: Engine | None = None,
) -> TextScores:
    """Score every text by `max`, `last` or `mean` over its included tokens.

    `last` is the activation on the text's last token, or 0 if that position is excluded. `tick` is called with the
    number of features processed. The engine (default `Threads`) gets a block of features at a time.
    """
    folder = activations.scratch
    # Blocks are in the order of the features, so appending their parts gives the arrays of a CSC matrix.
    values, texts, positions = (Appended(folder, dtype) for dtype in (np.float32, np.int32, np.int32))
    counts = []
    found_by_block = (engine or Threads()).in_order(
        score_block, Scoring(activations.tokens, score), activations.blocks()
    )
    for found in found_by_block:
        for whole, part in zip((values, texts, positions), found[:3], strict=True):
            whole.append(part)
        counts.append(found[3])
        tick(len(found[3]))
    indptr = narrow(np.concatenate([[0], np.cumsum(np.concatenate(counts))]))
    shape = (activations.store.n_texts, activations.d_sae)
    matrix = sparse.csc_matrix((values.close(), texts.close(), indptr), shape=shape)
    return TextScores(matrix, positions.close(), folder)


def score_block(
    scoring: Scoring, part: Block | UnreadBlock
) -> tuple[
    Float32[np.ndarray, "entry"], Int32[np.ndarray, "entry"], Int32[np.ndarray, "entry"], Int64[np.ndarray, "feature"]
]:
    """The scores above 0 of a block, their texts and positions, and how many each feature has."""
    tokens, block = scoring.tokens, part.read()
    peaks = find_peaks(block, tokens.texts)
    columns, texts, entries = peaks.columns, peaks.texts, peaks.entries
    if scoring.score == "last":
        ends = tokens.text_offsets[1:]
        entries = np.flatnonzero(block.tokens == ends[tokens.texts[block.tokens]] - 1)
        columns, texts = block.columns[entries], tokens.texts[block.tokens[entries]]
    values = block.values[entries]
    if scoring.score == "mean" and len(entries):
        # Summed in double precision, in the order of the tokens, and divided by the number of all included tokens.
        sums = np.add.reduceat(block.values.astype(np.float64), peaks.starts)
        values = (sums / tokens.per_text[texts]).astype(np.float32)
    positions = tokens.positions[block.tokens[entries]]
    return values, texts, positions, np.bincount(columns, minlength=len(block))
