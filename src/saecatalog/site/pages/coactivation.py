"""The view model of the co-activation page: which features fire together, with the evidence.

In: a `Catalog`. Out: plain values for the template and the chart of the heatmap.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from saecatalog.constants import CLUSTER_PHI
from saecatalog.names import in_words
from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef, TextRef
from saecatalog.site.charts import Box, short_row
from saecatalog.site.heatmap_data import HeatmapNames, SharedTexts, alike, best_overlaps, overlaps, side_by_side
from saecatalog.site.records import Groups, Row, rows
from saecatalog.site.text_parts import part_at

STRONGEST = 40
"""Pairs in the table."""
IN_HEATMAP, LEAST_OVERLAP = 120, 0.02
"""The most features in the heatmap, and the least overlap that a feature needs to be included."""
IN_CLUSTER, OPEN_CLUSTERS = 24, 12
"""Members of a cluster that are listed, and clusters that are shown before the reader opens the rest."""
COMMON_TOKENS = 3
"""How many top tokens of each member are searched for a cluster's common tokens, and how many are shown at most."""
IN_CELL, IN_ROW = 3, 2
"""How many texts on which both features fire are shown for a cell of the heatmap, and in a row of the table."""
SAME = 0.7
"""Decoder rows with at least this cosine point in nearly the same direction: about half of each row's squared norm (the
cosine squared) lies along the other."""
BY_CHANCE = 3.0
"""The cosine of two random directions is approximately normal with mean 0 and standard deviation 1 / sqrt(d). Rows are
called related or opposed beyond this many standard deviations."""
MOSTLY = 0.5
"""With a phi of at least this, two features fire mostly on the same tokens."""
OCCASIONS = ((0.9, "Nearly the same tokens"), (MOSTLY, "Mostly the same tokens"), (-1.0, "Some of the same tokens"))
"""For each least phi, what it says about the tokens on which two features are active."""
DIRECTIONS = ("nearly the same direction", "related directions", "unrelated directions", "opposed directions")
"""What the cosine of two decoder rows can say about their directions."""
FIGURES = ["jaccard", "n_both", "n_a", "n_b", "phi", "decoder_cosine"]


@dataclass(frozen=True)
class Pair:
    """Two features with their figures on tokens, and on texts if the pair was counted there too.

    `occasions` and `directions` are the verdict: how far the two fire on the same tokens, and how their decoder rows
    relate. `shared` are the texts on which the weaker of the two is strongest.
    """

    a: FeatureRef
    b: FeatureRef
    tokens: Row
    texts: Row | None
    occasions: str
    directions: str
    shared: list[TextRef]


@dataclass(frozen=True)
class Cluster:
    """Features that fire together. `rest` counts the members not in `members`, and `shown` those in the heatmap.

    `phi` is the mean over the cluster's `pairs` in the table. `tokens` are the tokens with a large share of the
    activation of at least half of the members, each with the number of those members.
    """

    number: int
    size: int
    members: list[FeatureRef]
    rest: int
    shown: int
    phi: float
    pairs: int
    tokens: list[tuple[str, int]]


def view(catalog: Catalog, names: HeatmapNames) -> dict[str, Any]:
    """The heatmap of the notable features, the strongest pairs and the clusters."""
    on_tokens = catalog.tables["coactivation"]
    on_tokens = on_tokens[on_tokens["level"] == "token"]
    features, values = overlapping(catalog)
    best = strongest(on_tokens)
    shared = SharedTexts(catalog, {*features, *best["feature_a"], *best["feature_b"]})
    boxes = outlines(catalog, features)
    found = cells(on_tokens, features, shared, names)
    listed = pairs(catalog, best, shared)
    verdicts = Counter(pair.directions for pair in listed)
    often = on_tokens.loc[on_tokens["phi"] >= MOSTLY, "decoder_cosine"]
    return {
        "heatmap": charts.together(features, values, found, boxes, "coactivation") if features else None,
        "shown": len(features),
        "notable": len(catalog.notable),
        "most": IN_HEATMAP,
        "least": LEAST_OVERLAP,
        "pairs": listed,
        "verdicts": [(words, verdicts[words]) for words in DIRECTIONS if verdicts[words]],
        "often": {"phi": MOSTLY, "pairs": len(often), "largest": float(often.max())} if len(often) else None,
        "rule": {"same": SAME, "chance": chance_cosine(catalog), "occasions": OCCASIONS[:2]},
        "cluster_phi": CLUSTER_PHI,
        "common_tokens": in_words(COMMON_TOKENS),
        "open_clusters": OPEN_CLUSTERS,
        "clusters": clusters(catalog, on_tokens, {number: end - start for number, start, end in boxes}),
    }


def overlapping(catalog: Catalog) -> tuple[list[int], list[list[float]]]:
    """The notable features that overlap most with another one, and the matrix of their overlaps.

    The order puts features that fire together side by side and keeps the members of a cluster together.
    """
    best = best_overlaps(catalog, catalog.notable)
    chosen = [n for n in sorted(best, key=lambda n: (-best[n], n))[:IN_HEATMAP] if best[n] >= LEAST_OVERLAP]
    values = overlaps(catalog, chosen)
    order = side_by_side([chosen[i] for i in alike(values)], cluster_of(catalog))
    return order, overlaps(catalog, order)


