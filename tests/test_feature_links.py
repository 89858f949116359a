"""No page names a feature without a link to its figures.

Mentions are found in what a page shows, not by how the templates write them: a number with the feature's label behind
it, a cell below a heading "Feature", and the words "feature 12".
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from selectolax.lexbor import LexborHTMLParser, LexborNode
from test_site_pages import build

from saecatalog.site.catalog import ROW_PAGE

SAMPLE = 300
"""Of more pages of one folder than this, some are read."""


def texts(main: LexborNode) -> Iterator[tuple[str, str | None]]:
    """Each piece of text in order, and the address of the link that it is in."""
    for node in main.traverse(include_text=True):
        if node.tag == "-text" and (words := " ".join((node.text_content or "").split())):
            above = node.parent
            while above is not None and above.tag not in ("a", "svg"):
                above = above.parent
            # Labels in static pictures stand in the table below the picture too.
            if above is None or above.tag == "a":
                yield words, above and (above.attributes.get("href") or "")


def mentions(main: LexborNode, labels: list[str]) -> Iterator[tuple[int, str | None]]:
    """Each feature that is named, with the address of its link; None without one."""
    found = list(texts(main))
    for at, (words, href) in enumerate(found):
        number = int(words.lstrip("#")) if re.fullmatch(r"#?\d+", words) else -1
        after = {" ".join(piece for piece, _ in found[at + 1 : at + 1 + n]) for n in (1, 2, 3)}
        if 0 <= number < len(labels) and labels[number] and labels[number] in after:
            yield number, href
        for phrase in re.finditer(r"\bfeature (\d+)\b", words):
            yield int(phrase[1]), href
    for table in main.css("table"):
        heads = [head.text(strip=True) for head in table.css("thead th")]
        for row in table.css("tbody tr") if heads[:1] == ["Feature"] else ():
            number = row.css_first("th, td").text(separator=" ", strip=True).split()[0]
            link = row.css_first("th a, td:first-child a")
            yield int(number), link and link.attributes["href"]


def sampled(catalog: Path) -> list[Path]:
    """The pages of a catalog, without embeds and the definitions, which name a feature for example; of many, some."""
    folders: dict[Path, list[Path]] = {}
    for page in sorted(catalog.rglob("*.html")):
        if not page.name.endswith((".embed.html", "about.html")):
            folders.setdefault(page.parent, []).append(page)
    return [page for pages in folders.values() for page in pages[:: max(1, len(pages) // SAMPLE)]]


def unlinked(catalog: Path, labels: list[str]) -> tuple[list[str], Counter[str]]:
    """The mentions that lead nowhere or to another feature, and the number of mentions on each kind of page."""
    wrong, seen = [], Counter[str]()
    for page in sampled(catalog):
        main = LexborHTMLParser(page.read_text("utf-8")).css_first("main")
        for number, href in mentions(main, labels):
            seen[page.parent.relative_to(catalog).as_posix()] += 1
            place, _, query = (href or "").partition("#")[0].partition("?")
            own = place.endswith(f"{number}.html") or (place.endswith(ROW_PAGE) and query == f"feature={number}")
            if not own or not (page.parent / place).resolve().is_file():
                wrong.append(f"{page.relative_to(catalog)}: feature {number} leads to {href}")
    return wrong, seen


def labels_of(catalog: Path) -> list[str]:
    found = pq.read_table(catalog / "data/features.parquet", columns=["label"])["label"].to_pylist()
    return [" ".join(label.split()) for label in found]


def test_every_number_leads_to_its_feature_where_some_have_no_page(tmp_path: Path) -> None:
    catalog = build(tmp_path)
    labels = [f"label <{n}> & '\"" if n != 5 else "" for n in range(12)]
    wrong, seen = unlinked(catalog, labels)
    assert wrong == []
    assert set(seen) == {".", "features", "texts", "categories", "concepts", "coactivation", "clearest"}


def test_every_number_of_the_default_catalog_leads_to_its_feature(default_site: Path) -> None:
    (manifest,) = default_site.glob("*/*/data/manifest.json")
    catalog = manifest.parent.parent
    wrong, seen = unlinked(catalog, labels_of(catalog))
    assert wrong == []
    assert set(seen) == {".", "features", "texts", "categories", "concepts", "coactivation", "clearest", "effects"}
    # Without a page for every feature, most of these would lead to the shared page.
    assert not (catalog / ROW_PAGE).exists()


def test_a_number_without_a_link_is_seen() -> None:
    main = "<main><b>3</b> <span>three</span> <a href='4.html'>4</a> four <p>see feature 2</p></main>"
    found = mentions(LexborHTMLParser(main).css_first("main"), ["zero", "one", "two", "three", "four"])
    assert sorted(found) == [(2, None), (3, None), (4, "4.html")]
