"""Which features respond to a concept's texts: text scores flow in, one row per concept and feature flows out.

A feature responds to a concept if its scores on the concept's texts contrast with those on the rest of the corpus. One
that fires on every text is strong on the texts of every concept, and responds to none.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64, Shaped
from scipy import sparse

from saecatalog.analysis.categories import HALVES, second_half
from saecatalog.analysis.concept_contrast import ConceptContrast
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg, difference_interval, wilson
from saecatalog.analysis.text_groups import Cells, TextGroups
from saecatalog.constants import CONCEPT_HALF, SURE_Q

TOO_FEW = "too few"
"""What `held_out` says where a concept has too few texts for two halves."""


@dataclass(frozen=True)
class ConceptTexts:
    """The texts of the concepts, and how they are compared with those of the corpus."""

    groups: TextGroups
    """The concept of each text."""
    second: Bool[np.ndarray, "text"]
    """Which of them are in the second half of their concept."""
    common: sparse.csr_matrix
    """`[text of the corpus, concept]`: which texts of the corpus are equal to one of a concept, and so no rivals."""
    corpus_second: Bool[np.ndarray, "text"]
    """Which texts of the corpus are in its second half."""

    @classmethod
    def of(
        cls, names: list[str], contents: list[str], corpus: list[str], corpus_second: Bool[np.ndarray, "text"]
    ) -> "ConceptTexts":
        """From the concept and the content of each text, in the order of their ids, and the contents of the corpus."""
        common = texts_in_common(names, contents, corpus)
        return cls(TextGroups.of(names), second_half(names), common, corpus_second)

    @cached_property
    def halved(self) -> Bool[np.ndarray, "concept"]:
        """Which concepts have enough texts for two halves."""
        return np.asarray(self.groups.of_texts(self.second).sizes >= CONCEPT_HALF)


@dataclass(frozen=True)
class ConceptFigures:
    """The rows of some features, by concept, then feature, and the number of pairs of a concept and a feature tested.

    A feature is tested on every concept if it fired on a text of the corpus or of any concept. Pairs without a row,
    where the feature is silent on the whole concept, have a p-value of 1.
    """

    columns: dict[str, Shaped[np.ndarray, "row"]]
    n_tests: int


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
    scores: TextScores, corpus: TextScores, texts: ConceptTexts, strong: float, first: int = 0
) -> ConceptFigures:
    """Consistency, both means and contrast with the rest of the corpus, for features that fired on a concept's texts.

    `scores` are those of the concepts' texts and `corpus` those of the corpus, of the same features, whose first has
    the number `first`. `strong` is the score above which a text is strong. `mean_all` divides by all texts of the
    concept, `mean_active` by those on which the feature fired. If no text of the corpus remains for comparison, AUROC
    is 0.5. The q-values and what follows from them are added by `concept_table`.
    """
    matrix, groups = scores.by_feature, texts.groups
    cells = groups.cells(matrix)
    count, total, is_strong = cells.sums(None, matrix.data, matrix.data > strong)
    n = groups.sizes[cells.group]
    low, high = wilson(is_strong, n)
    contrast = ConceptContrast(matrix, n, cells, corpus.by_feature, texts.common)
    auroc_low, auroc_high = contrast.ends
    fired = np.union1d(*(np.flatnonzero(np.diff(part.by_feature.indptr)) for part in (scores, corpus)))
    columns = {
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
        **_excess(is_strong, n, contrast.strong_rest(strong), contrast.n_rest),
        "auroc": contrast.auroc,
        "auroc_low": auroc_low,
        "auroc_high": auroc_high,
        "p_value": contrast.p,
        **{f"auroc_{half}": auroc for half, auroc in zip(HALVES, _halves(scores, corpus, texts, cells), strict=True)},
    }
    return ConceptFigures(columns, len(fired) * len(groups.names))


def concept_table(parts: list[ConceptFigures]) -> pd.DataFrame:
    """The figures of all blocks as one table, by concept and then feature: which features respond to which concept."""
    rows = pd.DataFrame({name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns})
    rows = rows.sort_values(["concept", "feature"], kind="stable", ignore_index=True)
    others = sum(part.n_tests for part in parts) - len(rows)
    p, counts = np.append(rows["p_value"], 1.0), np.append(np.ones(len(rows), np.int64), others)
    rows["q_value"] = benjamini_hochberg(p[: len(rows) + (others > 0)], counts[: len(rows) + (others > 0)])[: len(rows)]
    more = [(rows[f"auroc_{half}"] > 0.5).to_numpy() for half in HALVES]
    halved = rows["auroc_first"].notna().to_numpy()
    found = np.select([more[0] & more[1], *more], ["both", *HALVES], "")
    rows["held_out"] = np.where(halved, found, TOO_FEW).astype(object)
    rows["responds"] = (
        (rows["q_value"] <= SURE_Q)
        & (rows["auroc_low"] > 0.5)
        & (rows["excess"] >= 0)
        & rows["held_out"].isin(["both", TOO_FEW])
    )
    return rows


def _excess(
    strong: Float64[np.ndarray, "cell"],
    n: Int64[np.ndarray, "cell"],
    strong_rest: Float64[np.ndarray, "cell"],
    n_rest: Int64[np.ndarray, "cell"],
) -> dict[str, Shaped[np.ndarray, "cell"]]:
    """The columns of the strong rate in the rest of the corpus, and of how far the concept's rate exceeds it."""
    excess, low, high = difference_interval(strong, n, strong_rest, n_rest)
    return {
        "n_rest": n_rest.astype(np.int32),
        "strong_rest": strong_rest.astype(np.int32),
        "strong_rate_rest": strong_rest / np.maximum(n_rest, 1),
        "excess": excess,
        "excess_low": low,
        "excess_high": high,
    }


def _halves(
    scores: TextScores, corpus: TextScores, texts: ConceptTexts, cells: Cells
) -> list[Float64[np.ndarray, "cell"]]:
    """The AUROC of each half of a concept against the same half of the corpus; not a number if there are no halves."""
    found = []
    for mine, rivals in ((~texts.second, ~texts.corpus_second), (texts.second, texts.corpus_second)):
        part = scores.of_texts(mine).by_feature
        sizes = texts.groups.of_texts(mine).sizes[cells.group]
        inside = cells.of_entries(mine[scores.by_feature.indices])
        half = ConceptContrast(part, sizes, inside, corpus.of_texts(rivals).by_feature, texts.common[rivals])
        found.append(np.where(texts.halved[cells.group], half.auroc, np.nan))
    return found
