"""Plotly figures of a catalog: the data of the charts on the pages flows in, figures for a notebook flow out."""

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog
from saecatalog.site.heatmap_data import HeatmapNames
from saecatalog.site.pages import coactivation, groups

SCALE = "Cividis"
"""Readable with every kind of colour blindness."""
ROW, ABOVE = 16, 140
"""Pixels of a row of a heatmap, and of everything above and below the rows."""


def category_heatmap(catalog: Catalog, which: str) -> go.Figure:
    """Features x texts, as on the overview of the categories; `which` is `notable` or `frequent`."""
    refs = catalog.categories
    names = HeatmapNames(catalog)
    data = groups.CategoryData.of(catalog, refs, overview=True)
    heatmap = groups.categories_heatmaps(catalog, data, names)[which]
    texts = [text for text, _, _ in names.data()["texts"]]
    shown = heatmap.data
    figure = _heatmap(catalog, heatmap, shown["z"], [texts[i] for i in shown["texts"]], shown["features"])
    ends, start = [], 0
    for words, count in shown["bands"]:
        ends.append((start + count / 2 - 0.5, words))
        start += count
        figure.add_vline(start - 0.5, line_width=1, line_color="white")
    figure.update_xaxes(tickvals=[place for place, _ in ends], ticktext=[words for _, words in ends], side="top")
    return figure


def coactivation_heatmap(catalog: Catalog) -> go.Figure:
    """Features x features, as on the page of co-activation."""
    features, values = coactivation.overlapping(catalog)
    heatmap = charts.together(features, values, [], [], "")
    figure = _heatmap(catalog, heatmap, values, [str(feature) for feature in features], features)
    figure.update_xaxes(tickvals=list(range(len(features))), ticktext=[f"#{feature}" for feature in features])
    return figure


def histogram(catalog: Catalog, feature: int) -> go.Figure:
    """The distribution of one feature's active values, as on its page; empty if it is silent."""
    rows = catalog.tables.read("histograms", features=[feature])
    edges, counts = (rows[name].iloc[0] if len(rows) else [] for name in ("edges", "counts"))
    figure = go.Figure(go.Bar(x=edges[:-1], y=counts, width=[b - a for a, b in pairwise(edges)], offset=0))
    figure.update_layout(title=_name(catalog, feature), bargap=0)
    figure.update_xaxes(title="Activation (SAE units)")
    figure.update_yaxes(title="Tokens (log)", type="log")
    return figure


def _heatmap(catalog: Catalog, heatmap: charts.Heatmap, z: Any, columns: list[str], features: list[int]) -> go.Figure:
    """A heatmap with a row for each feature; colours end where those of the page do."""
    names = [_name(catalog, feature) for feature in features]
    hover = "%{y}<br>%{customdata}<br>" + heatmap.unit + " %{z}<extra></extra>"
    trace = go.Heatmap(
        z=z, y=names, zmin=0, zmax=heatmap.top, colorscale=SCALE,
        customdata=[columns] * len(features), hovertemplate=hover, colorbar={"title": heatmap.unit},
    )  # fmt: skip
    figure = go.Figure(trace)
    figure.update_layout(title=heatmap.label, height=ABOVE + ROW * len(features))
    figure.update_yaxes(tickmode="linear", autorange="reversed", automargin=True)
    return figure


def _name(catalog: Catalog, feature: int) -> str:
    """A feature's number and label; Plotly would read `<` as a tag."""
    return f"#{feature} {catalog.ref(feature).label}".rstrip().replace("&", "&amp;").replace("<", "&lt;")
