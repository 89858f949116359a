"""Citations: of a feature and of a catalog, in every form, with and without authors, year and address."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from synthetic import World, manifest
from test_site_pages import build

from saecatalog.config import Config, load_config
from saecatalog.site import cite

BASE = "https://example.org/sae/"
AUTHORS = ["Ada Lovelace", "Black and White Lab", "Émilie du Châtelet"]
MINE = {"title": "My 100% {catalog}", "authors": AUTHORS, "year": 2026}


def made(**facts: Any) -> dict[str, Any]:
    return manifest(World(), None, BASE, False) | facts


def of_feature(**facts: Any) -> cite.Citation:
    return cite.feature(made(**facts), SimpleNamespace(feature=3, page="features/3.html"), embedded=True)


def fields(bibtex: str) -> dict[str, str]:
    """The fields of an entry, by a reader that knows braces and nothing else."""
    assert bibtex.startswith("@misc{")
    found, depth, name, value = {}, 0, "", ""
    for char in bibtex.partition(",")[2]:
        depth += (char == "{") - (char == "}")
        if depth == 0 and char in "=,}\n":
            if char == "=":
                name, value = value.strip(), ""
            elif char == "}":
                found[name], value = value.strip()[1:], ""
            else:
                value = ""
            continue
        value += char
    return found


def test_a_feature_is_cited_with_the_catalogs_title_authors_and_year() -> None:
    found = of_feature(**MINE)
    assert fields(found.bibtex) == {
        "author": "Ada Lovelace and {Black and White Lab} and Émilie du Châtelet",
        "title": r"Feature 3 of tiny-res/blocks.0 (tiny\_\{model\}), in: My 100\% \{catalog\}",
        "year": "2026",
        "howpublished": r"\url{https://example.org/sae/tiny/0-res/features/3.html}",
        "note": "Built with saecatalog 0.0, corpus cccccccccccc",
    }
    people = "Ada Lovelace, Black and White Lab and Émilie du Châtelet"
    where = f"{BASE}tiny/0-res/features/3.html"
    assert found.plain == (
        f"{people} (2026). Feature 3 of tiny-res/blocks.0 (tiny_{{model}}), in: My 100% {{catalog}}. "
        f"saecatalog 0.0. {where}"
    )
    assert found.markdown == f"[Feature 3, My 100% {{catalog}}](<{where}>) ({people}, 2026)"
    assert found.latex == rf"\href{{{where}}}{{Feature 3, My 100\% \{{catalog\}}}} ({people}, 2026)"


def test_a_catalog_is_cited_with_them_too() -> None:
    found = cite.catalog(made(**MINE))
    assert fields(found.bibtex)["author"].startswith("Ada Lovelace and ")
    assert fields(found.bibtex)["title"] == r"My 100\% \{catalog\}: features of tiny-res/blocks.0 (tiny\_\{model\})"
    assert fields(found.bibtex)["year"] == "2026"
    for form in (found.plain, found.markdown, found.latex):
        assert re.search(r"My 100\\?%.*", form)
        assert "Ada Lovelace" in form
        assert "2026" in form


def test_without_the_settings_no_author_and_no_year_is_made_up() -> None:
    for found in (of_feature(), cite.catalog(made())):
        assert fields(found.bibtex).keys() == {"title", "howpublished", "note"}
        for form in (found.plain, found.markdown, found.latex):
            assert not re.search(r"\b(19|20)\d\d\b", form)
            assert "()" not in form
            assert "None" not in form


@pytest.mark.parametrize(
    ("authors", "year", "start", "end"),
    [
        (["Ada"], None, "Ada. Feature 3", " (Ada)"),
        (["Ada", "Bea"], None, "Ada and Bea. Feature 3", " (Ada and Bea)"),
        ([], 2026, "Feature 3", " (2026)"),
        (["Ada"], 2026, "Ada (2026). Feature 3", " (Ada, 2026)"),
    ],
)
def test_one_of_the_settings_is_enough(authors: list[str], year: int | None, start: str, end: str) -> None:
    found = of_feature(authors=authors, year=year)
    assert found.plain.startswith(start)
    assert found.markdown.endswith(end)
    assert found.latex.endswith(end)
    assert (f"({year})" in found.plain) == (year is not None)


def test_hostile_titles_and_names_stay_words() -> None:
    found = of_feature(title="a](http://x) <img> `c` *d*", authors=["\\input{x}", "$y$ & z"])
    assert r"a\](http://x) \<img\> \`c\` \*d\*" in found.markdown
    assert r"\textbackslash{}input\{x\} and \$y\$ \& z" in found.bibtex


@pytest.mark.parametrize("base", ["", BASE])
def test_addresses_are_encoded(base: str) -> None:
    assert cite.address(made(base_url=base), "texts/für dich.html") == f"{base}tiny/0-res/texts/f%C3%BCr%20dich.html"


def test_pages_show_what_the_settings_say(tmp_path: Path) -> None:
    site = build(tmp_path, lambda _, manifest: manifest.update(MINE))
    for page, place in (("features/1.html", "#cite"), ("about.html", "#citation")):
        shown = LexborHTMLParser((site / page).read_text("utf-8")).css_first(place).text()
        assert "author = {Ada Lovelace and {Black and White Lab}" in shown
        assert "year = {2026}" in shown


def test_the_settings_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[site]\nauthors = ["Ada", "Bea"]\nyear = 2026\n', encoding="utf-8")
    assert load_config(path).site == replace(
        Config().site, out=str(tmp_path / "site"), authors=("Ada", "Bea"), year=2026
    )
