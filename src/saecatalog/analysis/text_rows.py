"""Facts about each text and the features that fire on it: a study flows in, rows of the tables of texts flow out."""

import numpy as np
from jaxtyping import Int64
from scipy import sparse

from saecatalog.analysis.activations import Block
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
    activations, scores = study.activations, study.scores
    by_feature, bounds = activations.by_feature, activations.store.text_offsets
    best = [_best_of_text(scores, text) for text in range(scores.n_texts)]
    entries = np.concatenate(best)
    sizes = np.array([len(found) for found in best])
    texts = np.repeat(np.arange(scores.n_texts), sizes)
    features = scores.matrix.indices[entries]
    # For each row, the entries of its feature in its text, [row, 2] from and up to, and the entry of its score.
    spans, places = np.empty((len(entries), 2), np.int64), np.empty(len(entries), np.int64)
    for i, (text, feature) in enumerate(zip(texts.tolist(), features.tolist(), strict=True)):
        spans[i] = _first_from(by_feature, feature, bounds[text : text + 2])
        places[i] = _first_from(scores.by_feature, feature, np.array([text]))[0]
    lengths = spans[:, 1] - spans[:, 0]
    shown, offsets = ranges(spans[:, 0], lengths), np.concatenate([[0], np.cumsum(lengths)])
    return {
        "text": study.shared.text_ids[texts],
        "rank": ranges(np.zeros(len(sizes), np.int64), sizes),
        "feature": features,
        "score": scores.matrix.data[entries],
        "position": scores.positions[places],
        "active_positions": Lists(activations.token_positions[by_feature.indices[shown]], offsets),
        "active_values": Lists(by_feature.data[shown], offsets),
    }


def _first_from(matrix: sparse.csc_matrix, column: int, rows: Int64[np.ndarray, "bound"]) -> Int64[np.ndarray, "bound"]:
    """The first entry of a column that is in each row or below it."""
    start, stop = int(matrix.indptr[column]), int(matrix.indptr[column + 1])
    # In the type of the indices; otherwise searchsorted would copy the whole column into a wider type.
    return np.asarray(start + np.searchsorted(matrix.indices[start:stop], np.asarray(rows, matrix.indices.dtype)))


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
