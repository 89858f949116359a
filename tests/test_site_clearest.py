"""The clearest features on the pages: their own page, the front page, reasons, and the kinds in the features table."""

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page
from selectolax.lexbor import LexborHTMLParser, LexborNode
from sites import Workplace
from synthetic import CLEAR, PAGED, TOUR, write
from test_browser_tables import shown, table
from test_site_pages import TEMPLATES, build

from saecatalog import open_catalog
from saecatalog.constants import CLEAR_KINDS
from saecatalog.site import formats, render
from saecatalog.site.catalog import CLEAREST_PAGE
from saecatalog.site.pages.clearest import ABOUT
from saecatalog.site.pages.features import GROUPS
from saecatalog.tables import Tables, write_table


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("clearest"))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    tables, _ = write(tmp_path_factory.mktemp("data"))
    return tables.features


def parsed(path: Path) -> LexborHTMLParser:
    return LexborHTMLParser(path.read_text("utf-8"))


def rows(section: LexborNode) -> list[list[str]]:
    return [[" ".join(cell.text().split()) for cell in row.css("th, td")] for row in section.css("tbody tr")]


def figures(row: pd.Series) -> str:
    shown = formats.percent_interval(row.clearness, row.clearness_low, row.clearness_high)
    return shown.replace("\u00a0", " ")


def test_the_page_lists_the_clear_features_of_each_kind(site: Path, features: pd.DataFrame) -> None:
    page = parsed(site / CLEAREST_PAGE)
    kinds = list(CLEAR_KINDS)
    sections = page.css("main > section")
    assert [section.attributes["id"] for section in sections] == kinds
    links = [link.attributes["href"] for link in page.css("main nav a")]
    assert links == [f"#{kind}" for kind in kinds]
    for kind, section in zip(kinds, sections, strict=True):
        assert section.css_first("h2").text() == CLEAR_KINDS[kind]
        found = rows(section)
        members = [number for number, (other, _) in CLEAR.items() if other == kind]
        assert [row[0].split()[0] for row in found] == [str(n) for n in members]
        assert [row[1] for row in found] == [figures(features.loc[n]) for n in members]
        assert [row[0].partition(" ")[2] for row in found] == [features["label"][n] for n in members]
        assert ("No feature of this kind is clear." in section.text()) == (not members)
        offered = [a.attributes["href"] for a in section.css(".hint a")]
        wanted = f"../features/index.html?kind={kind}&sort=clearness_low&dir=down"
        assert offered == ([] if kind == "common" else [wanted])


def test_every_kind_is_explained() -> None:
    assert list(ABOUT) == list(CLEAR_KINDS)
    assert set(GROUPS) == (set(CLEAR_KINDS) | {"mixed"})


def test_the_front_page_begins_with_the_clearest(site: Path, features: pd.DataFrame) -> None:
    page = parsed(site / "index.html")
    headings = [heading.text() for heading in page.css("main h2")]
    assert headings.index("Clearest") < headings.index("Strongest")
    sections = {section.css_first("h3").text(): rows(section) for section in page.css("#clearest section")}
    wanted = {"Words and their forms": (6, 9), "Topics": (4,)}
    assert sections == {
        kind: [[f"{n} {features['label'][n]}", figures(features.loc[n])] for n in members]
        for kind, members in wanted.items()
    }
    counts = {a.attributes["href"]: a.css_first(".sub").text() for a in page.css("#clearest nav a")}
    assert counts == {
        f"{CLEAREST_PAGE}#{kind}": str(sum(other == kind for other, _ in CLEAR.values()))
        for kind in CLEAR_KINDS
        if kind in {kind for kind, _ in CLEAR.values()}
    }
    assert "feature 6" in page.css_first("#example h2").text()


def test_a_reason_names_the_kind_and_the_place_in_its_list(site: Path) -> None:
    for number, kind in ((6, "words"), (4, "topics")):
        reason = parsed(site / f"features/{number}.html").css_first(".reasons a")
        assert reason.attributes["href"] == f"../{CLEAREST_PAGE}#{kind}"
        assert reason.text() == f"#1 clearest: {CLEAR_KINDS[kind].lower()}"


def test_a_catalog_without_clear_features_says_so(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    rankings = tables["rankings"]
    write_table(tables.folder, "rankings", rankings[~rankings["ranking"].str.startswith("clearest")])
    out = tmp_path / "out"
    only = {CLEAREST_PAGE, "index.html", "search-index.js"}
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, out, only=only)
    assert parsed(out / CLEAREST_PAGE).css_first("main").text().count("No feature of this kind is clear.") == 7
    front = parsed(out / "index.html").css_first("#clearest")
    assert "No feature is clear." in front.text()
    assert not front.css("nav, table")


def test_the_library_lists_them_by_kind(published: Workplace, features: pd.DataFrame) -> None:
    catalog = open_catalog(published.catalog)
    rows = catalog.clearest()
    assert rows["feature"].tolist() == [6, 4, 9]
    assert rows["rank"].tolist() == [0, 1, 2]
    assert rows["clearness_low"].tolist() == features["clearness_low"].loc[[6, 4, 9]].tolist()
    assert catalog.clearest("words", n=1)["feature"].tolist() == [6]
    assert catalog.clearest("code").empty


def test_kinds_filter_the_table(site: Path, page: Page, features: pd.DataFrame) -> None:
    for kind in ("words", "topics", "syntax", "positions"):
        table(page, site, f"?kind={kind}")
        assert shown(page) == [n for n in TOUR if features["label_group"][n] == kind]
        assert page.input_value("#filters [name=kind]") == kind
    page.click("#filters .clear")
    assert shown(page) == TOUR
    options = page.locator("#filters [name=kind] option").all_text_contents()
    assert options == ["any", "Words and their forms", "Topics", "Syntax", "Positions"]


def test_the_list_of_a_kind_leads_to_the_table_in_the_same_order(site: Path, page: Page) -> None:
    page.goto((site / CLEAREST_PAGE).as_uri())
    page.click("#words .hint a")
    page.wait_for_selector("#table thead button")
    wanted = sorted((n for n in PAGED if CLEAR.get(n, ("",))[0] in ("words", "common")), key=lambda n: -CLEAR[n][1])
    assert shown(page) == wanted
    assert page.locator("#table thead th[data-key=clearness_low]").get_attribute("aria-sort") == "descending"
