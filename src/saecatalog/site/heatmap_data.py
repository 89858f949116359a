"""The data of the heatmaps: scores of some features on texts grouped by category, and overlaps of pairs.

In: a `Catalog` and the features. Out: lists of rows, and the names that all heatmaps share. The tables are read once
for all features, so the cost does not grow with the number of heatmaps.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from saecatalog.names import title
from saecatalog.site.catalog import Catalog, GroupRef
from saecatalog.site.tokens import shorten

MOST_TEXTS = 1500
"""The most texts in one heatmap; more would be thinner than a pixel. Each category keeps its share of them."""
BEGINNING = 90
"""Characters of a text that a heatmap shows after its name."""


class ScoreRows:
    """The text scores of chosen features on chosen texts, with the texts in order of category."""

    def __init__(self, catalog: Catalog, wanted: Iterable[int]):
        frame = catalog.tables["texts"]
        self.texts, self.groups = _chosen_texts(frame, [ref.name for ref in catalog.categories])
        self._sizes = frame["category"].value_counts().to_dict()
        self._row, self._values = _scores(catalog, wanted, self.texts)

    def places(self, categories: Sequence[GroupRef]) -> list[int]:
        """The indices in `texts` of the texts of some categories."""
        wanted = {ref.name for ref in categories}
        return [place for place, name in enumerate(self.groups) if name in wanted]

    def n_texts(self, categories: Sequence[GroupRef]) -> int:
        """The number of texts of some categories, those left out here included."""
        return sum(int(self._sizes.get(ref.name, 0)) for ref in categories)

    def of(self, features: Sequence[int], places: Sequence[int]) -> list[list[float]]:
        """One row of scores for each of these features, on the texts at these places; silent texts are 0."""
        rows = self._values[[self._row[number] for number in features]]
        found: list[list[float]] = rows.toarray()[:, places].tolist()
        return found

    def bands(self, places: Sequence[int]) -> list[tuple[str, int]]:
        """The title and number of texts of each category with texts at these places, in the order of the texts."""
        return [(title(name), len(list(same))) for name, same in groupby(self.groups[place] for place in places)]


class Means:
    """The mean score of chosen features in each category, in the order of the catalog's categories."""

    def __init__(self, catalog: Catalog, wanted: Iterable[int]):
        features, self._categories = sorted(set(wanted)), catalog.categories
        self._row = {number: i for i, number in enumerate(features)}
        found = catalog.tables.read("categories", ["category", "feature", "mean_inside"], features)
        column = {ref.name: i for i, ref in enumerate(self._categories)}
        where = (found["feature"].map(self._row).to_numpy(int), found["category"].map(column).to_numpy(int))
        shape = (len(features), len(self._categories))
        self._values = sparse.csr_matrix((found["mean_inside"].to_numpy(), where), shape=shape)

    def of(self, features: Sequence[int]) -> np.ndarray:
        """`[feature, category]`; 0 where the feature is silent."""
        return np.asarray(self._values[[self._row[number] for number in features]].toarray())

    def most_active(self, features: Sequence[int], own: GroupRef, most: int) -> list[GroupRef]:
        """`own` and the other categories in which these features have the largest mean scores, by the sum of the means.

        At most `most` categories, in the order of the catalog's; the earlier one wins a tie.
        """
        total = self.of(features).sum(0, dtype=np.float64)
        total[self._categories.index(own)] = np.inf
        chosen = np.sort(np.argsort(-total, kind="stable")[:most])
        return [self._categories[i] for i in chosen.tolist()]


class SharedTexts:
    """The texts on which two features both fire."""

    def __init__(self, catalog: Catalog, wanted: Iterable[int]):
        self.texts: list[str] = list(catalog.texts)
        self._row, values = _scores(catalog, wanted, self.texts)
        self._values = values.toarray()

    def of(self, a: int, b: int, most: int) -> list[str]:
        """The texts on which the weaker of the two is strongest, best first; ties in the order of the texts."""
        weaker = np.minimum(self._values[self._row[a]], self._values[self._row[b]])
        found = np.flatnonzero(weaker)
        return [self.texts[i] for i in found[np.argsort(-weaker[found], kind="stable")][:most]]


