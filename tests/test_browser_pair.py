"""Two features side by side in a real browser: its figures are those of the library, which are those of the tables."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page
from scipy import stats
from synthetic import FEATURES, PAGED, SILENT, World, write

from saecatalog.errors import CatalogError
from saecatalog.library.pairs import pair_figures
from saecatalog.tables import Tables

PAIRS = [(0, 2), (1, 3), (7, 4), (6, SILENT)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return write(tmp_path_factory.mktemp("pair"))[0]


def n_tokens() -> int:
    return sum(len(text["tokens"]) for text in World().texts)


def figures(tables: Tables, a: int, b: int) -> pd.Series:
    return pair_figures(tables, a, b, n_tokens())


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_figures_against_dense_arrays(tables: Tables, a: int, b: int) -> None:
    found, world = figures(tables, a, b), World()
    values = np.concatenate([text["values"] for text in world.texts])[:, [a, b]]
    scores = np.array([world.scores(feature) for feature in (a, b)]).T
    for level, rows in (("tokens", values > 0), ("texts", scores > 0)):
        x, y = rows.T
        both = int((x & y).sum())
        assert found[[f"{level}_a", f"{level}_b", f"{level}_both"]].tolist() == [x.sum(), y.sum(), both]
        assert found[f"{level}_jaccard"] == pytest.approx(both / max(1, (x | y).sum()))
        phi = np.corrcoef(x, y)[0, 1] if x.std() * y.std() else math.nan
        assert found[f"{level}_phi"] == pytest.approx(phi, nan_ok=True)
        lift = both / len(x) / (x.mean() * y.mean()) if x.any() and y.any() else math.nan
        assert found[f"{level}_lift"] == pytest.approx(lift, nan_ok=True)
    varied = scores.std(axis=0).all()
    # The table has scores in single precision.
    wanted = [np.corrcoef(scores.T)[0, 1], stats.spearmanr(scores).statistic] if varied else [math.nan] * 2
    assert found[["pearson", "spearman"]].tolist() == pytest.approx(wanted, abs=1e-5, nan_ok=True)


def test_a_feature_without_firings_is_named(tables: Tables) -> None:
    with pytest.raises(CatalogError, match="no firings"):
        figures(tables, 0, FEATURES - 1)


def shown(page: Page) -> dict[str, list[str]]:
    """The cells of each row of the page's tables, by the row's heading."""
    rows = page.locator("#overlap tbody tr, #direction tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows}


def number_of(text: str) -> float:
    return math.nan if text == "–" else float(text.replace("\u2212", "-").replace(",", ""))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_page_shows_the_figures(page: Page, site: Path, tables: Tables, a: int, b: int) -> None:
    page.goto(f"{(site / 'pair.html').as_uri()}?a={a}&b={b}")
    page.wait_for_selector("#compared:not([hidden])")
    found, rows = figures(tables, a, b), shown(page)
    for level in ("tokens", "texts"):
        both, _, lift, only_a, only_b, jaccard, phi = map(number_of, rows[level.capitalize()])
        assert both == found[f"{level}_both"]
        assert both + only_a == found[f"{level}_a"]
        assert both + only_b == found[f"{level}_b"]
        assert lift == pytest.approx(found[f"{level}_lift"], rel=0.006, nan_ok=True)
        assert [jaccard, phi] == pytest.approx(
            found[[f"{level}_jaccard", f"{level}_phi"]].tolist(), abs=0.0051, nan_ok=True
        )
    values = [number_of(cells[0]) for heading, cells in rows.items() if heading.startswith(("Cosine", "Correlation"))]
    assert values == pytest.approx(found[["cosine", "pearson", "spearman"]].tolist(), abs=0.0051, nan_ok=True)


def test_texts_where_only_one_fires(page: Page, site: Path) -> None:
    """Feature 1 fires in one category only, feature 0 everywhere."""
    page.goto(f"{(site / 'pair.html').as_uri()}?a=0&b=1")
    page.wait_for_selector("#compared:not([hidden])")
    scores = {place: World().scores(place) for place in (0, 1)}
    alone = sorted((-s for s, other in zip(scores[0], scores[1], strict=True) if not other))
    sections = page.locator("#texts section").all()
    assert [s.locator("h2").inner_text() for s in sections] == ["Only 0", "Both", "Only 1"]
    found = [float(text.split()[-1]) for text in sections[0].locator("li").all_inner_texts()]
    assert found == pytest.approx([-s for s in alone][:5], rel=0.005)
    assert sections[2].inner_text().endswith("There is none.")
    links = sections[0].locator("li a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert all((site / link).is_file() for link in links)


def test_the_verdict(page: Page, site: Path) -> None:
    """The directions of 0 and 2 are equal, but 0 fires on every token."""
    page.goto(f"{(site / 'pair.html').as_uri()}?a=2&b=0")
    page.wait_for_selector("#compared:not([hidden])")
    assert page.locator("#verdict").inner_text() == "They write in the same direction but fire on different tokens."


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("?a=0", "Name two features"),
        ("?a=0&b=%3Cimg%20src=x%20onerror=alert(1)%3E", "Name two features"),
        ("?a=0&b=99", "Name two features"),
        ("?a=3&b=3", "two different features"),
        (f"?a=0&b={FEATURES - 1}", f"no data for comparing feature {FEATURES - 1}"),
    ],
)
def test_an_address_that_names_no_pair(page: Page, site: Path, address: str, words: str) -> None:
    page.goto((site / "pair.html").as_uri() + address)
    page.wait_for_selector("#problem:not([hidden])")
    assert words in page.locator("#problem").inner_text()
    assert not page.locator("#compared").is_visible()


def test_the_form_and_the_links_lead_there(page: Page, site: Path) -> None:
    page.goto((site / "features/0.html").as_uri())
    page.locator("a.beside-link").first.click()
    page.wait_for_selector("#compared:not([hidden])")
    page.get_by_label("and feature").fill("3")
    page.keyboard.press("Enter")
    page.wait_for_function("location.search === '?a=0&b=3'")
    assert page.locator("#two tbody th").last.inner_text().startswith("3 ")


def test_without_javascript(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "pair.html").as_uri())
    assert "needs JavaScript" in page.locator("noscript").inner_text()
    assert not page.locator("form").is_visible()
    context.close()


def test_every_compared_feature_has_its_data(site: Path) -> None:
    assert sorted(path.name for path in (site / "pairs").iterdir()) == ["0.js", "texts.js"]
    assert all(f'"{feature}":' in (site / "pairs/0.js").read_text("utf-8") for feature in PAGED)
