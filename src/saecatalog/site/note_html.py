"""Renders a note: Markdown in, safe HTML and plain text out.

The Markdown reader already shows the author's HTML as text; a sanitiser then removes everything that this module does
not produce. The caller resolves links: `locate` gives the address of a link's target, or "".
"""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import nh3
from markupsafe import Markup
from selectolax.lexbor import LexborHTMLParser

from saecatalog.notes import address, to_html

TAGS = {
    *[
        "a",
        "blockquote",
        "br",
        "code",
        "em",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "img",
        "li",
        "ol",
        "p",
        "pre",
        "section",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
}
ATTRIBUTES = {
    "a": {"href", "title", "rel"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    "section": {"class", "tabindex", "aria-label"},
    "td": {"style"},
    "th": {"style"},
}
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
TOP = 3
"""The level of a note's highest heading, below that of its section."""

Locate = Callable[[str, bool], str]
"""From an address in a note, and whether it is of an image, to an address on the page; "" if there is no target."""


@dataclass(frozen=True)
class Note:
    """A note as HTML for its page, and as plain text for the search."""

    html: Markup
    text: str


def note(markdown: str, locate: Locate) -> Note:
    """Render one note; raises CatalogError if reading it could take minutes."""

    def finish(root: Element) -> None:
        _shift_headings(root)
        _box_tables(root)
        _place(root, locate)

    html = _clean(to_html(markdown, finish))
    return Note(Markup(html), _plain(html))


def _clean(html: str) -> str:
    """The HTML without anything that a note may not contain."""
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
    """The value of an attribute, or None to drop it: images must come from the site, and links need a target."""
    if name == "src" and not value.startswith(("notes/", "../notes/")):
        return None
    return value if value or name != "href" else None


def _shift_headings(root: Element) -> None:
    """Renumber a note's heading levels from `TOP`, without gaps, so that the page's outline stays right."""
    headings = [node for node in root.iter() if node.tag in HEADINGS]
    used = sorted({node.tag for node in headings})
    for node in headings:
        node.tag = f"h{min(6, TOP + used.index(node.tag))}"


def _box_tables(root: Element) -> None:
    """Put each table into a box that scrolls if the table is wide."""
    for number, box in enumerate([*root.iter("table")], 1):
        table = Element("table")
        table[:] = box[:]
        box[:] = [table]
        box.tag = "section"
        box.attrib = {"class": "scroll", "tabindex": "0", "aria-label": f"Table {number} of the note"}


def _place(root: Element, locate: Locate) -> None:
    """Set the addresses of links and images; the result is written as HTML, so `&` is escaped."""
    for image in root.iter("img"):
        image.set("src", locate(address(image), True).replace("&", "&amp;"))
    for link in root.iter("a"):
        place = locate(address(link), False)
        link.set("href", place.replace("&", "&amp;"))
        if place.startswith("https:"):
            link.set("rel", "external noopener")


def _plain(html: str) -> str:
    """The text of a note as shown; an image is replaced by its description."""
    body = LexborHTMLParser(f"<body>{html}").body
    nodes = body.traverse(include_text=True) if body else ()
    words = (node.text_content or node.attributes.get("alt") or "" for node in nodes)
    return " ".join("".join(words).split())
