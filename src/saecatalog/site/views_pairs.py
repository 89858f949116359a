"""The view model of the co-activation page: which features fire together, and how sure that is.

In: a `Catalog`. Out: plain values for the template and the chart of the heatmap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef
from saecatalog.site.groups import Row, rows
from saecatalog.site.matrices import alike, overlaps

STRONGEST = 40
IN_HEATMAP = 120
LEAST_OVERLAP = 0.02
IN_CLUSTER = 24


@dataclass(frozen=True)
class Pair:
    """Two features, their figures on tokens, and on texts where the pair was counted there too."""

    a: FeatureRef
    b: FeatureRef
    tokens: Row
    texts: Row | None


@dataclass(frozen=True)
class Cluster:
    """Features that fire together; `rest` counts the members left out of `members`."""

    number: int
    members: list[FeatureRef]
    rest: int


def coactivation(catalog: Catalog) -> dict[str, Any]:
    """The heatmap of the notable features, the strongest pairs and the clusters."""
    features, values = overlapping(catalog)
    return {
        "heatmap": charts.together(features, values, "coactivation") if features else None,
        "shown": len(features),
        "notable": len(catalog.paged),
        "pairs": pairs(catalog),
        "clusters": clusters(catalog),
    }


def overlapping(catalog: Catalog) -> tuple[list[int], list[list[float]]]:
    """The notable features that overlap with another one, the most overlapping first chosen, and their overlaps.

    They stand in an order that puts features which fire together side by side.
    """
    values = np.asarray(overlaps(catalog, catalog.paged)).reshape(len(catalog.paged), -1)
    best = values.max(axis=1, initial=0)
    chosen = [i for i in np.argsort(-best, kind="stable").tolist()[:IN_HEATMAP] if best[i] >= LEAST_OVERLAP]
    order = [chosen[i] for i in alike(values[np.ix_(chosen, chosen)].tolist())]
    return [catalog.paged[i] for i in order], values[np.ix_(order, order)].tolist()


def pairs(catalog: Catalog) -> list[Pair]:
    """The pairs with the largest phi on tokens."""
    frame = catalog.tables["coactivation"]
    on_tokens = frame[frame["level"] == "token"].sort_values(
        ["phi", "feature_a", "feature_b"], ascending=[False, True, True], kind="stable"
    )
    best = rows(on_tokens.head(STRONGEST))
    wanted = {row.feature_a for row in best}
    on_texts = frame[(frame["level"] == "text") & frame["feature_a"].isin(wanted)]
    texts = {(row.feature_a, row.feature_b): row for row in rows(on_texts)}
    return [
        Pair(catalog.ref(row.feature_a), catalog.ref(row.feature_b), row, texts.get((row.feature_a, row.feature_b)))
        for row in best
    ]


def clusters(catalog: Catalog) -> list[Cluster]:
    """The clusters, largest first, each with its first members."""
    members: dict[int, list[FeatureRef]] = {}
    for row in rows(catalog.tables["clusters"]):
        members.setdefault(row.cluster, []).append(catalog.ref(row.feature))
    return [Cluster(number + 1, refs[:IN_CLUSTER], len(refs[IN_CLUSTER:])) for number, refs in sorted(members.items())]
