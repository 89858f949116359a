"""Plotly figures of a catalog: the data of the charts on the pages flows in, figures for a notebook flow out."""

from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog
from saecatalog.site.heatmap_data import HeatmapNames
from saecatalog.site.pages import coactivation, groups

SCALE = "Cividis"
"""Readable with every kind of colour blindness."""
ROW, ABOVE, BELOW = 16, 170, 70
"""Pixels of a row of a heatmap, and of the space for titles above and below the rows."""
LOWEST = np.log10(0.7)
"""The lower end of a logarithmic axis of counts, so that a bar of one is seen."""


def category_heatmap(catalog: Catalog, which: str) -> go.Figure:
    """Features x texts, as on the overview of the categories; `which` is `notable` or `frequent`."""
    refs = catalog.categories
    names = HeatmapNames(catalog)
    data = groups.CategoryData.of(catalog, refs, overview=True)
    heatmap = groups.categories_heatmaps(catalog, data, names)[which]
    texts = [text for text, _, _ in names.data()["texts"]]
    shown = heatmap.data
    figure = _heatmap(catalog, heatmap, shown["z"], [texts[i] for i in shown["texts"]], shown["features"])
    counts = [count for _, count in shown["bands"]]
    ends = np.cumsum(counts) - 0.5
    for end in ends:
        figure.add_vline(end, line_width=1, line_color="white")
    bands = {"tickvals": ends - np.divide(counts, 2), "ticktext": [_plain(words) for words, _ in shown["bands"]]}
    figure.update_xaxes(side="top", tickangle=-35, **bands)
    return figure


def coactivation_heatmap(catalog: Catalog) -> go.Figure:
    """Features x features, as on the page of co-activation."""
    features, values = coactivation.overlapping(catalog)
    heatmap = charts.together(features, values, [], [], "")
    return _heatmap(catalog, heatmap, values, [f"#{feature}" for feature in features], features)


def histogram(catalog: Catalog, feature: int) -> go.Figure:
    """The distribution of one feature's active values, as on its page; empty if it is silent."""
    rows = catalog.tables.read("histograms", features=[feature])
    edges, counts = (rows[name].iloc[0] if len(rows) else [] for name in ("edges", "counts"))
    figure = go.Figure(go.Bar(x=edges[:-1], y=counts, width=[b - a for a, b in pairwise(edges)], offset=0))
    figure.update_layout(title=_name(catalog, feature), bargap=0)
    figure.update_xaxes(title="Activation (SAE units)")
    figure.update_yaxes(title="Tokens (log)", type="log", range=[LOWEST, np.log10(1.5 * max([*counts, 1]))])
    return figure


def effects_plot(catalog: Catalog) -> go.Figure:
    """Each feature's effect against that of its control, as on the page of effects; the line is that of chance."""
    rows = [row for row in catalog.effects.values() if row.n_control]
    x, y = ([getattr(row, name) for row in rows] for name in ("control_kl", "kl"))
    ends = [min([*x, *y], default=0.1), max([*x, *y], default=1)]
    names = [_name(catalog, row.feature) for row in rows]
    hover = "%{text}<br>feature %{y:.3g}, control %{x:.3g} nats<extra></extra>"
    points = go.Scatter(x=x, y=y, mode="markers", text=names, hovertemplate=hover, showlegend=False)
    line = go.Scatter(x=ends, y=ends, mode="lines", line={"dash": "dash"}, name="as the control", hoverinfo="skip")
    figure = go.Figure([line, points])
    figure.update_xaxes(title="Control: KL in nats (log)", type="log")
    figure.update_yaxes(title="Feature: KL in nats (log)", type="log")
    return figure


def _heatmap(catalog: Catalog, heatmap: charts.Heatmap, z: Any, columns: list[str], features: list[int]) -> go.Figure:
    """A heatmap with a row for each feature; colours end where those of the page do."""
    names = [_name(catalog, feature) for feature in features]
    hover = "%{y}<br>%{x}<br>" + heatmap.unit + " %{z}<extra></extra>"
    colours = {"zmin": 0, "zmax": heatmap.top, "colorscale": SCALE, "colorbar": {"title": heatmap.unit}}
    figure = go.Figure(go.Heatmap(z=z, x=columns, y=names, hovertemplate=hover, **colours))
    title = {"text": heatmap.label, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 16}}
    figure.update_layout(title=title, margin={"t": ABOVE, "b": BELOW}, height=ABOVE + ROW * len(features) + BELOW)
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", tickmode="linear", autorange="reversed", automargin=True)
    return figure


def _name(catalog: Catalog, feature: int) -> str:
    """A feature's number and label."""
    return _plain(f"#{feature} {catalog.ref(feature).label}".rstrip())


def _plain(words: str) -> str:
    """Words that Plotly shows as they are: it would read `<` as a tag."""
    return words.replace("&", "&amp;").replace("<", "&lt;")
