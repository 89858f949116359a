"""The view models of a feature's page, of its embed, and of the page about embeds.

In: a `Catalog` and a feature's number. Out: plain values for the templates; nothing here knows HTML or the disk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

from markupsafe import Markup

from saecatalog.names import slug, title
from saecatalog.site import charts, cite, tokens
from saecatalog.site.catalog import Catalog, FeatureRef, split_reasons
from saecatalog.site.charts import Histogram, Shares
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.records import Row

BANDS = {
    "q75-100": ("Strongest quarter", "q75", "max"),
    "q50-75": ("Second quarter", "q50", "q75"),
    "q25-50": ("Third quarter", "q25", "q50"),
    "q0-25": ("Weakest quarter", "", "q25"),
}
"""The title of each quarter of the active tokens, and the columns of `features` with the two ends of its range."""
PARTNERS = 5
TOKENS = 6
EMBEDDED_EXAMPLES = 4
INTRODUCED = 4
START_SHARE_SHOWN = 0.1
# How much of each table a page shows, and from where on the share of the activation on first tokens: a page stays near
# 20 kB on average, and the data files have the rest.


@dataclass(frozen=True)
class Reason:
    """Why a feature is notable: the words, its place in the ranking (0 where it has none) and where the ranking is."""

    text: str
    place: int
    page: str


class Example(NamedTuple):
    """One context: the marked text, the token at its peak, and where it comes from.

    `cut` says where the text goes on: "l" before the part shown, "r" after it. `place` is where the text's page tells
    of the feature, from the catalog's root, or that page alone where it does not.
    """

    anchor: str
    markup: Markup
    cut: str
    token: str
    activation: float
    place: str
    category: str
    similar: int


class Band(NamedTuple):
    """Examples from one quarter of the active tokens by rank, and the activations from which to which it runs.

    `low` is 0 for the weakest quarter.
    """

    name: str
    title: str
    low: float
    high: float
    examples: list[Example]


CATEGORY_COLUMNS = (
    "category", "feature", "active_inside", "strong_inside", "balanced_score", "held_out", "auroc", "q_value",
    *(f"strong_{what}" for side in ("inside", "outside") for what in (f"{side}_low", f"{side}_high", f"rate_{side}")),
)  # fmt: skip
TOKEN_COLUMNS = ("feature", "rank", "token", "n_active", "n_occurrences", "p_active", "mean_active", "share")
EFFECT_COLUMNS = ("feature", "direction", "rank", "token", "logit")
NEIGHBOUR_COLUMNS = ("feature", "rank", "neighbour", "cosine")
"""What is read of a feature's rows by category, of its tokens, of its effects on the logits, and of its neighbours."""


class Share(NamedTuple):
    """How many texts of one category a feature is active and strong on.

    `row` has the interval and all else that is known; it is None where the feature fired on no text at all.
    """

    title: str
    page: str
    texts: int
    active: int
    strong: int
    row: Row | None


class Effect(NamedTuple):
    """A token whose logit the feature moves: by how much, and how far that is from 0 in standard deviations."""

    token: str
    logit: float
    sd: float


class Effects(NamedTuple):
    """The tokens promoted and suppressed most, beside the largest of as many normal draws as there are tokens.

    `typical` is the median of that largest draw and `beyond` its 95 % quantile, in standard deviations; `outside` says
    how many of the promoted and of the suppressed tokens shown lie farther out than `beyond`.
    """

    ways: list[tuple[str, list[Effect]]]
    n_vocab: int
    typical: float
    beyond: float
    outside: list[int]


