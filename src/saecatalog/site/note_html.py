"""A note as its page shows it: Markdown flows in, safe HTML and plain text flow out.

Markdown's own rules already leave no HTML of the author's; the result goes through a sanitiser all the same, with
nothing allowed but what is made here. Where a link leads is the caller's to say: `locate` gives its address, or "".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nh3
from markdown_it.token import Token
from markupsafe import Markup

from saecatalog.notes import parser

TAGS = {*"a blockquote br code em h3 h4 h5 h6 hr img li ol p pre section strong table tbody td th thead tr ul".split()}
ATTRIBUTES = {
    "a": {"href", "title", "rel"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    "section": {"class", "tabindex", "aria-label"},
    "td": {"style"},
    "th": {"style"},
}
TOP = 3
"""The level of a note's highest heading, below that of its section."""

Locate = Callable[[str, bool], str]
"""From an address as the author wrote it, and whether it is an image's, to one on the page; "" where it leads nowhere."""


@dataclass(frozen=True)
class Note:
    """A note as HTML for its page, and as plain text for the search."""

    html: Markup
    text: str


def note(markdown: str, locate: Locate) -> Note:
    """Render one note."""
    reader = parser()
    tokens = reader.parse(markdown)
    _shift_headings(tokens)
    _wrap_tables(tokens)
    for token in tokens:
        for child in token.children or []:
            _place(child, locate)
    return Note(Markup(_clean(reader.renderer.render(tokens, reader.options, {}))), _plain(tokens))


def _clean(html: str) -> str:
    """The HTML with nothing in it but what a note may hold."""
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_allowed,
        link_rel=None,
        url_schemes={"https"},
        filter_style_properties={"text-align"},
    ).strip()


def _allowed(tag: str, name: str, value: str) -> str | None:
    """Images come from the site itself, and a link leads somewhere."""
    if name == "src" and not value.startswith(("notes/", "../notes/")):
        return None
    return value if value or name != "href" else None


def _shift_headings(tokens: Sequence[Token]) -> None:
    """Number the levels of headings that a note uses from `TOP`, without gaps, so that the page's outline stays right."""
    used = sorted({token.tag for token in tokens if token.type == "heading_open"})
    levels = {tag: f"h{min(6, TOP + place)}" for place, tag in enumerate(used)}
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = levels[token.tag]


def _wrap_tables(tokens: list[Token]) -> None:
    """Put each table into a box of its own that scrolls where the table is wide."""
    tables = [place for place, token in enumerate(tokens) if token.type in ("table_open", "table_close")]
    for count, place in reversed(list(enumerate(tables))):
        opens = tokens[place].nesting > 0
        box = Token("box_open" if opens else "box_close", "section", tokens[place].nesting, block=True)
        if opens:
            box.attrs = {"class": "scroll", "tabindex": "0", "aria-label": f"Table {count // 2 + 1} of the note"}
        tokens.insert(place if opens else place + 1, box)


def _place(token: Token, locate: Locate) -> None:
    """Give a link or an image its address on the page."""
    if token.type == "image":
        token.attrs["src"] = locate(str(token.attrs["src"]), True)
    elif token.type == "link_open":
        token.attrs["href"] = address = locate(str(token.attrs["href"]), False)
        if address.startswith("https:"):
            token.attrs["rel"] = "external noopener"


def _plain(tokens: Sequence[Token]) -> str:
    """The words of a note, without any mark-up; of an image, its description."""
    return " ".join(" ".join(_words(token) for token in tokens).split())


def _words(token: Token) -> str:
    if token.children:
        return "".join(_words(child) for child in token.children)
    return " " if token.type in ("softbreak", "hardbreak") else token.content
