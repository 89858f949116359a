"""Clear, then other notable features come first: in the table, with and without script, and for "previous" and "next".

Of the synthetic catalog's features with a page, some are made ordinary here.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from selectolax.lexbor import LexborHTMLParser
from synthetic import FEATURES, PAGED, TOUR
from test_browser_tables import shown, table
from test_site_pages import build

from saecatalog.build import few_notable_warnings
from saecatalog.site.formats import FILTERS
from saecatalog.site.pages.features import COLUMNS
from saecatalog.tables import Tables, write_table

ORDINARY = [0, 3, 6]
NOTABLE = [n for n in TOUR if n not in ORDINARY]
"""In the order of "next"."""


def make_ordinary(tables: Tables, manifest: dict[str, Any]) -> None:
    # Not by `tables`, which would keep what it has read.
    features = Tables(tables.folder)["features"]
    reasons = features["notable"].mask(features["feature"].isin(ORDINARY), "")
    write_table(tables.folder, "features", features.assign(notable=reasons))
    manifest["counts"]["notable"] = len(NOTABLE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("ordinary"), make_ordinary)


def parsed(site: Path, page: str) -> LexborHTMLParser:
    return LexborHTMLParser((site / page).read_text("utf-8"))


def test_previous_and_next_lead_through_the_notable_features(site: Path) -> None:
    for number in PAGED:
        page = parsed(site, f"features/{number}.html")
        found = {rel: page.css_first(f"a[rel={rel}]") for rel in ("prev", "next")}
        at = NOTABLE.index(number) if number in NOTABLE else None
        before = sorted(n for n in NOTABLE if n < number) if at is None else NOTABLE[:at]
        after = sorted(n for n in NOTABLE if n > number) if at is None else NOTABLE[at + 1 :]
        wanted = {"prev": before[-1:], "next": after[:1]}
        for rel, numbers in wanted.items():
            link = found[rel]
            assert [link.attributes["href"]] == [f"{n}.html" for n in numbers] if numbers else link is None
            assert link is None or "notable feature" in (link.attributes["title"] or "")
        said = page.css_first(".reasons").text()
        assert ("Not notable" in said) == (number in ORDINARY)


def test_chosen_features_are_all_visited(tmp_path: Path) -> None:
    """As with `--features 1,3`: of the notable features, most have no page."""

    def choose(tables: Tables, manifest: dict[str, Any]) -> None:
        make_ordinary(tables, manifest)
        features = Tables(tables.folder)["features"]
        pages = features["page"].where(features["feature"].isin([1, 3]), "")
        write_table(tables.folder, "features", features.assign(page=pages))

    link = parsed(build(tmp_path, choose), "features/1.html").css_first("a[rel=next]")
    assert link.attributes["href"] == "3.html"
    assert link.attributes["title"] == "Next feature (j)"


def test_the_table_begins_with_the_notable_features(site: Path, page: Page) -> None:
    static = parsed(site, "features/index.html").css("#table tbody tr")
    assert [row.attributes["id"] for row in static] == [f"f{n}" for n in NOTABLE + ORDINARY]
    table(page, site)
    assert shown(page) == NOTABLE + ORDINARY
    page.select_option("#filters [name=reason]", "any")
    assert shown(page) == NOTABLE
    page.select_option("#filters [name=sort]", "feature")
    page.select_option("#filters [name=reason]", "")
    assert shown(page) == PAGED
    page.select_option("#filters [name=sort]", "first")
    assert shown(page) == NOTABLE + ORDINARY


def test_a_feature_without_a_page_shows_its_row(page: Page, tmp_path: Path) -> None:
    tables: list[Tables] = []
    site = build(tmp_path, lambda given, _: tables.append(given), neuronpedia="gpt2-small/6-res-jb")
    for number in set(range(FEATURES)) - set(PAGED):
        page.goto(f"{(site / 'row.html').as_uri()}?feature={number}")
        page.wait_for_selector("#row:not([hidden])")
        row = tables[0].features.loc[number]
        assert page.inner_text("h1") == f"Feature {number}"
        assert page.title().startswith(f"Feature {number} ·")
        assert page.inner_text("#label") == row["label"]
        headings, values = (page.locator(f"#row {cell}").all_text_contents() for cell in ("th", "td"))
        figures = dict(zip(headings, values, strict=True))
        wanted = {c.heading: FILTERS[c.format](row[c.name]) for c in COLUMNS[1:] if row[c.name] == row[c.name]}
        assert figures == wanted
        links = [link.get_attribute("href") for link in page.locator("#links a").all()]
        assert links == [f"texts/{row['top_text']}.html", f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{number}"]


def test_the_page_of_rows_answers_every_address(site: Path, page: Page) -> None:
    rows = (site / "row.html").as_uri()
    for query in ("", "?feature=", "?feature=12", "?feature=1e1", "?feature=-1", "?feature=<b>"):
        page.goto(rows + query)
        page.wait_for_selector("#problem:not([hidden])")
        assert "features are 0 to 11" in page.inner_text("#problem")
        assert page.locator("#row").is_hidden()
    page.goto(f"{rows}?feature=1")
    page.wait_for_url("**/features/1.html")


def test_missing_data_is_said(site: Path, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "assets").symlink_to(site / "assets")
    (tmp_path / "row.html").write_bytes((site / "row.html").read_bytes())
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{(tmp_path / 'row.html').as_uri()}?feature=9")
    page.wait_for_selector("#problem:not([hidden])")
    assert "feature 9 cannot be loaded" in page.inner_text("#problem")
    context.close()


def test_the_data_of_every_feature_is_in_one_script(site: Path) -> None:
    assert [path.name for path in (site / "features/rows").iterdir()] == ["0.js"]


def test_few_notable_features_are_explained() -> None:
    def said(notable: int, wanted: int, fired: int) -> list[str]:
        counts = {"notable": notable, "features_fired": fired}
        return list(few_notable_warnings(counts, {"notable": wanted, "top": 12}))

    assert said(240, 240, 4000) == said(260, 240, 4000) == said(40, 240, 40) == []
    (line,) = said(118, 240, 4000)
    assert line.startswith("118 features are notable, although `notable` allows 240")
    assert "at most 12 entries" in line