def view(catalog: Catalog, by_feature: FeatureRows, number: int, contexts: Sequence[Row]) -> dict[str, Any]:
    """Everything the page of one feature shows; `by_feature` holds its rows, `contexts` are its examples."""
    row = catalog.features[number]
    previous, following = _around(catalog, number)
    bands = _examples(catalog, row, contexts)
    by_category = shares(catalog, by_feature, number)
    return {
        "f": row,
        "start_share_shown": START_SHARE_SHOWN,
        "note": catalog.note("feature", str(number)),
        "reasons": reasons(catalog, row),
        "neuronpedia": catalog.neuronpedia(number),
        "previous": previous,
        "next": following,
        "examples": bands.get("top", []),
        "bands": _bands(row, bands),
        "histogram": _histogram(by_feature, number),
        "shares": by_category,
        "specialist": [share for share in by_category if share.row and share.row.balanced_score > 0],
        "category_chart": _category_chart(by_category),
        "fires_on": by_feature.of("tokens", TOKEN_COLUMNS).first(number, TOKENS),
        "effects": _effects(by_feature, row),
        "logit_spread": _logit_spread(by_feature, number),
        "partners": _partners(catalog, by_feature, number),
        "neighbours": _neighbours(catalog, by_feature, number),
        "cite": cite.feature(catalog.manifest, row, number in catalog.embedded),
    }


def embed(view: dict[str, Any]) -> dict[str, Any]:
    """What the embed of a feature shows, taken from the view of its page: the best examples and the histogram."""
    shown = {name: view[name] for name in ("f", "histogram", "neuronpedia")}
    return shown | {"examples": view["examples"][:EMBEDDED_EXAMPLES]}


def embedding(catalog: Catalog) -> dict[str, Any]:
    """What the page about embeds shows: the card of the feature that the front page introduces, and the code for it."""
    shown = introduction(catalog)
    if shown is None or shown["ref"].number not in catalog.embedded:
        return {"ref": None}
    ref = shown["ref"]
    code = cite.feature(catalog.manifest, catalog.features[ref.number], True).embed
    all_have = len(catalog.embedded) == len(catalog.paged)
    return {
        "ref": ref,
        "frame": Markup(cite.frame(ref.number, cite.embed_page(ref.page))),
        "code": code,
        "embedded": None if all_have else " ".join(map(str, sorted(catalog.embedded))),
    }


def introduction(catalog: Catalog) -> dict[str, Any] | None:
    """A feature that shows a newcomer what a feature is, with its first examples; None where no feature has a page.

    It is the one that tells a concept apart best, else the first specialist, else the strongest, among those whose
    label begins with a word, which reads more easily than a sign.
    """
    frame = catalog.tables["rankings"]
    words = [number for number in catalog.paged if catalog.ref(number).label.partition(" ")[0].isalpha()]
    for kind in ("contrast:", "specialist:", "strongest"):
        found = frame[frame["ranking"].str.startswith(kind) & frame["feature"].isin(words or catalog.paged)]
        if len(found):
            number = int(found.sort_values(["value", "feature"], ascending=[False, True])["feature"].iloc[0])
            shown = _examples(catalog, catalog.features[number], catalog.examples.of_features([number])[number])
            return {"ref": catalog.ref(number), "examples": shown.get("top", [])[:INTRODUCED]}
    return None


def reasons(catalog: Catalog, row: Row) -> list[Reason]:
    """Why a feature is notable, each with its place in the ranking and the page where the ranking stands."""
    return [_reason(catalog, row.feature, name) for name in split_reasons(row.notable)]


