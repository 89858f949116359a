"""The view models of what a feature does to the model's prediction: on its own page, and for all features together.

In: a `Catalog` and the tables `effects`, `effect_contexts` and `effect_tokens`. Out: plain values for the templates. A
catalog without these results has none of the pages and sections.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from saecatalog.constants import CLEAR
from saecatalog.site import svg, tokens
from saecatalog.site.catalog import Catalog, FeatureRef
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.pages import steering
from saecatalog.site.records import Row
from saecatalog.site.text_parts import part_at

BANDS = {
    "q75-100": "Strongest quarter",
    "q50-75": "Second quarter",
    "q25-50": "Third quarter",
    "q0-25": "Weakest quarter",
}
"""The title of each quarter of the active tokens."""
LEAST = 4
"""The fewest contexts of a category whose mean is shown."""
BEFORE = 9
"""Tokens shown before the one at which a feature was taken out."""
LISTED = 10
"""Features in each list of the page of all effects."""
ROWS = 500
"""Features in its table and its picture."""
CATEGORIES, MOMENTS, TOKENS = 6, 3, 6
"""How many categories, contexts, and tokens each way are shown of one feature; the data files have the rest."""

CONTEXT_COLUMNS = (
    "feature", "rank", "text", "category", "position", "activation", "loss_change", "kl", "next_token", "p_with",
    "p_without",
)  # fmt: skip
LOGIT_COLUMNS = ("feature", "direction", "rank", "token_id")
"""What is read of a feature's contexts and of its direct logit effects."""


EMPTY: dict[str, Any] = {"effect": None, "no_effect": "", "steering": None, "origin": None, "apart": ""}
"""The sections of a page that shows none of them."""


class Group(NamedTuple):
    """The contexts of one quarter or category, and their row of `effects`."""

    title: str
    row: Row


class Moment(NamedTuple):
    """A context in which taking the feature out changes the prediction most.

    `markup` is the text up to the token, `place` the URL of the text's page, `category` the title of its category.
    """

    markup: Markup
    cut: bool
    row: Row
    place: str
    category: str


class Moved(NamedTuple):
    """The tokens moved most in context, and how far that agrees with the direct logit effect.

    `ways` are the titles and the rows of `effect_tokens`; `shared` are how many of the `ten` raised and of those
    lowered are also among the promoted and suppressed ones. `shared_names` are the names that several of them have.
    """

    ways: list[tuple[str, list[Row]]]
    shared: list[int]
    ten: int
    correlation: float
    shared_names: set[str]


class Effect(NamedTuple):
    """What a feature's page shows of its effect; `row` is that of `effects` over all contexts."""

    row: Row
    verdict: str
    bands: list[Group]
    categories: list[Group]
    moments: list[Moment]
    moved: Moved


def reason(catalog: Catalog, part: str = "") -> str:
    """Why no effects could be measured, or why `part` is missing, as a sentence; "" if it is there or not wanted."""
    stated = catalog.manifest.get("effects") or {}
    why = str((stated.get(part) or {} if part else stated).get("reason", ""))
    return why and why.rstrip(".") + "."


def reasons(catalog: Catalog) -> list[str]:
    """Why the effects, or parts of what belongs to them, are missing: a sentence for each, for the page about all."""
    parts = {
        "": "The effects of features could not be measured",
        "steering": "No feature could be steered with",
        "attribution": "Where features come from could not be computed",
    }
    return [f"{words}: {why}" for part, words in parts.items() if (why := reason(catalog, part))]


def verdict(row: Row) -> str:
    """How an effect compares with the control: `more`, `same` or `less`; "" if there is no control."""
    if not row.n_control or math.isnan(row.kl_excess_low):
        return ""
    return "more" if row.kl_excess_low > 0 else "less" if row.kl_excess_high < 0 else "same"


def sections(catalog: Catalog, by_feature: FeatureRows, row: Row) -> dict[str, Any]:
    """What the page of a feature shows of what it does: its effect, steering with it, and where it comes from.

    In a catalog whose pages are `crowded`, that is the effect in a sentence; `page_view` has the rest.
    """
    shown = EMPTY | {"no_effect": reason(catalog) if row.notable else ""}
    if catalog.is_crowded and row.feature in catalog.acting:
        return shown | {"effect": of_feature(catalog, by_feature, row.feature), "apart": page_of(row.feature)}
    return shown | _all_sections(catalog, by_feature, row.feature)


def page_of(number: int) -> str:
    """The page of a feature's effect in a crowded catalog, from the catalog's root."""
    return f"effects/{number}.html"


def paged(catalog: Catalog) -> list[int]:
    """The features whose effect has a page of its own, in order."""
    return [number for number in catalog.paged if number in catalog.acting] if catalog.is_crowded else []


def page_view(catalog: Catalog, by_feature: FeatureRows, number: int) -> dict[str, Any]:
    """What the page of a feature's effect shows."""
    shown = EMPTY | {"ref": catalog.ref(number), "no_effect": reason(catalog)}
    return shown | _all_sections(catalog, by_feature, number)


def _all_sections(catalog: Catalog, by_feature: FeatureRows, number: int) -> dict[str, Any]:
    return {
        "effect": of_feature(catalog, by_feature, number),
        "steering": steering.of_feature(catalog, by_feature, number),
        "origin": steering.origin(by_feature, number),
    }


def of_feature(catalog: Catalog, by_feature: FeatureRows, number: int) -> Effect | None:
    """The effect of a feature; None if it was not measured."""
    row = catalog.effects.get(number)
    if row is None:
        return None
    groups = by_feature.of("effects")[number]
    by_band = {group.group: group for group in groups if group.group_kind == "band"}
    contexts = by_feature.of("effect_contexts", CONTEXT_COLUMNS).first(number, MOMENTS)
    return Effect(
        row,
        verdict(row),
        [Group(words, by_band[name]) for name, words in BANDS.items() if name in by_band],
        _categories(catalog, groups),
        [_moment(catalog, number, context) for context in contexts],
        _moved(by_feature, row),
    )


