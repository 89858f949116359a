"""Which features a concept's texts share: text scores flow in, one row per concept and feature flows out."""

import numpy as np
import pandas as pd
from scipy import sparse

from saecatalog.analysis.scores import TextScores


def concept_table(concept_scores: TextScores, concepts: list[str], corpus: TextScores, strong: float) -> pd.DataFrame:
    """Consistency, both means and contrast with the corpus, for every feature that fired on a concept's texts.

    `mean_all` divides by all texts of the concept, `mean_active` by those on which the feature fired.
    """
    names, member = np.unique(np.array(concepts, object), return_inverse=True)
    n_texts = np.bincount(member, minlength=len(names))
    n = concept_scores.n_texts
    groups = sparse.csr_matrix((np.ones(n), (member, np.arange(n))), shape=(len(names), n))
    matrix = concept_scores.matrix
    active = _sums(groups, matrix, np.ones_like(matrix.data))
    total = _sums(groups, matrix, matrix.data.astype(np.float64))
    is_strong = _sums(groups, matrix, matrix.data > strong)
    wins = _sums(groups, matrix, wins_against(concept_scores, corpus))
    silent = corpus.n_texts - np.diff(corpus.by_feature.indptr)
    wins += (n_texts[:, None] - active) * silent / 2
    concept, feature = np.nonzero(active)
    count = active[concept, feature]
    return pd.DataFrame(
        {
            "concept": names[concept],
            "feature": feature.astype(np.int32),
            "n_texts": n_texts[concept].astype(np.int32),
            "n_active": count.astype(np.int32),
            "n_strong": is_strong[concept, feature].astype(np.int32),
            "consistency": is_strong[concept, feature] / n_texts[concept],
            "mean_all": total[concept, feature] / n_texts[concept],
            "mean_active": total[concept, feature] / count,
            "auroc": wins[concept, feature] / (n_texts[concept] * max(corpus.n_texts, 1)),
        }
    )


def _sums(groups: sparse.csr_matrix, matrix: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    return (groups @ sparse.csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)).toarray()


def wins_against(scores: TextScores, corpus: TextScores) -> np.ndarray:
    """For each entry of `scores`, the corpus texts whose score of that feature is lower, those equal counting half."""
    features = np.concatenate([corpus.matrix.indices, scores.matrix.indices]).astype(np.int64)
    values = np.concatenate([corpus.matrix.data, scores.matrix.data])
    is_corpus = np.arange(len(values)) < corpus.matrix.nnz
    order = np.lexsort((values, features))
    sorted_corpus = is_corpus[order]
    below = np.concatenate([[0], np.cumsum(sorted_corpus)])
    f, v = features[order], values[order]
    start = np.flatnonzero(np.concatenate([[True], (f[1:] != f[:-1]) | (v[1:] != v[:-1])])) if len(f) else order
    size = np.diff(np.concatenate([start, [len(f)]]))
    lower, equal = below[start], below[start + size] - below[start]
    per_entry = np.empty(len(values))
    per_entry[order] = np.repeat(lower + equal / 2, size)
    # Entries of smaller features were counted too: take them off, and add the silent texts, which lie below.
    n_active = np.bincount(corpus.matrix.indices, minlength=scores.d_sae)
    earlier = np.concatenate([[0], np.cumsum(n_active)])[:-1]
    mine = features[~is_corpus]
    return per_entry[~is_corpus] - earlier[mine] + (corpus.n_texts - n_active[mine])
