"""The charts: each function takes numbers and gives a `Chart`, a Plotly figure as a plain dict and a still picture.

The dict holds data, axis titles and nothing about looks: no template, fonts or colours. `assets/charts.js` adds those
from the page's style sheet, so that a chart follows the light and the dark theme. Where a trace needs a colour it
names it in `meta.role`.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from markupsafe import Markup

from saecatalog.names import title
from saecatalog.site import svg
from saecatalog.site.formats import number, signed

Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """One chart: `figure` for Plotly, `picture` to stand without script, `label` what it shows in one sentence.

    `source` names the script file under `charts/` that carries a large figure; a small one lies in the page itself.
    """

    kind: str
    label: str
    figure: Figure
    picture: Markup = field(default_factory=Markup)
    source: str = ""

    @property
    def data(self) -> Markup:
        """The figure as JSON that is safe between script tags."""
        return Markup(script_json(self.figure))


def script_json(value: object) -> str:
    """JSON that may stand in HTML: `<`, `>` and `&` are escaped, so no tag can begin or end in it."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(text: str) -> str:
    """A text for Plotly, which would read tags in it."""
    return html.escape(text, quote=False)


def activations(edges: Sequence[float], counts: Sequence[int]) -> Chart:
    """How the active values of one feature are spread: bars over equal bins, counts on a log axis."""
    label = "Histogram of the activations, counts on a log axis"
    figure = _histogram(edges, counts, "Activation", "Tokens (log)", "%{x:.3g}: %{y:,} tokens")
    ticks = (number(edges[0], 2), number((edges[0] + edges[-1]) / 2, 2), number(edges[-1], 3))
    return Chart("bar", label, figure, svg.histogram(counts, label, "activation", ticks))


def logits(edges: Sequence[float], counts: Sequence[int]) -> Markup:
    """How the direct effects of one feature are spread over the vocabulary: a still picture only."""
    label = "Histogram of the direct effects on the logits of all tokens, counts on a log axis"
    return svg.spark(counts, label, signed(edges[0]), signed(edges[-1]))


def densities(edges: Sequence[float], counts: Sequence[int]) -> Chart:
    """How often the features of the SAE are active: features by the logarithm of their density."""
    label = "Histogram of the density of all features that fired; both axes are logarithmic"
    hover = "density 10<sup>%{x:.2f}</sup>: %{y:,} features"
    figure = _histogram(edges, counts, "Density: share of tokens (log₁₀)", "Features (log)", hover)
    ticks = tuple(f"10^{number(value, 2)}" for value in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1]))
    return Chart("bar", label, figure, svg.histogram(counts, label, "share of tokens on which active", ticks))


def by_category(active: Sequence[float], strong: Sequence[float], threshold: float) -> Chart:
    """In what share of each category's texts a feature is active, and strong.

    A table of the categories, in the same order, stands in the chart's place; the page's script takes their names from
    its first column, so that they are not in the page twice.
    """
    traces = [
        _bar(active, "active (score > 0)", "soft"),
        _bar(strong, f"strong (score > {threshold:g})", "accent"),
    ]
    layout = {
        "barmode": "overlay",
        "xaxis": {"title": {"text": "Share of texts"}, "tickformat": ".0%"},
        "yaxis": {"autorange": "reversed", "tickvals": list(range(len(active)))},
        "height": 110 + 22 * len(active),
    }
    label = "Share of each category's texts on which the feature is active, and strong"
    return Chart("bar", label, {"data": traces, "layout": layout})


