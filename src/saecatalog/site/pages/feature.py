"""The view models of a feature's page and of its embed.

In: a `Catalog` and a feature's number. Out: plain values for the templates. This module does no file access.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

from markupsafe import Markup

from saecatalog.constants import CLEAR_KINDS, MANY_CATEGORIES
from saecatalog.names import slug, title
from saecatalog.site import charts, cite, text_parts, tokens
from saecatalog.site.catalog import CLEAREST_PAGE, Catalog, FeatureRef, split_reasons
from saecatalog.site.charts import Histogram, Shares
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.pages import explanations
from saecatalog.site.pages.effects import sections as effect_sections
from saecatalog.site.pages.texts import origin
from saecatalog.site.records import Row
from saecatalog.site.text_parts import part_at

BANDS = {
    "q75-100": ("Strongest quarter", "q75", "max"),
    "q50-75": ("Second quarter", "q50", "q75"),
    "q25-50": ("Third quarter", "q25", "q50"),
    "q0-25": ("Weakest quarter", "", "q25"),
}
"""The title of each quarter of the active tokens, and the columns of `features` with the ends of its range."""
PARTNERS = 5
TOKENS = 6
EMBEDDED_EXAMPLES = 4
MANY_REASONS, REASONS_SHOWN = 20, 10
START_SHARE_SHOWN = 0.1
# How much of each table a page shows, and the least share on first tokens that it mentions. These keep the mean page
# near 20 kB; the data files have the rest.


@dataclass(frozen=True)
class Reason:
    """Why a feature is notable: the text, its place in the ranking (0 if it has none) and the page of the ranking."""

    text: str
    place: int
    page: str


class Example(NamedTuple):
    """One context: the marked text, the token at its peak, and where it comes from.

    `cut` says where the text continues: "l" before the excerpt, "r" after it; and "long" if it has several pages.
    `place` is the URL of the text's page from the catalog's root, with the anchor of the feature if that page lists it.
    `origin` is the title and the web address of the text.
    """

    anchor: str
    markup: Markup
    cut: str
    token: str
    activation: float
    place: str
    category: str
    origin: tuple[str, str]
    similar: int


class Band(NamedTuple):
    """Examples from one quarter of the active tokens by rank, and the range of its activations.

    `low` is 0 for the weakest quarter.
    """

    name: str
    title: str
    low: float
    high: float
    examples: list[Example]


CATEGORY_COLUMNS = (
    "category", "feature", "n_inside", "active_inside", "strong_inside", "mean_inside", "balanced_score", "held_out",
    "evidence",
    "auroc", "auroc_low", "auroc_high", "q_value",
    *(f"strong_{what}" for side in ("inside", "outside") for what in (f"{side}_low", f"{side}_high", f"rate_{side}")),
)  # fmt: skip
TOKEN_COLUMNS = (
    "feature",
    "rank",
    "token_id",
    "token",
    "n_active",
    "n_occurrences",
    "p_active",
    "mean_active",
    "share",
)
EFFECT_COLUMNS = ("feature", "direction", "rank", "token_id", "token", "logit")
NEIGHBOUR_COLUMNS = ("feature", "rank", "neighbour", "cosine")
"""The columns that are read of a feature's rows by category, its tokens, its logit effects, and its neighbours."""


class Share(NamedTuple):
    """On how many texts of one category a feature is active, and on how many it is strong.

    `row` is the row of `categories`; it is None if the feature has none there.
    """

    title: str
    page: str
    texts: int
    active: int
    strong: int
    row: Row | None


class Effect(NamedTuple):
    """A token whose logit the feature moves: by how much, and how far that is from 0 in standard deviations."""

    token_id: int
    token: str
    logit: float
    sd: float


class Effects(NamedTuple):
    """The tokens promoted and suppressed most, compared with the largest of as many normal draws as there are tokens.

    `typical` is the median of that largest draw and `beyond` its 95 % quantile, in standard deviations. `outside` is
    how many of the promoted and of the suppressed tokens shown exceed `beyond`.
    """

    ways: list[tuple[str, list[Effect]]]
    n_vocab: int
    typical: float
    beyond: float
    outside: list[int]


