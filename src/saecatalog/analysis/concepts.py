"""Which features respond to a concept's texts: text scores flow in, one row per concept and feature flows out."""

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64, UInt64
from scipy import sparse

from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import wilson
from saecatalog.analysis.text_groups import Cells, TextGroups, columns_of


def texts_in_common(concepts: list[str], contents: list[str], corpus: list[str]) -> sparse.csr_matrix:
    """`[text, concept]`: which texts of the corpus are equal to a text of a concept; concepts in order of names."""
    number = {name: place for place, name in enumerate(sorted(set(concepts)))}
    having: dict[str, set[int]] = {}
    for name, content in zip(concepts, contents, strict=True):
        having.setdefault(content, set()).add(number[name])
    found = [sorted(having.get(content, ())) for content in corpus]
    indptr = np.cumsum([0, *map(len, found)])
    indices = np.array([place for places in found for place in places], np.int64)
    return sparse.csr_matrix((np.ones(len(indices), bool), indices, indptr), shape=(len(corpus), len(number)))


def concept_rows(
    scores: TextScores,
    groups: TextGroups,
    corpus: TextScores,
    common: sparse.csr_matrix,
    strong: float,
    first: int = 0,
) -> pd.DataFrame:
    """Consistency, both means and contrast with the rest of the corpus, for features that fired on a concept's texts.

    `mean_all` divides by all texts of the concept, `mean_active` by those on which the feature fired. `common` is the
    result of `texts_in_common`, and `first` the number of the first column. If no text of the corpus remains for
    comparison, AUROC is 0.5.
    """
    matrix = scores.by_feature
    cells = groups.cells(matrix)
    count, total, is_strong = cells.sums(None, matrix.data, matrix.data > strong)
    n = groups.sizes[cells.group]
    low, high = wilson(is_strong, n)
    return pd.DataFrame(
        {
            "concept": np.array(groups.names, object)[cells.group],
            "feature": (cells.column + first).astype(np.int32),
            "n_texts": n.astype(np.int32),
            "n_active": count.astype(np.int32),
            "n_strong": is_strong.astype(np.int32),
            "consistency": is_strong / n,
            "consistency_low": low,
            "consistency_high": high,
            "mean_all": total / n,
            "mean_active": total / count,
            "auroc": _contrast(matrix, n, cells, corpus.by_feature, common),
        }
    )


def _contrast(
    matrix: sparse.csc_matrix,
    sizes: Int64[np.ndarray, "cell"],
    cells: Cells,
    corpus: sparse.csc_matrix,
    common: sparse.csr_matrix,
) -> Float64[np.ndarray, "cell"]:
    """The AUROC of each cell: a concept's scores on a feature against those of the corpus on the same feature.

    Texts of the concept that are also in the corpus are no rivals: the wins against them are subtracted.
    """
    n_texts, n_common = corpus.shape[0], np.bincount(common.indices, minlength=common.shape[1])[cells.group]
    wins = _wins(matrix.data, sizes, cells, cells.column, n_texts, columns_of(corpus), corpus.data)
    # Each score of the corpus is repeated for every concept with this text, and finds the cell that it is taken from.
    concepts = common[corpus.indices]
    entry = np.repeat(np.arange(corpus.nnz), np.diff(concepts.indptr))
    width = corpus.shape[1]
    own, codes = cells.group * width + cells.column, concepts.indices * width + columns_of(corpus)[entry]
    place = np.searchsorted(own, codes)
    found = np.append(own, -1)[place] == codes
    wins -= _wins(matrix.data, sizes, cells, np.arange(len(cells)), n_common, place[found], corpus.data[entry[found]])
    n_rest = n_texts - n_common
    return np.where(n_rest > 0, wins / np.maximum(sizes * n_rest, 1), 0.5)


def _wins(
    scores: Float32[np.ndarray, "entry"],
    sizes: Int64[np.ndarray, "cell"],
    cells: Cells,
    pools: Int64[np.ndarray, "cell"],
    n_rivals: Int64[np.ndarray, "cell"] | int,
    rival_pools: Int64[np.ndarray, "rival"],
    rivals: Float32[np.ndarray, "rival"],
) -> Float64[np.ndarray, "cell"]:
    """For each cell, the number of pairs of one of its texts and a rival in which the rival scores lower.

    Equal scores count half. `sizes` are the numbers of texts, and `scores` those above 0. A cell's rivals are the
    `n_rivals` texts of its pool; `rivals` are their scores above 0, and `rival_pools` says which pool each belongs to.
    """
    silent = n_rivals - np.bincount(rival_pools, minlength=int(pools.max(initial=0)) + 1)[pools]
    ordered = np.sort(_keys(rival_pools, rivals))
    mine = _keys(pools[cells.of_entry], scores)
    below = np.searchsorted(ordered, mine, "left") + np.searchsorted(ordered, mine, "right")
    earlier_pools = np.searchsorted(ordered, _keys(pools, np.zeros(len(pools), np.float32)))
    # Each score above 0 wins against all silent rivals, and each silent text ties with them.
    count, won = cells.sums(None, below / 2 - earlier_pools[cells.of_entry] + silent[cells.of_entry])
    return np.asarray(won + (sizes - count) * silent / 2)


def _keys(pools: Int64[np.ndarray, "n"], scores: Float32[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """Integers that are ordered by pool, then score: the bits of floats of 0 or more have the order of the floats."""
    return pools.astype(np.uint64) << np.uint64(32) | scores.view(np.uint32)