def shares(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[Share]:
    """For every category, the texts on which the feature is active and strong; zero where the table is silent."""
    found = {row.category: row for row in by_feature.of("categories", CATEGORY_COLUMNS)[number]}
    return [
        Share(ref.title, ref.page, ref.texts, r.active_inside, r.strong_inside, r)
        if (r := found.get(ref.name))
        else Share(ref.title, ref.page, ref.texts, 0, 0, None)
        for ref in catalog.categories
    ]


def _reason(catalog: Catalog, number: int, name: str) -> Reason:
    kind, _, subject = name.partition(":")
    shown = title(subject)
    match kind:
        case "strongest" | "frequent" | "selective":
            words = {"strongest": "among the strongest", "frequent": "among the most frequent"}
            text, page = (
                words.get(kind, "among the most selective"),
                f"{catalog.table_page(number)}?reason={kind}#f{number}",
            )
        case "specialist" | "common":
            text = f"specialist for {shown}" if kind == "specialist" else f"common in {shown}"
            page = f"categories/{slug(subject)}.html#{kind}"
        case "concept" | "consistent" | "strong" | "contrast":
            text, page = f"concept: {shown}", f"concepts/{slug(subject)}.html"
        case "noted":
            text, page = "noted by the author", f"{catalog.table_page(number)}?reason=noted#f{number}"
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


def _examples(catalog: Catalog, row: Row, contexts: Iterable[Row]) -> dict[str, list[Example]]:
    """The examples by band, strongest first, coloured relative to the feature's maximum."""
    found: dict[str, list[Example]] = {}
    for context in contexts:
        found.setdefault(context.band, []).append(_example(catalog, row, context))
    return found


def _example(catalog: Catalog, row: Row, context: Row) -> Example:
    text = catalog.texts[context.text]
    window = (context.window_start, context.window_end)
    active = list(zip(context.active_positions.tolist(), context.active_values.tolist(), strict=True))
    page = catalog.text_ref(context.text, context.category).page
    return Example(
        f"{context.band.partition('-')[0]}-{context.rank + 1}",
        tokens.highlight(text.content, text.token_ends, active, row.max, window, context.position),
        " ".join(["l"] * (window[0] > 0) + ["r"] * (window[1] < len(text.token_ends))),
        context.token,
        context.activation,
        f"{page}#f{row.feature}" if context.listed else page,
        catalog.category[context.category].title,
        context.similar_hidden,
    )


def _bands(row: Row, examples: dict[str, list[Example]]) -> list[Band]:
    """The examples by quarter of the active tokens, strongest quarter first; only quarters that have any."""
    return [
        Band(name, words, getattr(row, low) if low else 0.0, getattr(row, high), shown)
        for name, (words, low, high) in BANDS.items()
        if (shown := examples.get(name))
    ]


def _effects(by_feature: FeatureRows, row: Row) -> Effects | None:
    """The tokens promoted and suppressed most, beside what chance gives; None where the SAE has no direct effect."""
    spread = by_feature.of("logit_histograms")[row.feature]
    if not spread or not row.logit_std:
        return None
    n_vocab = int(sum(spread[0].counts))
    beyond = largest_normal(n_vocab, 0.95)
    found: dict[str, list[Effect]] = {"promoted": [], "suppressed": []}
    for r in by_feature.of("logits", EFFECT_COLUMNS)[row.feature]:
        if r.rank < TOKENS:
            found[r.direction].append(Effect(r.token, r.logit, abs(r.logit) / row.logit_std))
    outside = [sum(effect.sd > beyond for effect in effects) for effects in found.values()]
    ways = [(way.capitalize(), effects) for way, effects in found.items()]
    return Effects(ways, n_vocab, largest_normal(n_vocab, 0.5), beyond, outside)


def largest_normal(n: int, share: float) -> float:
    """The value below which the largest of `n` independent standard normal draws lies with this probability.

    The largest of them is below x when all are, so its distribution is Phi(x) ** n (David and Nagaraja, Order
    Statistics, 3rd edition, section 2.1). The smallest is the same with the sign turned.
    """
    return NormalDist().inv_cdf(share ** (1 / n))


def _neighbours(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[tuple[FeatureRef, float]]:
    """The features whose decoder rows point in similar directions, with the cosine."""
    return [
        (catalog.ref(r.neighbour), r.cosine)
        for r in by_feature.of("neighbours", NEIGHBOUR_COLUMNS).first(number, PARTNERS)
    ]


def _histogram(by_feature: FeatureRows, number: int) -> Histogram | None:
    """The spread of the active values; None for a silent feature."""
    found = by_feature.of("histograms")[number]
    return charts.activations(found[0].edges.tolist(), found[0].counts.tolist()) if found else None


def _logit_spread(by_feature: FeatureRows, number: int) -> Markup | None:
    """A still picture of how the direct effects on the logits are spread; None where the SAE has none."""
    found = by_feature.of("logit_histograms")[number]
    return charts.logits(found[0].edges.tolist(), found[0].counts.tolist()) if found else None


def _category_chart(found: list[Share]) -> Shares:
    return charts.by_category([s.texts for s in found], [s.active for s in found], [s.strong for s in found])


def _partners(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[tuple[FeatureRef, int, float, float]]:
    """The features that fire on the same tokens, by phi: with how many tokens, phi and the cosine."""
    return [
        (catalog.ref(r.other), r.n_both, r.phi, r.decoder_cosine) for r in by_feature.partners.first(number, PARTNERS)
    ]