def view(catalog: Catalog, by_feature: FeatureRows, number: int, contexts: Sequence[Row]) -> dict[str, Any]:
    """Everything that a feature's page shows; `by_feature` has its rows, `contexts` are its examples."""
    row = catalog.features[number]
    previous, following = _around(catalog, number)
    bands = examples_by_band(catalog, row, contexts)
    by_category = shares(catalog, by_feature, number)
    fires_on, effects = by_feature.of("tokens", TOKEN_COLUMNS).first(number, TOKENS), _effects(by_feature, row)
    why = reasons(catalog, row)
    return {
        "f": row,
        "start_share_shown": START_SHARE_SHOWN,
        "note": catalog.note("feature", str(number)),
        "scores": {"label": None, "note": None} | {r.rule_source: r for r in by_feature.of("detection")[number]},
        "explanations": explanations.view(by_feature.of("explanations")[number]),
        "reasons": why,
        "more_reasons": len(split_reasons(row.notable)) - len(why),
        "neuronpedia": catalog.neuronpedia(number),
        "comparable": number in catalog.comparable,
        "stops": "notable feature" if catalog.visits_notable else "feature",
        "previous": previous,
        "next": following,
        "examples": bands.get("top", []),
        "bands": _bands(row, bands),
        "histogram": _histogram(by_feature, number),
        "shares": by_category,
        "unlisted": _unlisted(catalog, by_feature, number) if catalog.has_many_categories else None,
        "specialist": [share for share in by_category if share.row and share.row.balanced_score > 0],
        "category_chart": _category_chart(by_category),
        "fires_on": fires_on,
        "effects": effects,
        "shared_names": _shared_names(fires_on, effects),
        "logit_spread": _logit_spread(by_feature, number),
        "partners": _partners(catalog, by_feature, number),
        "neighbours": _neighbours(catalog, by_feature, number),
        **effect_sections(catalog, by_feature, row),
        "cite": cite.feature(catalog.manifest, row, number in catalog.embedded),
    }


def embed(view: dict[str, Any]) -> dict[str, Any]:
    """What a feature's embed shows, taken from the view of its page: the best examples, the histogram, its effect."""
    shown = {name: view[name] for name in ("f", "histogram", "neuronpedia", "effect")}
    return shown | {"examples": view["examples"][:EMBEDDED_EXAMPLES]}


def reasons(catalog: Catalog, row: Row) -> list[Reason]:
    """Why a feature is notable: each reason with the place in its ranking and the page of the ranking.

    If there are more than `MANY_REASONS`, only the `REASONS_SHOWN` with the best places are left.
    """
    found = [_reason(catalog, row.feature, name) for name in split_reasons(row.notable)]
    return found if len(found) <= MANY_REASONS else sorted(found, key=lambda reason: reason.place)[:REASONS_SHOWN]


