"""The dense rows behind the heatmaps: scores of a few features on texts grouped by category, and overlaps of pairs.

In: a `Catalog` and the features wanted. Out: lists of rows. The tables are read once for all features wanted, so the
cost does not grow with the number of heatmaps.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from saecatalog.site.catalog import Catalog

MOST_TEXTS = 1500
"""Texts in one heatmap at most; more would be thinner than a pixel. Each category keeps its share of them."""


class ScoreRows:
    """The text scores of chosen features on chosen texts, the texts in order of category."""

    def __init__(self, catalog: Catalog, wanted: Iterable[int]):
        frame = catalog.tables["texts"]
        self.texts, self.groups = _chosen_texts(frame, [ref.name for ref in catalog.categories])
        self.all_texts = len(frame)
        column = {text: i for i, text in enumerate(self.texts)}
        features = sorted(set(wanted))
        self._row = {number: i for i, number in enumerate(features)}
        self._values = np.zeros((len(features), len(self.texts)), dtype=np.float32)
        scores = catalog.tables.rows_of("text_scores", features)
        where = scores["text"].map(column).to_numpy()
        kept = ~pd.isna(where)
        rows = scores["feature"].map(self._row).to_numpy()[kept]
        self._values[rows.astype(int), where[kept].astype(int)] = scores["score"].to_numpy()[kept]

    def of(self, features: Sequence[int]) -> list[list[float]]:
        """One row of scores for each of these features, silent texts as 0."""
        return [self._values[self._row[number]].tolist() for number in features]


def overlaps(catalog: Catalog, features: Sequence[int]) -> list[list[float]]:
    """The Jaccard overlap on tokens of each pair of these features; 0 where there is none, and of each with itself."""
    place = {number: i for i, number in enumerate(features)}
    values = np.zeros((len(features), len(features)))
    pairs = catalog.tables["coactivation"]
    pairs = pairs[(pairs["level"] == "token") & pairs["feature_a"].isin(features) & pairs["feature_b"].isin(features)]
    rows = pairs["feature_a"].map(place).to_numpy(dtype=int)
    columns = pairs["feature_b"].map(place).to_numpy(dtype=int)
    values[rows, columns] = values[columns, rows] = pairs["jaccard"].to_numpy()
    result: list[list[float]] = values.tolist()
    return result


def alike(values: Sequence[Sequence[float]]) -> list[int]:
    """An order of the rows of a symmetric matrix that puts rows with large values between them side by side."""
    if len(values) < 3:
        return list(range(len(values)))
    distances = 1 - np.asarray(values)
    np.fill_diagonal(distances, 0)
    order: list[int] = leaves_list(linkage(squareform(distances), "average", optimal_ordering=True)).tolist()
    return order


def _chosen_texts(frame: pd.DataFrame, categories: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts in order of category and their categories; where there are too many, evenly spaced ones of each."""
    share = min(1.0, MOST_TEXTS / max(1, len(frame)))
    texts: list[str] = []
    groups: list[str] = []
    by_category = {str(name): part["text"].tolist() for name, part in frame.groupby("category", observed=True)}
    for name in categories:
        found = by_category.get(name, [])
        kept = max(1, round(len(found) * share)) if found else 0
        places = np.linspace(0, len(found) - 1, kept).round().astype(int).tolist() if kept else []
        texts += [found[i] for i in places]
        groups += [name] * kept
    return texts, groups
