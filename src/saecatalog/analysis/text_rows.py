"""Facts about each text and the features that fire on it: a study flows in, rows of the tables of texts flow out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from scipy import sparse

from saecatalog.analysis.activations import Block, CorpusTokens, UnreadBlock
from saecatalog.analysis.categories import HALVES
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.study import Shared, Study
from saecatalog.constants import TEXT_TOP
from saecatalog.store import ranges
from saecatalog.tables import Coded, Columns, Lists


def text_rows(study: Study) -> Columns:
    """One row per text of the corpus, with the ends of its tokens."""
    store, texts = study.activations.store, study.inputs.texts
    n_tokens = np.diff(store.text_offsets)
    return {
        "text": study.shared.text_ids,
        "category": study.shared.categories,
        "source": [t.source for t in texts],
        "file": [t.file for t in texts],
        "half": Coded(HALVES, study.shared.second.astype(np.int32)),
        "n_tokens": n_tokens,
        "n_excluded": n_tokens - study.activations.tokens.per_text,
        "content": [t.content for t in texts],
        "title": [t.title for t in texts],
        "link": [t.link for t in texts],
        "special_tokens": [t.special_tokens for t in texts],
        "token_ends": Lists(np.asarray(store.token_ends), np.asarray(store.text_offsets)),
    }


def concept_text_rows(study: Study) -> Columns:
    """One row per text of the concepts, which are not part of the corpus."""
    texts, found = study.inputs.concept_texts, study.concepts and study.concepts.activations
    n_tokens = np.diff(found.store.text_offsets) if found else np.empty(0, np.int64)
    return {
        "concept": [t.category for t in texts],
        "text": [t.id for t in texts],
        "source": [t.source for t in texts],
        "n_tokens": n_tokens,
        "n_excluded": n_tokens - found.tokens.per_text if found else n_tokens,
        "content": [t.content for t in texts],
        "special_tokens": [t.special_tokens for t in texts],
    }


def text_score_rows(shared: Shared, block: Block, scores: TextScores) -> Columns:
    """The text scores above 0 of a block's features, by text and then feature: in this order they compress best."""
    matrix = scores.by_feature
    # A matrix whose values are the numbers of the entries: converted from CSC to CSR, it gives their order by text.
    entries = np.arange(matrix.nnz, dtype=np.int32)
    by_text = sparse.csc_matrix((entries, matrix.indices, matrix.indptr), shape=matrix.shape).tocsr()
    texts = np.repeat(np.arange(scores.n_texts), np.diff(by_text.indptr))
    return {
        "text": Coded(shared.text_ids, texts),
        "category": Coded(shared.groups.names, shared.groups.member[texts]),
        "feature": block.first + by_text.indices,
        "score": matrix.data[by_text.data],
        "position": scores.positions[by_text.data],
    }


def text_top_rows(study: Study) -> Columns:
    """The features with the largest score on each text, with every activation in it."""
    scores = study.scores
    best = [_best_of_text(scores, text) for text in range(scores.n_texts)]
    entries = np.concatenate(best)
    sizes = np.array([len(found) for found in best])
    texts = np.repeat(np.arange(scores.n_texts), sizes)
    features = scores.matrix.indices[entries]
    # The entry of each row's score.
    places = np.empty(len(entries), np.int64)
    for i, (text, feature) in enumerate(zip(texts.tolist(), features.tolist(), strict=True)):
        start, stop = scores.by_feature.indptr[feature : feature + 2]
        places[i] = start + _first_from(scores.by_feature.indices[start:stop], np.array([text]))[0]
    lengths, positions, values = _shown(study, texts, features)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return {
        "text": study.shared.text_ids[texts],
        "rank": ranges(np.zeros(len(sizes), np.int64), sizes),
        "feature": features,
        "score": scores.matrix.data[entries],
        "position": scores.positions[places],
        "active_positions": Lists(positions, offsets),
        "active_values": Lists(values, offsets),
    }


@dataclass(frozen=True)
class Showing:
    """A block of features, and the texts on which each of some of them is shown."""

    block: Block | UnreadBlock
    features: Int32[np.ndarray, "row"]
    """Ascending."""
    texts: Int64[np.ndarray, "row"]


Shown = tuple[Int64[np.ndarray, "row"], Int32[np.ndarray, "entry"], Float32[np.ndarray, "entry"]]
"""How many tokens of each row's text its feature is active on, and the positions and activations, row after row."""


def _shown(study: Study, texts: Int64[np.ndarray, "row"], features: Int32[np.ndarray, "row"]) -> Shown:
    """Where the feature of each row is active in its text."""
    order = np.argsort(features, kind="stable")
    texts, features = texts[order], features[order]
    found = list(study.engine.in_order(show_block, study.activations.tokens, _showing(study, texts, features)))
    lengths, positions, values = (np.concatenate(part) for part in zip(*found, strict=True))
    # From the order of the blocks into that of the rows.
    back = np.argsort(order)
    starts = np.cumsum(lengths) - lengths
    entries = ranges(starts[back], lengths[back])
    return lengths[back], positions[entries], values[entries]


def _showing(study: Study, texts: Int64[np.ndarray, "row"], features: Int32[np.ndarray, "row"]) -> Iterator[Showing]:
    """The rows by block."""
    for block in study.activations.blocks():
        start, stop = np.searchsorted(features, [block.first, block.first + len(block)])
        yield Showing(block, features[start:stop], texts[start:stop])


def show_block(tokens: CorpusTokens, part: Showing) -> Shown:
    """The rows of one block."""
    block = part.block.read()
    spans = np.empty((len(part.features), 2), np.int64)
    for i, (feature, text) in enumerate(zip(part.features.tolist(), part.texts.tolist(), strict=True)):
        start, stop = block.indptr[feature - block.first : feature - block.first + 2]
        spans[i] = start + _first_from(block.tokens[start:stop], tokens.text_offsets[text : text + 2])
    lengths = spans[:, 1] - spans[:, 0]
    entries = ranges(spans[:, 0], lengths)
    return lengths, tokens.positions[block.tokens[entries]], block.values[entries]


def _first_from(rows: Int32[np.ndarray, "entry"], wanted: Int64[np.ndarray, "bound"]) -> Int64[np.ndarray, "bound"]:
    """The first entry of a feature that is in each row or below it; the rows of its entries ascend."""
    # In the type of the rows; otherwise searchsorted would copy them all into a wider type.
    return np.searchsorted(rows, np.asarray(wanted, rows.dtype))


def _best_of_text(scores: TextScores, text: int) -> Int64[np.ndarray, "entry"]:
    """The entries of `scores.matrix` with the largest scores of one text; the smaller feature first in a tie."""
    start, stop = int(scores.matrix.indptr[text]), int(scores.matrix.indptr[text + 1])
    values = scores.matrix.data[start:stop]
    # Only scores that reach the last place are sorted, because a long text has scores of thousands of features.
    if len(values) > TEXT_TOP:
        candidates = np.flatnonzero(values >= np.partition(values, len(values) - TEXT_TOP)[len(values) - TEXT_TOP])
    else:
        candidates = np.arange(len(values))
    return start + candidates[np.argsort(-values[candidates], kind="stable")[:TEXT_TOP]]
