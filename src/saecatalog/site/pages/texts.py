"""The view models of the texts: one page and one script per text, one list per category, and an overview.

In: a `Catalog`. Out: plain values for the templates, and the data with which `assets/texts.js` colours a text.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from saecatalog.names import slug, with_signs
from saecatalog.site import tokens
from saecatalog.site.catalog import Catalog, FeatureRef, GroupRef, TextRef, text_page
from saecatalog.site.records import Row
from saecatalog.site.text_parts import Part, entry_in, part_at, parts, text_in

OPEN = 5
SAMPLES = 3
MARK_ALL = 2000
"""With more texts than this, a page without JavaScript shows its text marked by the strongest feature only."""


@dataclass(frozen=True)
class Firing:
    """A feature on a text: its activation at the token shown, and how many tokens it fires on.

    `level` is the highlight step of that activation; `entry` is the row of `text_top` or of `contexts`.
    """

    ref: FeatureRef
    activation: float
    level: int
    token: Markup
    active: int
    entry: Row


@dataclass(frozen=True)
class Listed:
    """A text in a list: its beginning, its length and its strongest feature."""

    ref: TextRef
    beginning: str
    tokens: int
    feature: FeatureRef | None


def text(catalog: Catalog, row: Row, examples: list[Row], part: Part) -> dict[str, Any]:
    """What a page of a text shows: all of the text, or a part; `examples` are the contexts from it on feature pages."""
    shown = text_in(row, part)
    top = catalog.by("text_top", "text")[row.text]
    here = [entry for entry in (entry_in(entry, part) for entry in top) if entry]
    strongest = {entry.feature for entry in top}
    rest = [c for c in examples if c.position in part and c.feature not in strongest]
    others = [_firing(catalog, shown, entry) for c in rest if c.listed and (entry := entry_in(c, part))]
    previous, following = _neighbours(catalog, row)
    copies = len(here) if len(catalog.texts) <= MARK_ALL else 1
    return {
        "text": row,
        "category": catalog.category.get(row.category),
        "list_page": list_page(row.category),
        "origin": origin(row),
        "shown": part,
        "pages": [(each.number, each.page(text_page(row.text))) for each in parts(row)],
        "left_out": row.n_tokens - parts(row)[-1].stop,
        "content": tokens.visible(shown.content),
        "pieces": tokens.pieces(shown.content, shown.token_ends),
        "found": [
            (_firing(catalog, shown, entry), _marked(catalog, shown, entry) if i < copies else None)
            for i, entry in enumerate(here)
        ],
        "elsewhere": [_elsewhere(catalog, row, entry) for entry in top if not entry_in(entry, part)],
        "open": OPEN,
        "others": sorted(others, key=lambda firing: (-firing.activation, firing.ref.number)),
        "unlisted": len(rest) - len(others),
        "previous": previous,
        "next": following,
    }


def origin(row: Row) -> tuple[str, str]:
    """The title of a text, shortened, and its web address; each "" if it has none.

    An address of another kind, which a link could run, is left out: a table may come from anywhere.
    """
    return _origin(row.title, row.link)


@lru_cache(1 << 16)
def _origin(title: str, link: str) -> tuple[str, str]:
    """The same, kept because many features fire on the same texts."""
    return with_signs(tokens.shorten(title, 80)), link if link.startswith(("https://", "http://")) else ""


def files(row: Row) -> list[str]:
    """The pages of a text and their scripts, from the catalog's root."""
    pages = [part.page(f"texts/{row.text}.html") for part in parts(row)]
    return [*pages, *map(script_of, pages)]


def script_of(page: str) -> str:
    """The script with the data of a page of a text."""
    return f"{page.removesuffix('html')}js"


def _elsewhere(catalog: Catalog, row: Row, entry: Row) -> tuple[FeatureRef, int, str]:
    """A feature of the text that is silent on this page, with the number and the page of its part."""
    part = part_at(row, entry.position)
    return catalog.ref(entry.feature), part.number, f"{part.page(text_page(row.text))}#f{entry.feature}"