def scores(
    rows: Sequence[int], texts: Sequence[str], groups: Sequence[str], values: Sequence[Sequence[float]], source: str
) -> Chart:
    """Features x texts, grouped by category: `values[i][j]` is the score of feature `rows[i]` on `texts[j]`."""
    label = f"Heatmap of the text score of {len(rows)} features on {len(texts)} texts, grouped by category"
    starts = [i for i, group in enumerate(groups) if i == 0 or groups[i - 1] != group]
    ends = [*starts[1:], len(groups)]
    middles = [(a + b - 1) // 2 for a, b in zip(starts, ends, strict=True)]
    hover = "feature %{y}<br>text %{x}<br>score %{z}"
    trace = _heatmap([f"#{n}" for n in rows], [plain(t) for t in texts], values, "Text score", hover)
    trace["zmax"] = _short(_upper(values), 2)
    lines = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": a - 0.5, "x1": a - 0.5, "y0": 0, "y1": 1}
        for a in starts[1:]
    ]
    layout = {
        "xaxis": {
            "type": "category",
            "title": {"text": "Texts, grouped by category"},
            "tickvals": [plain(texts[i]) for i in middles],
            "ticktext": [plain(title(groups[i])) for i in middles],
            "tickangle": -40,
        },
        "yaxis": {"type": "category", "autorange": "reversed", "title": {"text": "Feature"}},
        "shapes": lines,
        "height": 200 + (18 if len(rows) < 30 else 11) * len(rows),
        "meta": {"texts": list(texts), "features": list(rows)},
    }
    return Chart("heatmap", label, {"data": [trace], "layout": layout}, source=source)


def together(features: Sequence[int], values: Sequence[Sequence[float]], source: str) -> Chart:
    """Features x features: how much the tokens on which two features are active overlap."""
    label = f"Heatmap of the Jaccard overlap of {len(features)} features on tokens"
    names = [f"#{n}" for n in features]
    hover = "features %{y} and %{x}<br>Jaccard %{z:.3f}"
    trace = _heatmap(names, names, values, "Jaccard", hover)
    layout = {
        "xaxis": {"type": "category", "title": {"text": "Feature"}, "showticklabels": False, "constrain": "domain"},
        "yaxis": {
            "type": "category",
            "title": {"text": "Feature"},
            "showticklabels": False,
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
        },
        "height": 640,
        "meta": {"features": list(features)},
    }
    trace["zmax"] = _short(_upper(values), 2)
    picture = svg.matrix(values, (0.02, 0.05, 0.1, 0.2, 0.4), label)
    return Chart("heatmap", label, {"data": [trace], "layout": layout}, picture, source)


def _histogram(edges: Sequence[float], counts: Sequence[int], x_title: str, y_title: str, hover: str) -> Figure:
    width = (edges[-1] - edges[0]) / len(counts)
    trace = {
        "type": "bar",
        "x0": _short(edges[0] + width / 2),
        "dx": _short(width),
        "y": [int(n) for n in counts],
        "hovertemplate": hover + "<extra></extra>",
        "meta": {"role": "accent"},
    }
    layout = {
        "xaxis": {"title": {"text": x_title}},
        "yaxis": {"type": "log", "title": {"text": y_title}, "dtick": 1},
    }
    return {"data": [trace], "layout": layout}


def _bar(values: Sequence[float], name: str, role: str) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": plain(name),
        "x": [_short(v, 3) for v in values],
        "meta": {"role": role},
    }


def _heatmap(y: Sequence[str], x: Sequence[str], values: Sequence[Sequence[float]], unit: str, hover: str) -> Figure:
    return {
        "type": "heatmap",
        "x": list(x),
        "y": list(y),
        "z": [[_short(v) for v in row] for row in values],
        "zmin": 0,
        "hovertemplate": hover + "<extra></extra>",
        "colorbar": {"title": {"text": unit}},
        "meta": {"role": "heat"},
    }


def _upper(values: Sequence[Sequence[float]]) -> float:
    """Where a heatmap's colours end: the 98 % quantile of what is not 0, so that a few peaks do not pale the rest."""
    found = np.asarray(values, dtype=float)
    found = found[found > 0]
    return float(np.quantile(found, 0.98)) if found.size else 1.0


def _short(value: float, digits: int = 4) -> float | int:
    """Few significant digits, and a whole number where it is one: what a chart needs and no more."""
    if value == 0:
        return 0
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
