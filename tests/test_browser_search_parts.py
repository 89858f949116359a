"""The search of a wide dictionary in a browser, over http and from a folder, against the texts of every feature."""

from pathlib import Path

import pytest
from browsing import address, opened
from playwright.sync_api import Browser, Page
from synthetic import SILENT
from test_site_search_parts import arguments, pieces, worths
from wide import SILENT_TOO, WIDE

from saecatalog.site import search
from saecatalog.site.catalog import Catalog

FIND = """async ([terms, listed, size]) => {
  await saeLoad("assets/search_parts.js");
  return (await saeOpenParts("")).find(terms, new Set(listed), size);
}"""
QUERIES = (
    "harbour",
    "harb",
    "dog run",
    "run dog",
    "the",
    "(",
    "( ==",
    "日本",
    "語",
    "ไท",
    "🙂",
    "👋🏽",
    "don't",
    "stra",
    "ΣΟΦΟΣ".lower(),
    "İstanbul".lower(),
    "x_1",
    "1984",
    "zzz",
    "harbour zzz",
)


def ask(page: Page, words: str) -> str:
    """Type into the search box, and wait for all results; returns the line about them."""
    page.focus("#search")
    page.wait_for_selector("#results", state="attached")
    page.fill("#search", words)
    page.wait_for_function("() => !/further/.test(document.querySelector('.results p').textContent)")
    return page.inner_text(".results [role=status]")


@pytest.mark.parametrize("way", ["file", "http"])
def test_every_feature_with_all_words_is_found(
    browser: Browser, complaints: list[str], wide: tuple[Catalog, Path], way: str
) -> None:
    """Best first, but for the steps in which worth is kept. A word also stands for those that begin with it."""
    catalog, site = wide
    listed = arguments(site / search.INDEX)["numbers"]
    source = search.Source.of(catalog)
    known = {n: worths(source, n) for n in range(WIDE) if n not in {*listed, SILENT, SILENT_TOO}}
    with address(site, way) as base, opened(browser, complaints, base) as page:
        page.goto(f"{base}index.html")
        for query in QUERIES:
            keys = list(dict.fromkeys(key for term in query.split() for key, _ in pieces(term)))
            wanted = {}
            for number, words in known.items():
                told = [
                    max((v if w == key else 0.45 * v for w, v in words.items() if w.startswith(key)), default=0)
                    for key in keys
                ]
                if all(told):
                    wanted[number] = sum(told) / len(told)
            found = page.evaluate(FIND, [query.split(), listed, WIDE])
            assert found["short"] == [], query
            assert {one["number"] for one in found["found"]} == wanted.keys(), query
            for one in found["found"]:
                assert 0.83 < one["score"] / wanted[one["number"]] < 1.2, query
    assert complaints == []


@pytest.mark.parametrize("way", ["file", "http"])
def test_a_query_loads_few_parts_and_shows_features_of_both_kinds(
    browser: Browser, complaints: list[str], wide: tuple[Catalog, Path], way: str
) -> None:
    catalog, site = wide
    with address(site, way) as base, opened(browser, complaints, base) as page:
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url.removeprefix(base)))
        page.goto(f"{base}texts/index.html")
        source = search.Source.of(catalog)
        texts = [search.FIELDS["label"](source, n) + search.FIELDS["tokens"](source, n) for n in range(WIDE)]
        assert ask(page, "zebra") == f"{sum('zebra' in text for text in texts)} features, best first"
        assert len([path for path in loaded if path.startswith("search/words/")]) == 1
        first = page.locator("#results [role=option]").first
        number = int(first.locator("b").inner_text())
        assert catalog.ref(number).label in first.inner_text()
        assert "density " in first.inner_text()
        assert first.get_attribute("href") == f"../row.html?feature={number}"
        # Those in the index come with the others.
        ask(page, "<4>")
        assert page.locator("#results a").first.get_attribute("href") == "../features/4.html"
        assert ask(page, "#200") == "1 feature"
        assert page.locator("#results b").first.inner_text() == "200"
        ask(page, str(SILENT_TOO))
        assert "never active" in page.locator("#results").inner_text()
        assert ask(page, "999") == f"This SAE has {WIDE} features."
        assert ask(page, "hrabour").startswith("No results for “hrabour”. Showing results for “harbour”.")
        assert ask(page, "qqqq") == "No results."
    assert complaints == []


def test_a_short_beginning_stands_for_itself_alone_and_says_so(page: Page, wide: tuple[Catalog, Path]) -> None:
    """Otherwise two letters would load a large share of all parts."""
    catalog, site = wide
    source = search.Source.of(catalog)
    listed = arguments(site / search.INDEX)["numbers"]
    told = {n: worths(source, n) for n in range(WIDE) if n not in {*listed, SILENT, SILENT_TOO}}
    page.goto((site / "index.html").as_uri())
    page.focus("#search")
    page.wait_for_selector("#results", state="attached")
    found = page.evaluate(FIND, [["th"], listed, WIDE])
    assert found["short"] == ["th"]
    assert {one["number"] for one in found["found"]} == {n for n, words in told.items() if "th" in words}
    assert ask(page, "th").startswith("Only whole words “th”; type more letters for longer words.")
    assert "Only whole" not in ask(page, "thi")
    assert "“thi" in page.locator("#results").inner_text()


def test_a_part_that_cannot_be_loaded_is_said(browser: Browser, wide: tuple[Catalog, Path]) -> None:
    _, site = wide
    with opened(browser, []) as page:
        page.route("**/search/words/*.js", lambda route: route.abort())
        page.goto((site / "index.html").as_uri())
        assert ask(page, "zebra").startswith("Only features with a page were searched: cannot load")