def cluster_of(catalog: Catalog) -> dict[int, int]:
    """The cluster number of each feature that is in a cluster; 1 is the largest."""
    return {row.feature: row.cluster + 1 for row in rows(catalog.tables["clusters"])}


def outlines(catalog: Catalog, features: list[int]) -> list[Box]:
    """The clusters with two or more features in the heatmap, and their rows there."""
    cluster = cluster_of(catalog)
    places: dict[int, list[int]] = {}
    for place, feature in enumerate(features):
        if feature in cluster:
            places.setdefault(cluster[feature], []).append(place)
    return [(number, found[0], found[-1] + 1) for number, found in places.items() if len(found) > 1]


def cells(on_tokens: pd.DataFrame, features: list[int], shared: SharedTexts, names: HeatmapNames) -> list[list[Any]]:
    """Each pair of the heatmap once: the rows of the two features, their `FIGURES`, and texts on which both fire."""
    names.add(features)
    place = {number: i for i, number in enumerate(features)}
    inside = on_tokens[on_tokens["feature_a"].isin(features) & on_tokens["feature_b"].isin(features)]
    return [
        [
            place[row.feature_a],
            place[row.feature_b],
            *short_row([getattr(row, name) for name in FIGURES]),
            list(map(names.text, shared.of(row.feature_a, row.feature_b, IN_CELL))),
        ]
        for row in rows(inside)
    ]


def strongest(on_tokens: pd.DataFrame) -> pd.DataFrame:
    """The pairs with the largest phi on tokens."""
    order = ["phi", "feature_a", "feature_b"]
    return on_tokens.sort_values(order, ascending=[False, True, True], kind="stable").head(STRONGEST)


def pairs(catalog: Catalog, best: pd.DataFrame, shared: SharedTexts) -> list[Pair]:
    """The strongest pairs with the texts where both features fire."""
    frame = catalog.tables["coactivation"]
    on_texts = frame[(frame["level"] == "text") & frame["feature_a"].isin(best["feature_a"])]
    texts = {(row.feature_a, row.feature_b): row for row in rows(on_texts)}
    return [
        Pair(
            catalog.ref(row.feature_a),
            catalog.ref(row.feature_b),
            row,
            texts.get((row.feature_a, row.feature_b)),
            occasions(row.phi),
            directions(row.decoder_cosine, chance_cosine(catalog)),
            [_spot(catalog, text, row) for text in shared.of(row.feature_a, row.feature_b, IN_ROW)],
        )
        for row in rows(best)
    ]


def occasions(phi: float) -> str:
    """How far two features with this phi fire on the same tokens."""
    return next(words for least, words in OCCASIONS if phi >= least)


def directions(cosine: float, chance: float) -> str:
    """How two decoder rows with this cosine relate, if the cosine of random rows stays within `chance` of 0."""
    same, related, unrelated, opposed = DIRECTIONS
    if cosine >= SAME:
        return same
    if abs(cosine) <= chance:
        return unrelated
    return related if cosine > 0 else opposed


def chance_cosine(catalog: Catalog) -> float:
    """The largest magnitude of the cosine of two random directions in the SAE's input space, by `BY_CHANCE`.

    It is at most `SAME`, which it would exceed in fewer than 19 dimensions.
    """
    return min(SAME, float(BY_CHANCE / np.sqrt(catalog.manifest["sae"]["d_in"])))


def clusters(catalog: Catalog, on_tokens: pd.DataFrame, shown: dict[int, int]) -> list[Cluster]:
    """The clusters, largest first, each with its first members and their common tokens."""
    cluster = cluster_of(catalog)
    members: dict[int, list[int]] = {}
    for feature, number in cluster.items():
        members.setdefault(number, []).append(feature)
    tokens = Groups(catalog.tables.read("tokens", features=cluster), "feature")
    a, b = on_tokens["feature_a"].map(cluster), on_tokens["feature_b"].map(cluster)
    inner = on_tokens[a == b].groupby(a[a == b])["phi"].agg(["mean", "count"])
    return [
        Cluster(
            number,
            len(found),
            [catalog.ref(feature) for feature in found[:IN_CLUSTER]],
            len(found[IN_CLUSTER:]),
            shown.get(number, 0),
            float(inner["mean"].get(number, np.nan)),
            int(inner["count"].get(number, 0)),
            _common_tokens(tokens, found),
        )
        for number, found in sorted(members.items())
    ]


def _common_tokens(tokens: Groups, members: list[int]) -> list[tuple[str, int]]:
    """The tokens among the top tokens of at least half of the members, the most common first."""
    found = Counter(
        token for n in members for token in dict.fromkeys(row.token for row in tokens.first(n, COMMON_TOKENS))
    )
    return [(token, n) for token, n in found.most_common(COMMON_TOKENS) if n > 1 and 2 * n >= len(members)]


def _spot(catalog: Catalog, text: str, pair: Row) -> TextRef:
    """A link to a text, at the place where its page shows one of the two features, if it does."""
    row = catalog.texts[text]
    ref = catalog.text_ref(text, row.category)
    listed = {entry.feature: entry for entry in catalog.by("text_top", "text")[text]}
    found = next((listed[n] for n in (pair.feature_a, pair.feature_b) if n in listed), None)
    if found is None:
        return ref
    return replace(ref, page=f"{part_at(row, found.position).page(ref.page)}#f{found.feature}")