def shares(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[Share]:
    """For every category, the number of texts on which the feature is active and strong; zero if it has no row.

    If there are many categories, only the first `MANY_CATEGORIES` of those where it is active: by the share of strong
    texts, then of active texts, then by mean score. The category of which the feature is a specialist is the first,
    because its share of strong texts exceeds the sum of all others.
    """
    found = {row.category: row for row in by_feature.of("categories", CATEGORY_COLUMNS)[number]}
    if catalog.has_many_categories:
        ranked = sorted(found.values(), key=_strength)[:MANY_CATEGORIES]
        refs = ((catalog.category[row.category], row) for row in ranked)
        return [Share(ref.title, ref.page, ref.texts, r.active_inside, r.strong_inside, r) for ref, r in refs]
    return [
        Share(ref.title, ref.page, ref.texts, r.active_inside, r.strong_inside, r)
        if (r := found.get(ref.name))
        else Share(ref.title, ref.page, ref.texts, 0, 0, None)
        for ref in catalog.categories
    ]


def _strength(row: Row) -> tuple[float, float, float]:
    """The order of the categories of a feature, strongest first; a stable sort keeps ties in the order of names."""
    return -row.strong_rate_inside, -row.active_inside / row.n_inside, -row.mean_inside


def _unlisted(catalog: Catalog, by_feature: FeatureRows, number: int) -> tuple[int, int]:
    """How many categories the page leaves out: those where the feature is active, and those where it is not."""
    active = len(by_feature.of("categories", CATEGORY_COLUMNS)[number])
    return max(0, active - MANY_CATEGORIES), len(catalog.categories) - active


def _reason(catalog: Catalog, number: int, name: str) -> Reason:
    kind, _, subject = name.partition(":")
    shown = title(subject)
    match kind:
        case "clearest":
            found = catalog.clear_kind(number)
            name, text = f"clearest:{found}", f"clearest: {CLEAR_KINDS[found].lower()}"
            page = f"{CLEAREST_PAGE}#{found}"
        case "strongest" | "frequent" | "selective":
            text = kind if kind == "strongest" else f"most {kind}"
            page = f"{catalog.table_page(number)}?reason={kind}#f{number}"
        case "specialist" | "weak specialist" | "common":
            text = f"common in {shown}" if kind == "common" else f"{kind} for {shown}"
            page = f"categories/{slug(subject)}.html#{kind.replace(' ', '-')}"
        case "concept" | "consistent" | "strong" | "contrast":
            text, page = f"for the concept {shown}", f"concepts/{slug(subject)}.html"
        case "noted":
            text, page = "noted by the author", f"{catalog.table_page(number)}?reason=noted#f{number}"
        case _:
            text, page = name, "features/index.html"
    ranking = f"contrast:{subject}" if kind == "concept" else name
    return Reason(text, catalog.places.get((ranking, number), -1) + 1, page)


def _around(catalog: Catalog, number: int) -> tuple[FeatureRef | None, FeatureRef | None]:
    """The previous and the next feature of the tour; of a feature that is not in it, the nearest in it by number."""
    stops, before = catalog.tour, catalog.order[number]
    after = before + 1
    if before >= len(stops):
        stops = sorted(stops)
        before = after = bisect(stops, number)
    previous = catalog.ref(stops[before - 1]) if before else None
    return previous, catalog.ref(stops[after]) if after < len(stops) else None


def examples_by_band(catalog: Catalog, row: Row, contexts: Iterable[Row]) -> dict[str, list[Example]]:
    """The examples by band, strongest first, coloured relative to the feature's maximum."""
    found: dict[str, list[Example]] = {}
    for context in contexts:
        found.setdefault(context.band, []).append(_example(catalog, row, context))
    return found


def _example(catalog: Catalog, row: Row, context: Row) -> Example:
    text = catalog.texts[context.text]
    window = (context.window_start, context.window_end)
    active = tokens.near(context.active_positions, context.active_values, window)
    page = part_at(text, context.position).page(catalog.text_ref(context.text, context.category).page)
    return Example(
        f"{context.band.partition('-')[0]}-{context.rank + 1}",
        tokens.highlight(text.content, text.token_ends, active, row.max, window, context.position),
        _cut(window, len(text.token_ends)),
        context.token,
        context.activation,
        f"{page}#f{row.feature}" if context.listed else page,
        catalog.category[context.category].title,
        origin(text),
        context.similar_hidden,
    )


def _cut(window: tuple[int, int], n_tokens: int) -> str:
    """The classes of an excerpt; see `Example`."""
    applies = {"l": window[0] > 0, "r": window[1] < n_tokens, "long": n_tokens > text_parts.MOST_TOKENS}
    return " ".join(name for name, shown in applies.items() if shown)


def _bands(row: Row, examples: dict[str, list[Example]]) -> list[Band]:
    """The examples by quarter of the active tokens, strongest first; quarters without examples are left out."""
    return [
        Band(name, words, getattr(row, low) if low else 0.0, getattr(row, high), shown)
        for name, (words, low, high) in BANDS.items()
        if (shown := examples.get(name))
    ]


def _effects(by_feature: FeatureRows, row: Row) -> Effects | None:
    """The tokens promoted and suppressed most, with what chance gives; None if the SAE has no direct logit effect."""
    spread = by_feature.of("logit_histograms")[row.feature]
    if not spread or not row.logit_std:
        return None
    n_vocab = int(sum(spread[0].counts))
    beyond = largest_normal(n_vocab, 0.95)
    found: dict[str, list[Effect]] = {"promoted": [], "suppressed": []}
    for r in by_feature.of("logits", EFFECT_COLUMNS)[row.feature]:
        if r.rank < TOKENS:
            found[r.direction].append(Effect(r.token_id, r.token, r.logit, abs(r.logit) / row.logit_std))
    outside = [sum(effect.sd > beyond for effect in effects) for effects in found.values()]
    ways = [(way.capitalize(), effects) for way, effects in found.items()]
    return Effects(ways, n_vocab, largest_normal(n_vocab, 0.5), beyond, outside)


def _shared_names(fires_on: Iterable[Row], effects: Effects | None) -> set[str]:
    """The names on a page that more than one token of the vocabulary has, so that their ids have to tell them apart."""
    moved = [effect for _, found in effects.ways for effect in found] if effects else []
    ids: dict[str, set[int]] = {}
    for one in (*fires_on, *moved):
        ids.setdefault(one.token, set()).add(one.token_id)
    return {name for name, found in ids.items() if len(found) > 1}


def largest_normal(n: int, share: float) -> float:
    """The `share` quantile of the largest of `n` independent standard normal draws.

    The largest is below x if all are, so its distribution function is Phi(x) ** n (David and Nagaraja, Order
    Statistics, 3rd edition, section 2.1). The smallest has the same distribution with the opposite sign.
    """
    return NormalDist().inv_cdf(share ** (1 / n))


def _neighbours(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[tuple[FeatureRef, float]]:
    """The features whose decoder rows point in similar directions, with the cosine."""
    return [
        (catalog.ref(r.neighbour), r.cosine)
        for r in by_feature.of("neighbours", NEIGHBOUR_COLUMNS).first(number, PARTNERS)
    ]


def _histogram(by_feature: FeatureRows, number: int) -> Histogram | None:
    """The distribution of the active values; None for a silent feature."""
    found = by_feature.of("histograms")[number]
    return charts.activations(found[0].edges.tolist(), found[0].counts.tolist()) if found else None


def _logit_spread(by_feature: FeatureRows, number: int) -> Markup | None:
    """A static picture of the distribution of the direct logit effects; None if the SAE has none."""
    found = by_feature.of("logit_histograms")[number]
    return charts.logits(found[0].edges.tolist(), found[0].counts.tolist()) if found else None


def _category_chart(found: list[Share]) -> Shares:
    return charts.by_category([s.texts for s in found], [s.active for s in found], [s.strong for s in found])


def _partners(catalog: Catalog, by_feature: FeatureRows, number: int) -> list[tuple[FeatureRef, int, float, float]]:
    """The features that fire on the same tokens, by phi: with the number of tokens, phi and the cosine."""
    return [
        (catalog.ref(r.other), r.n_both, r.phi, r.decoder_cosine) for r in by_feature.partners.first(number, PARTNERS)
    ]