def _categories(catalog: Catalog, groups: Sequence[Row]) -> list[Group]:
    """The categories with enough contexts, the largest effect first."""
    found = [group for group in groups if group.group_kind == "category" and group.n_contexts >= LEAST]
    ranked = sorted(found, key=lambda group: -group.kl)[:CATEGORIES]
    return [Group(catalog.category[group.group].title, group) for group in ranked]


def _moment(catalog: Catalog, number: int, context: Row) -> Moment:
    text = catalog.texts[context.text]
    at = context.position
    window = (max(0, at - BEFORE), at + 1)
    largest = catalog.features[number].max
    markup = tokens.highlight(text.content, text.token_ends, [(at, context.activation)], largest, window, at)
    page = part_at(text, at).page(catalog.text_ref(context.text, context.category).page)
    return Moment(markup, window[0] > 0, context, page, catalog.category[context.category].title)


def _moved(by_feature: FeatureRows, row: Row) -> Moved:
    rows = by_feature.of("effect_tokens")[row.feature]
    direct = by_feature.of("logits", LOGIT_COLUMNS)[row.feature]
    ways, shared = [], []
    for way, counterpart in (("raised", "promoted"), ("lowered", "suppressed")):
        found = [moved for moved in rows if moved.direction == way]
        ways.append((way.capitalize(), found[:TOKENS]))
        moved_ids = {moved.token_id for moved in found}
        shared.append(len(moved_ids & {entry.token_id for entry in direct if entry.direction == counterpart}))
    ids: dict[str, set[int]] = {}
    for moved in (moved for _, shown in ways for moved in shown):
        ids.setdefault(moved.token, set()).add(moved.token_id)
    ten = max((moved.rank + 1 for moved in rows), default=0)
    return Moved(ways, shared, ten, row.direct_correlation, {name for name, same in ids.items() if len(same) > 1})


class Ranked(NamedTuple):
    """A feature with its row of `effects` and how that compares with the control."""

    ref: FeatureRef
    row: Row
    verdict: str


class Contrary(NamedTuple):
    """Features whose effect contradicts what one would expect: a title, what that means, the first few and all."""

    anchor: str
    title: str
    words: str
    shown: list[Ranked]
    total: int


def overview(catalog: Catalog) -> dict[str, Any]:
    """What the page of all effects shows; only the reason if none could be measured."""
    if why := reason(catalog):
        return {"reason": why}
    ranked = all_ranked(catalog)
    verdicts = [entry.verdict for entry in ranked]
    return {
        "reason": "",
        "total": len(ranked),
        "counts": {way: verdicts.count(way) for way in ("more", "same", "less", "")},
        "rows": ranked[:ROWS],
        "contrary": contrary(catalog, ranked),
        "picture": _picture(ranked[:ROWS]),
        "settings": catalog.manifest["effects"],
    }


def all_ranked(catalog: Catalog) -> list[Ranked]:
    """Every feature whose effect was measured, by what is sure: the lower end of the difference from the control."""
    found = [Ranked(catalog.ref(number), row, verdict(row)) for number, row in catalog.effects.items()]
    return sorted(found, key=lambda entry: (_or_last(entry.row.kl_excess_low), entry.ref.number))


def _or_last(value: float) -> float:
    """A key that sorts large values first and missing ones last."""
    return math.inf if math.isnan(value) else -value


def contrary(catalog: Catalog, ranked: Sequence[Ranked]) -> list[Contrary]:
    """The features whose effect contradicts their texts or their weights, in three lists; empty lists are left out."""
    idle = [e for e in ranked if e.verdict in ("same", "less") and _clearness(catalog, e) >= CLEAR]
    against = [e for e in ranked if e.verdict == "more" and e.row.direct_correlation < 0]
    harmful = [e for e in ranked if e.row.loss_high < 0]
    lists = [
        (
            "idle",
            "Clear, but without an effect of their own",
            f"Their label’s rule explains at least {100 * CLEAR:.0f} % of them (the lower end of the clearness), so it "
            "is plain when they fire; but taking them out does no more than taking out another one of the same size.",
            sorted(idle, key=lambda e: (-_clearness(catalog, e), e.ref.number)),
        ),
        (
            "against",
            "Work against their direct effect",
            "They change the prediction more than chance, but the tokens that they raise in context are not those that "
            "their decoder row promotes directly: over the vocabulary, the two are negatively correlated.",
            sorted(against, key=lambda e: (e.row.direct_correlation, e.ref.number)),
        ),
        (
            "harmful",
            "Make the prediction worse",
            "Without them, the actual next token is more likely: the whole interval of the change in loss is below 0.",
            sorted(harmful, key=lambda e: (e.row.loss_high, e.ref.number)),
        ),
    ]
    return [Contrary(anchor, name, words, all_[:LISTED], len(all_)) for anchor, name, words, all_ in lists if all_]


def _clearness(catalog: Catalog, entry: Ranked) -> float:
    """How clear a feature's label is at least; nan if that is not known."""
    return float(catalog.features[entry.ref.number].clearness_low)


def _picture(ranked: Sequence[Ranked]) -> Markup | None:
    """Each feature's effect against that of its control; None if no feature has a control."""
    points = [(entry.row.control_kl, entry.row.kl) for entry in ranked if entry.verdict]
    label = f"The effect of {len(points)} features against that of other features of the same size"
    return svg.dots(points, label, ("Control: KL in nats (log)", "Feature: KL in nats (log)")) if points else None
