"""The view models of a feature's page, its embed and the table of all features.

In: a `Catalog` and a feature's number. Out: plain values for the templates; nothing here knows HTML or the disk.
"""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from saecatalog.names import slug, title
from saecatalog.site import charts, cite, tokens
from saecatalog.site.catalog import Catalog, FeatureRef, TextRef, split_reasons
from saecatalog.site.charts import Chart
from saecatalog.site.groups import Row

BANDS = {
    "q75-100": "Strongest quarter",
    "q50-75": "Second quarter",
    "q25-50": "Third quarter",
    "q0-25": "Weakest quarter",
}
PARTNERS = 8
EMBEDDED_EXAMPLES = 5


@dataclass(frozen=True)
class Reason:
    """Why a feature is notable: the words, its place in the ranking (0 where it has none) and where the ranking is."""

    text: str
    place: int
    page: str


@dataclass(frozen=True)
class Example:
    """One context: the marked text, the token at its peak, and where it comes from."""

    anchor: str
    markup: Markup
    cut_before: bool
    cut_after: bool
    token: Markup
    position: int
    activation: float
    text: TextRef
    similar: int


@dataclass(frozen=True)
class Band:
    """Examples from one quarter of the active tokens by rank, and the activations they span."""

    name: str
    title: str
    low: float
    high: float
    examples: list[Example]


@dataclass(frozen=True)
class Share:
    """How many texts of one category a feature is active and strong on."""

    name: str
    title: str
    page: str
    texts: int
    active: int
    strong: int
    mean: float


@dataclass(frozen=True)
class Partner:
    """A feature that fires together with the one shown, counted on tokens and, where known, on texts."""

    ref: FeatureRef
    both: int
    own: int
    phi: float
    lift: float
    cosine: float
    texts_both: int | None


def feature(catalog: Catalog, number: int) -> dict[str, Any]:
    """Everything the page of one feature shows."""
    row = catalog.features[number]
    previous, following = _around(catalog, number)
    logits = catalog.by("logits")[number]
    by_category = shares(catalog, number)
    return {
        "f": row,
        "reasons": reasons(catalog, row),
        "neuronpedia": catalog.neuronpedia(number),
        "previous": previous,
        "next": following,
        "examples": examples(catalog, row, "top"),
        "bands": _bands(catalog, row),
        "histogram": histogram(catalog, number),
        "bins": _bins(catalog, number),
        "shares": by_category,
        "category_chart": _category_chart(catalog, by_category),
        "fires_on": catalog.by("tokens")[number],
        "promoted": [r for r in logits if r.direction == "promoted"],
        "suppressed": [r for r in logits if r.direction == "suppressed"],
        "partners": _partners(catalog, number),
        "neighbours": [(catalog.ref(r.neighbour), r.cosine) for r in catalog.by("neighbours")[number]],
        "cite": cite.feature(catalog.manifest, row),
    }


def embed(catalog: Catalog, number: int) -> dict[str, Any]:
    """What the embed of one feature shows: its best examples, its histogram and one line of figures."""
    row = catalog.features[number]
    return {
        "f": row,
        "examples": examples(catalog, row, "top")[:EMBEDDED_EXAMPLES],
        "histogram": histogram(catalog, number),
        "neuronpedia": catalog.neuronpedia(number),
    }


def reasons(catalog: Catalog, row: Row) -> list[Reason]:
    """Why a feature is notable, each with its place in the ranking and the page where the ranking stands."""
    return [_reason(catalog, row.feature, name) for name in split_reasons(row.notable)]


def examples(catalog: Catalog, row: Row, band: str) -> list[Example]:
    """The contexts of one band, strongest first, coloured relative to the feature's maximum."""
    return [_example(catalog, row, c) for c in catalog.by("contexts")[row.feature] if c.band == band]


def histogram(catalog: Catalog, number: int) -> Chart | None:
    """The spread of the active values; None for a silent feature."""
    found = catalog.by("histograms")[number]
    return charts.activations(found[0].edges.tolist(), found[0].counts.tolist()) if found else None