def script(catalog: Catalog, row: Row, examples: list[Row], part: Part) -> dict[str, Any]:
    """The data with which a script marks a part of a text by any feature of its page, without further computation.

    `pieces` are HTML and, joined, give the text. `marks` has the marks of each feature in order, as `_in_short` writes
    them; the peak is the one for which the feature's page shows this text.
    """
    shown, examples = text_in(row, part), [context for context in examples if context.position in part]
    places = tokens.cuts(shown.content, shown.token_ends)
    piece = {place: i for i, place in enumerate(places)}
    shown_for = {context.feature: context.position - part.first for context in examples}
    marks: dict[str, str] = {}
    for entry in [*catalog.by("text_top", "text")[row.text], *examples]:
        largest, peak = catalog.features[entry.feature].max, shown_for.get(entry.feature, -1)
        if here := entry_in(entry, part):
            found = tokens.marks(shown.content, shown.token_ends, _active(here), largest, peak)
            marks[str(entry.feature)] = " ".join(_in_short(found, piece))
    pieces = [tokens.visible(shown.content[a:b]) for a, b in itertools.pairwise(places)]
    return {"pieces": pieces, "marks": marks}


def _in_short(marks: list[tokens.Mark], piece: dict[int, int]) -> Iterator[str]:
    """Each mark as the pieces skipped since the last mark, the highlight step and the activation, separated by commas.

    `p` follows if it is the peak, and the number of pieces if that is not 1. It is short because there are millions of
    marks.
    """
    at = 0
    for start, end, level, value, is_peak in marks:
        skipped, count = piece[start] - at, piece[end] - piece[start]
        at = piece[end]
        more = ",p" if is_peak else ""
        if count != 1:
            more = f"{more or ','},{count}"
        yield f"{skipped},{level},{value}{more}"


def overview(catalog: Catalog, refs: Sequence[GroupRef]) -> dict[str, Any]:
    """Some of the categories with the beginnings of a few of their texts."""
    found = []
    for ref in refs:
        members = texts_of(catalog, ref.name)
        found.append((ref, list_page(ref.name), [_listed(catalog, row) for row in members[:SAMPLES]]))
    return {"groups": found, "total": len(catalog.categories)}


def texts_list(catalog: Catalog, ref: GroupRef) -> dict[str, Any]:
    """Every text of one category."""
    return {"category": ref, "texts": [_listed(catalog, row) for row in texts_of(catalog, ref.name)]}


def texts_of(catalog: Catalog, category: str) -> list[Row]:
    """The texts of a category in the order of the table."""
    return [catalog.texts[text] for text in catalog.text_ids.get(category, [])]


def list_page(category: str) -> str:
    """The page that lists a category's texts, from the catalog's root; no text's page has a dot in its name."""
    return f"texts/all.{slug(category)}.html"


def _firing(catalog: Catalog, row: Row, entry: Row) -> Firing:
    """A row of `text_top` or of `contexts` as the text's page shows it."""
    largest = catalog.features[entry.feature].max
    around = tokens.near(entry.active_positions, entry.active_values, (entry.position, entry.position + 1))
    activation = dict(around).get(entry.position, 0.0)
    start, end = tokens.unit(row.token_ends, entry.position)
    token = tokens.token(row.content[start:end])
    return Firing(
        catalog.ref(entry.feature),
        activation,
        tokens.level(activation, largest),
        token,
        len(entry.active_positions),
        entry,
    )


def _marked(catalog: Catalog, row: Row, entry: Row) -> Markup:
    """The text with every active token marked."""
    largest = catalog.features[entry.feature].max
    return tokens.highlight(row.content, row.token_ends, _active(entry), largest, peak=entry.position)


def _active(entry: Row) -> list[tuple[int, float]]:
    """The tokens on which a feature fires and their activations, from a row of `text_top` or of `contexts`."""
    return list(zip(entry.active_positions.tolist(), entry.active_values.tolist(), strict=True))


def _listed(catalog: Catalog, row: Row) -> Listed:
    top = catalog.by("text_top", "text")[row.text]
    strongest = catalog.ref(top[0].feature) if top else None
    return Listed(catalog.text_ref(row.text, row.category), tokens.shorten(row.content, 110), row.n_tokens, strongest)


def _neighbours(catalog: Catalog, row: Row) -> tuple[TextRef | None, TextRef | None]:
    """The previous and the next text of the same category."""
    members = catalog.text_ids[row.category]
    place = catalog.text_place[row.text]
    before = catalog.text_ref(members[place - 1], row.category) if place else None
    return before, catalog.text_ref(members[place + 1], row.category) if place + 1 < len(members) else None
