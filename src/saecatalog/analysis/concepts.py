"""Which features respond to a concept's texts: text scores flow in, one row per concept and feature flows out."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import wilson
from saecatalog.analysis.text_groups import TextGroups


def texts_in_common(concepts: list[str], contents: list[str], corpus: list[str]) -> Bool[np.ndarray, "concept text"]:
    """For each concept, in the order of names, which texts of the corpus are equal to one of the concept's texts."""
    mine: dict[str, set[str]] = {name: set() for name in sorted(set(concepts))}
    for name, content in zip(concepts, contents, strict=True):
        mine[name].add(content)
    return np.array([[content in found for content in corpus] for found in mine.values()], bool)


def concept_rows(
    scores: TextScores,
    groups: TextGroups,
    corpus: TextScores,
    common: Bool[np.ndarray, "concept text"],
    strong: float,
    first: int = 0,
) -> pd.DataFrame:
    """Consistency, both means and contrast with the rest of the corpus, for features that fired on a concept's texts.

    `mean_all` divides by all texts of the concept, `mean_active` by those on which the feature fired. `first` is the
    number of the first column. If no text of the corpus remains for comparison, AUROC is 0.5.
    """
    matrix, n_texts = scores.by_feature, groups.sizes
    active, total, is_strong = groups.sums(matrix, None, matrix.data, matrix.data > strong)
    wins = _wins(scores, groups, active, corpus)
    # Texts of the concept that are also in the corpus do not count as rivals: subtract the wins against them.
    for row in np.flatnonzero(common.any(1)).tolist():
        wins[row] -= _wins(scores, groups, active, corpus.of_texts(common[row]))[row]
    n_rest = (corpus.n_texts - common.sum(1))[:, None]
    auroc = np.where(n_rest > 0, wins / np.maximum(n_texts * n_rest, 1), 0.5)
    concept, feature = np.nonzero(active)
    count, n = active[concept, feature], n_texts[concept, 0]
    low, high = wilson(is_strong[concept, feature], n)
    return pd.DataFrame(
        {
            "concept": np.array(groups.names, object)[concept],
            "feature": (feature + first).astype(np.int32),
            "n_texts": n.astype(np.int32),
            "n_active": count.astype(np.int32),
            "n_strong": is_strong[concept, feature].astype(np.int32),
            "consistency": is_strong[concept, feature] / n,
            "consistency_low": low,
            "consistency_high": high,
            "mean_all": total[concept, feature] / n,
            "mean_active": total[concept, feature] / count,
            "auroc": auroc[concept, feature],
        }
    )


def _wins(
    scores: TextScores, groups: TextGroups, active: Float64[np.ndarray, "group feature"], corpus: TextScores
) -> Float64[np.ndarray, "group feature"]:
    """Number of pairs of a group's text and a corpus text in which the group's text scores higher; ties count half."""
    silent = corpus.n_texts - np.diff(corpus.by_feature.indptr)
    (wins,) = groups.sums(scores.by_feature, wins_against(scores, corpus))
    # Texts of the group with score 0 have no entry. They tie with the silent texts of the corpus and win against none.
    return np.asarray(wins + (groups.sizes - active) * silent / 2)


def wins_against(scores: TextScores, corpus: TextScores) -> Float64[np.ndarray, "entry"]:
    """For each entry of `scores`, how many corpus texts score lower on its feature; equal scores count half."""
    mine, theirs = scores.by_feature, corpus.by_feature
    per_entry = np.empty(mine.nnz)
    for column in np.flatnonzero(np.diff(mine.indptr)).tolist():
        entries = slice(mine.indptr[column], mine.indptr[column + 1])
        ordered = np.sort(theirs.data[theirs.indptr[column] : theirs.indptr[column + 1]])
        lower = np.searchsorted(ordered, mine.data[entries], "left")
        up_to_equal = np.searchsorted(ordered, mine.data[entries], "right")
        # Corpus texts without an entry score 0, which is lower than any entry.
        per_entry[entries] = corpus.n_texts - len(ordered) + (lower + up_to_equal) / 2
    return per_entry
