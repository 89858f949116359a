"""The view model of the co-activation page: which features fire together, and how sure that is.

In: a `Catalog`. Out: plain values for the template and the chart of the heatmap.
"""

from dataclasses import dataclass
from typing import Any

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef
from saecatalog.site.groups import Row, rows
from saecatalog.site.matrices import overlaps

STRONGEST = 60
IN_HEATMAP = 160
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
    found = clusters(catalog)
    features = heatmap_order(catalog)
    return {
        "heatmap": charts.together(features, overlaps(catalog, features), "coactivation") if features else None,
        "shown": len(features),
        "pairs": pairs(catalog),
        "clusters": found,
    }


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
    grouped = catalog.by("clusters", "cluster")
    found = []
    for number in sorted(grouped, key=int):  # type: ignore[call-overload]
        members = [catalog.ref(row.feature) for row in grouped[number]]
        found.append(Cluster(int(str(number)), members[:IN_CLUSTER], len(members[IN_CLUSTER:])))
    return found


def heatmap_order(catalog: Catalog) -> list[int]:
    """The features of the heatmap: clusters together, then the others with a page, the strongest first."""
    frame = catalog.tables["clusters"].sort_values("cluster", kind="stable")
    grouped = [n for n in frame["feature"].tolist() if catalog.features[n].page]
    rest = sorted(catalog.paged, key=lambda number: -catalog.features[number].max)
    return list(dict.fromkeys(grouped + rest))[:IN_HEATMAP]
