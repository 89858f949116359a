"""The charts: each function turns numbers into a static picture and the data with which `assets/charts.js` draws it.

The numbers of a small chart are in the page, as attributes for the script and in a table for readers; those of a
heatmap are in a separate script file. Fonts and colours come from the page's style sheet, so that a chart follows the
light and the dark theme.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from markupsafe import Markup

from saecatalog.constants import PARTNERS
from saecatalog.names import in_words
from saecatalog.site import svg
from saecatalog.site.formats import number, percent, signed

Box = tuple[int, int, int]
"""A cluster in a heatmap of pairs: its number, its first row and the row after its last."""
COLOUR_QUANTILE = 0.98
"""The quantile of the values above 0 at which the colours of a heatmap end."""
_TOPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The possible ends of the axis of shares."""


@dataclass(frozen=True)
class Histogram:
    """Counts over equal bins: `bins` pairs the start of each bin, as shown, with its count.

    `titles` are the axis titles, and `heads` the column headings of the table. `ends` are the ends of the first and
    last bin; if `log`, they are exponents of ten.
    """

    picture: Markup
    titles: tuple[str, str]
    heads: tuple[str, str]
    bins: list[tuple[str, int]]
    ends: str
    log: bool = False

    @property
    def counts(self) -> str:
        """The counts of the bins, as the script reads them."""
        return " ".join([str(count) for _, count in self.bins])


@dataclass(frozen=True)
class Shares:
    """Bars beside the table of their numbers; the axis ends at the share `top`.

    The counts are by category, as the script reads them.
    """

    picture: Markup
    top: float
    texts: str
    active: str
    strong: str


@dataclass(frozen=True)
class Heatmap:
    """A heatmap: `data` for the script file `charts/<source>.js`, and the value `top` at which the colours end.

    `kind` names the function of `assets/heatmaps.js` that draws it.
    """

    kind: str
    label: str
    unit: str
    top: float
    picture: Markup
    source: str
    data: dict[str, Any]


def script_json(value: object) -> str:
    """JSON that is safe in HTML: `<`, `>` and `&` are escaped, so that no tag can begin or end in it."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def activations(edges: Sequence[float], counts: Sequence[int]) -> Histogram:
    """The distribution of one feature's active values: bars over equal bins from 0, counts on a log axis.

    The table of numbers begins at the first bin with a token.
    """
    ticks = (number(edges[0], 2), number((edges[0] + edges[-1]) / 2, 2), number(edges[-1], 3))
    titles = ("Activation (SAE units)", "Tokens (log)")
    picture = svg.histogram(counts, "Histogram of activations", titles, ticks)
    first = next((i for i, count in enumerate(counts) if count), 0)
    bins = list(zip((number(edge) for edge in edges[first:-1]), counts[first:], strict=True))
    return Histogram(
        picture, titles, ("Activation from", "Tokens"), bins, f"{_short(edges[first])} {_short(edges[-1])}"
    )


def logits(edges: Sequence[float], counts: Sequence[int]) -> Markup:
    """The distribution of one feature's direct logit effects over the vocabulary, as a static picture only."""
    label = "Histogram of the direct logit effects on all tokens, log counts"
    return svg.spark(counts, label, signed(edges[0]), signed(edges[-1]))


def densities(edges: Sequence[float], counts: Sequence[int]) -> Histogram:
    """The distribution of the densities of the SAE's features; `edges` are exponents of ten."""
    label = "Histogram of the density of all features that fired, both axes logarithmic"
    ticks = [f"{100 * 10**edge:g} %" for edge in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])]
    titles = ("Density (share of tokens, log)", "Features (log)")
    picture = svg.histogram(counts, label, titles, ticks)
    bins = list(zip((percent(10**edge) for edge in edges[:-1]), counts, strict=True))
    ends = f"{_short(edges[0])} {_short(edges[-1])}"
    return Histogram(picture, titles, ("Density from", "Features"), bins, ends, log=True)


def by_category(texts: Sequence[int], active: Sequence[int], strong: Sequence[int]) -> Shares:
    """How many of each category's texts a feature is active and strong on."""
    active_share, strong_share = (
        [n / size if size else 0.0 for n, size in zip(counts, texts, strict=True)] for counts in (active, strong)
    )
    top = next(top for top in _TOPS if top >= max([*active_share, *strong_share, 0.0]))
    picture = svg.shares(active_share, strong_share, top)
    return Shares(picture, top, *(" ".join(map(str, counts)) for counts in (texts, active, strong)))


def scores(
    rows: Sequence[int],
    bands: Sequence[tuple[str, int]],
    texts: Sequence[int],
    values: Sequence[Sequence[float]],
    labels: Sequence[str],
    means: Sequence[Sequence[float]],
    source: str,
) -> Heatmap:
    """Features x texts, the texts in `bands` of (category, number of texts): `values[i][j]` is the score of `rows[i]`.

    `texts` are indices into the list of names that all heatmaps share. The static picture shows the `means` by
    category, with `labels` for its rows.
    """
    top = _upper(values)
    label = f"Heatmap of the text score of {len(rows)} features on {len(texts)} texts, grouped by category"
    still = f"Mean text score of {len(rows)} features in each of {len(bands)} categories"
    picture = svg.heat(labels, [title for title, _ in bands], means, top, still)
    z = [[_short(v, 3) for v in row] for row in values]
    data = {"features": list(rows), "bands": list(bands), "texts": list(texts), "z": z, "top": top}
    return Heatmap("scores", label, "Text score", top, picture, source, data)


def together(
    features: Sequence[int],
    values: Sequence[Sequence[float]],
    pairs: Sequence[Sequence[Any]],
    boxes: Sequence[Box],
    source: str,
) -> Heatmap:
    """Features x features: the overlap of the tokens on which two features are active.

    A row of `pairs` has the indices of the two in `features` and the figures that the page shows for them.
    """
    top = _upper(values)
    label = f"Heatmap of the Jaccard overlap of {len(features)} features on tokens"
    data = {
        "features": list(features),
        "pairs": list(pairs),
        "boxes": list(boxes),
        "top": top,
        "kept": in_words(PARTNERS),
    }
    picture = svg.matrix(values, top, label, boxes)
    return Heatmap("together", label, "Jaccard overlap on tokens", top, picture, source, data)


def short_row(values: Sequence[float]) -> list[float | int]:
    """Figures of a script file, to four significant digits."""
    return [_short(value) for value in values]


def _upper(values: Sequence[Sequence[float]]) -> float:
    """Where a heatmap's colours end: a quantile of the values above 0, so that a few peaks do not pale the rest."""
    found = np.asarray(values, dtype=float)
    found = found[found > 0]
    return _short(float(np.quantile(found, COLOUR_QUANTILE)), 2) if found.size else 1


def _short(value: float, digits: int = 4) -> float | int:
    """A number with few significant digits, as an integer if it is whole: no more than a chart needs."""
    if value == 0:
        return 0
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
