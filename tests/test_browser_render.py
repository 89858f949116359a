"""A catalog with many pages in the browser: what its pages leave out is not offered, and everything else works."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from synthetic import PAGED, write
from test_site_pages import TEMPLATES

from saecatalog.site import cite, examples, render
from saecatalog.tables import Tables, write_table

PLAIN = PAGED[-1]
"""A feature with a page that is not notable."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic catalog as if it had thousands of pages."""
    folder = tmp_path_factory.mktemp("many")
    tables, manifest = write(folder / "tables")
    features = tables["features"]
    reasons = features["notable"].mask(features["feature"] == PLAIN, "")
    write_table(tables.folder, "features", features.assign(notable=reasons))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cite, "EMBED_ALL", 1)
        patch.setattr(examples, "LISTED", 1)
        patch.setattr(render.texts, "MARK_ALL", 1)
        render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, folder / "site")
    return folder / "site"


def test_the_page_about_embeds_shows_only_cards_that_there_are(page: Page, site: Path) -> None:
    page.goto((site / "embed.html").as_uri())
    first = page.eval_on_selector("iframe", "node => node.src")
    for asked, shown in ((PAGED[2], f"features/{PAGED[2]}.embed.html"), (PLAIN, first)):
        page.goto(f"{(site / 'embed.html').as_uri()}?feature={asked}")
        assert page.eval_on_selector("iframe", "node => node.src").endswith(shown)


def test_an_example_grows_to_its_text_where_the_text_does_not_list_the_feature(page: Page, site: Path) -> None:
    grown = 0
    for number in PAGED:
        page.goto((site / f"features/{number}.html").as_uri())
        for item in page.locator(".examples > li:has([aria-expanded])").all():
            link = item.locator('a[href*="/texts/"]').get_attribute("href") or ""
            if "#" in link:
                continue
            part = len(item.locator("p").text_content() or "")
            item.evaluate("node => { const fold = node.closest('details'); if (fold) fold.open = true; }")
            item.locator("[aria-expanded]").click()
            expect(item.locator("[aria-expanded]")).to_have_text("Excerpt only")
            assert len(item.locator("p").text_content() or "") > part
            assert item.locator("b.p").count() == 1
            grown += 1
    assert grown


def test_a_text_that_is_marked_once_is_coloured_by_each_of_its_features(page: Page, site: Path) -> None:
    page.goto((site / "texts/t1-0.html").as_uri())
    rows = page.locator("#features > .firings > li").all()
    assert len(rows) > 1
    for row in rows:
        row.locator("button").click()
        assert page.locator(".whole b[title]").count() > 0