class HeatmapNames:
    """The names of the features and texts in all heatmaps: collected while these are made, written to one script."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._texts: dict[str, int] = {}
        self._features: set[int] = set()

    def text(self, text: str) -> int:
        """The index of a text in the list of texts."""
        return self._texts.setdefault(text, len(self._texts))

    def add(self, features: Iterable[int]) -> None:
        """Add features whose names are needed."""
        self._features.update(features)

    def data(self) -> dict[str, Any]:
        """Label and address of each feature, and id, name and beginning of each text."""
        refs = [self._catalog.ref(number) for number in sorted(self._features)]
        rows = [self._catalog.texts[text] for text in self._texts]
        return {
            "features": {str(ref.number): [ref.label, ref.page] for ref in refs},
            "texts": [
                [row.text, self._catalog.text_ref(row.text, row.category).name, shorten(row.content, BEGINNING)]
                for row in rows
            ],
        }


def overlaps(catalog: Catalog, features: Sequence[int]) -> list[list[float]]:
    """The Jaccard overlap on tokens of each pair of these features; 0 for pairs without a row, and on the diagonal."""
    place = {number: i for i, number in enumerate(features)}
    values = np.zeros((len(features), len(features)))
    pairs = _among(catalog, features)
    rows = pairs["feature_a"].map(place).to_numpy(dtype=int)
    columns = pairs["feature_b"].map(place).to_numpy(dtype=int)
    values[rows, columns] = values[columns, rows] = pairs["jaccard"].to_numpy()
    result: list[list[float]] = values.tolist()
    return result


def best_overlaps(catalog: Catalog, features: Sequence[int]) -> dict[int, float]:
    """The largest overlap of each of these features that overlaps with another one."""
    pairs = _among(catalog, features)
    both = pd.concat([pairs.set_index(side)["jaccard"] for side in ("feature_a", "feature_b")])
    return {int(number): float(value) for number, value in both.groupby(level=0).max().items()}


def _among(catalog: Catalog, features: Sequence[int]) -> pd.DataFrame:
    """The pairs of these features on tokens."""
    pairs = catalog.tables["coactivation"]
    inside = pairs["feature_a"].isin(features) & pairs["feature_b"].isin(features)
    return pairs[(pairs["level"] == "token") & inside]


def alike(values: Sequence[Sequence[float]]) -> list[int]:
    """An order of the rows of a symmetric matrix that puts pairs with large values side by side."""
    if len(values) < 3:
        return list(range(len(values)))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = 1 - np.asarray(values)
    np.fill_diagonal(distances, 0)
    order: list[int] = leaves_list(linkage(squareform(distances), "average", optimal_ordering=True)).tolist()
    return order


def side_by_side(order: Sequence[int], group: Mapping[int, int]) -> list[int]:
    """The same order with the members of each group moved next to the first of them."""
    first: dict[tuple[bool, int], int] = {}
    keys = [(n in group, group.get(n, n)) for n in order]
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    return [n for _, n in sorted(zip(keys, order, strict=True), key=lambda pair: first[pair[0]])]


def _scores(catalog: Catalog, wanted: Iterable[int], texts: Sequence[str]) -> tuple[dict[int, int], sparse.csr_matrix]:
    """The row of each feature, and the text scores `[feature, text]`."""
    features = sorted(set(wanted))
    row = {number: i for i, number in enumerate(features)}
    column = {text: i for i, text in enumerate(texts)}
    scores = catalog.tables.read("text_scores", ["feature", "text", "score"], features)
    where = scores["text"].map(column).to_numpy()
    kept = ~pd.isna(where)
    rows, columns = scores["feature"].map(row).to_numpy()[kept].astype(int), where[kept].astype(int)
    shape = (len(features), len(texts))
    return row, sparse.csr_matrix((scores["score"].to_numpy()[kept], (rows, columns)), shape=shape)


def _chosen_texts(frame: pd.DataFrame, categories: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts in order of category, and their categories; if there are too many, evenly spaced texts of each category."""
    share = min(1.0, MOST_TEXTS / max(1, len(frame)))
    texts: list[str] = []
    groups: list[str] = []
    by_category = {str(name): part["text"].tolist() for name, part in frame.groupby("category")}
    for name in categories:
        found = by_category.get(name, [])
        kept = max(1, round(len(found) * share)) if found else 0
        places = np.linspace(0, len(found) - 1, kept).round().astype(int).tolist() if kept else []
        texts += [found[i] for i in places]
        groups += [name] * kept
    return texts, groups
