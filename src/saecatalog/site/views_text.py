"""The view models of the texts: one page per text, one list per category, and an overview.

In: a `Catalog`. Out: plain values for the templates.
"""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from saecatalog.names import slug
from saecatalog.site import tokens
from saecatalog.site.catalog import Catalog, FeatureRef, GroupRef, TextRef
from saecatalog.site.groups import Row

OPEN = 5
SAMPLES = 3


@dataclass(frozen=True)
class Firing:
    """A feature on a text: its score, and the text with the tokens it fires on marked."""

    rank: int
    ref: FeatureRef
    score: float
    token: Markup
    active: int
    markup: Markup


@dataclass(frozen=True)
class Listed:
    """A text in a list: its beginning, its length and its strongest feature."""

    ref: TextRef
    beginning: str
    tokens: int
    feature: FeatureRef | None


def text(catalog: Catalog, row: Row) -> dict[str, Any]:
    """Everything the page of one text shows."""
    found = [_firing(catalog, row, top) for top in catalog.by("text_top", "text")[row.text]]
    neighbours = _neighbours(catalog, row)
    return {
        "text": row,
        "category": catalog.category.get(row.category),
        "list_page": list_page(row.category),
        "content": tokens.visible(row.content),
        "pieces": tokens.pieces(row.content, row.token_ends),
        "open": found[:OPEN],
        "more": found[OPEN:],
        "previous": neighbours[0],
        "next": neighbours[1],
    }


def overview(catalog: Catalog) -> dict[str, Any]:
    """All categories with the beginning of a few of their texts."""
    found = []
    for ref in catalog.categories:
        members = texts_of(catalog, ref.name)
        found.append((ref, list_page(ref.name), [_listed(catalog, row) for row in members[:SAMPLES]]))
    return {"groups": found}


def texts_list(catalog: Catalog, ref: GroupRef) -> dict[str, Any]:
    """Every text of one category."""
    return {"category": ref, "texts": [_listed(catalog, row) for row in texts_of(catalog, ref.name)]}


def texts_of(catalog: Catalog, category: str) -> list[Row]:
    """The texts of a category in the order of the table."""
    return [catalog.texts[text] for text in catalog.text_ids.get(category, [])]


def list_page(category: str) -> str:
    """The page that lists a category's texts, from the catalog's root; its dot keeps it apart from the texts' pages."""
    return f"texts/all.{slug(category)}.html"


def _firing(catalog: Catalog, row: Row, top: Row) -> Firing:
    active = list(zip(top.active_positions.tolist(), top.active_values.tolist(), strict=True))
    largest = max((value for _, value in active), default=0.0)
    start, end = tokens.unit(row.token_ends, top.position)
    return Firing(
        rank=top.rank + 1,
        ref=catalog.ref(top.feature),
        score=top.score,
        token=tokens.token(row.content[start:end]),
        active=len(active),
        markup=tokens.highlight(row.content, row.token_ends, active, largest, peak=top.position),
    )


def _listed(catalog: Catalog, row: Row) -> Listed:
    top = catalog.by("text_top", "text")[row.text]
    strongest = catalog.ref(top[0].feature) if top else None
    return Listed(catalog.text_ref(row.text, row.category), tokens.shorten(row.content, 110), row.n_tokens, strongest)


def _neighbours(catalog: Catalog, row: Row) -> tuple[TextRef | None, TextRef | None]:
    """The texts before and after in the same category."""
    members = catalog.text_ids[row.category]
    place = catalog.text_place[row.text]
    before = catalog.text_ref(members[place - 1], row.category) if place else None
    return before, catalog.text_ref(members[place + 1], row.category) if place + 1 < len(members) else None