def shares(catalog: Catalog, number: int) -> list[Share]:
    """For every category, the texts on which the feature is active and strong; zero where the table is silent."""
    found = {row.category: row for row in catalog.by("categories")[number]}
    return [
        Share(ref.name, ref.title, ref.page, ref.texts, r.active_inside, r.strong_inside, r.mean_inside)
        if (r := found.get(ref.name))
        else Share(ref.name, ref.title, ref.page, ref.texts, 0, 0, 0.0)
        for ref in catalog.categories
    ]


def _reason(catalog: Catalog, number: int, name: str) -> Reason:
    kind, _, subject = name.partition(":")
    shown = title(subject)
    match kind:
        case "strongest" | "frequent" | "selective":
            words = {"strongest": "among the strongest", "frequent": "among the most frequent"}
            text, page = words.get(kind, "among the most selective"), f"features/index.html?reason={kind}#f{number}"
        case "specialist" | "common":
            text = f"specialist for {shown}" if kind == "specialist" else f"common in {shown}"
            page = f"categories/{slug(subject)}.html#{kind}"
        case "concept" | "consistent" | "strong" | "contrast":
            text, page = f"concept: {shown}", f"concepts/{slug(subject)}.html"
        case _:
            text, page = name, "features/index.html"
    names = [f"{k}:{subject}" for k in ("consistent", "strong", "contrast")] if kind == "concept" else [name]
    places = [catalog.places[ranking, number] for ranking in names if (ranking, number) in catalog.places]
    return Reason(text, min(places) + 1 if places else 0, page)


def _around(catalog: Catalog, number: int) -> tuple[FeatureRef | None, FeatureRef | None]:
    """The features before and after among those with a page."""
    place, pages = catalog.order[number], catalog.paged
    before = catalog.ref(pages[place - 1]) if place else None
    return before, catalog.ref(pages[place + 1]) if place + 1 < len(pages) else None


def _example(catalog: Catalog, row: Row, context: Row) -> Example:
    text = catalog.texts[context.text]
    window = (context.window_start, context.window_end)
    active = list(zip(context.active_positions.tolist(), context.active_values.tolist(), strict=True))
    return Example(
        anchor=f"{context.band}-{context.rank + 1}",
        markup=tokens.highlight(text.content, text.token_ends, active, row.max, window, context.position),
        cut_before=window[0] > 0,
        cut_after=window[1] < len(text.token_ends),
        token=tokens.token(context.token),
        position=context.position,
        activation=context.activation,
        text=catalog.text_ref(context.text, context.category),
        similar=context.similar_hidden,
    )


def _bands(catalog: Catalog, row: Row) -> list[Band]:
    """The examples by quarter of the active tokens, strongest quarter first; only quarters that have any."""
    found = [(name, words, examples(catalog, row, name)) for name, words in BANDS.items()]
    return [Band(n, words, min(e.activation for e in es), max(e.activation for e in es), es) for n, words, es in found if es]


def _bins(catalog: Catalog, number: int) -> list[tuple[float, float, int]]:
    """The histogram as numbers: lower edge, upper edge, tokens."""
    found = catalog.by("histograms")[number]
    if not found:
        return []
    edges = found[0].edges.tolist()
    return list(zip(edges, edges[1:], found[0].counts.tolist(), strict=False))


def _category_chart(catalog: Catalog, found: list[Share]) -> Chart:
    active = [s.active / s.texts if s.texts else 0.0 for s in found]
    strong = [s.strong / s.texts if s.texts else 0.0 for s in found]
    return charts.by_category([s.name for s in found], active, strong, catalog.threshold)


def _partners(catalog: Catalog, number: int) -> list[Partner]:
    """The features that fire on the same tokens, by phi; their counts on texts beside them."""
    levels = catalog.partners
    on_texts = {r.other: r.n_both for r in levels["text"][number]} if "text" in levels else {}
    found = levels["token"][number][:PARTNERS] if "token" in levels else []
    return [
        Partner(catalog.ref(r.other), r.n_both, r.n_own, r.phi, r.lift, r.decoder_cosine, on_texts.get(r.other))
        for r in found
    ]
