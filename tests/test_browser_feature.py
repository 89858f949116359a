"""A feature's page in a browser: the scale of its colours, what can be copied, keys, and how its embed looks."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from browsing import address, opened
from playwright.sync_api import Browser, Page, expect
from synthetic import PAGED

LEVELS = 9


def levels(page: Page) -> list[list[int]]:
    """The step of each mark's colour, example by example."""
    script = "items => items.map(item => [...item.querySelectorAll('b[title]')].map(m => Number(m.className[1])))"
    found: list[list[int]] = page.eval_on_selector_all(".examples > li", script)
    return found


def values(page: Page) -> list[list[float]]:
    script = "items => items.map(item => [...item.querySelectorAll('b[title]')].map(m => Number(m.title)))"
    found: list[list[float]] = page.eval_on_selector_all(".examples > li", script)
    return found


def copied(page: Page) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_colours_are_relative_to_the_feature_or_to_each_example(page: Page, site: Path) -> None:
    changed = 0
    for number in PAGED:
        page.goto((site / f"features/{number}.html").as_uri())
        own = levels(page)
        if not own:
            continue
        expected = [[max(1, math.ceil(LEVELS * v / max(row))) for v in row] for row in values(page)]
        page.click(".switch button:nth-of-type(2)")
        assert levels(page) == expected
        assert page.get_attribute(".switch button:nth-of-type(2)", "aria-pressed") == "true"
        page.click(".switch button:nth-of-type(1)")
        assert levels(page) == own
        changed += expected != own
    assert changed


def test_example_gives_its_own_address(page: Page, site: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto((site / "features/1.html").as_uri() + "#cite")
    example = page.locator("#top-2")
    example.hover()
    example.locator(".copier").click()
    expect(example.locator(".copier")).to_have_text("Copied")
    assert copied(page) == (site / "features/1.html").as_uri() + "#top-2"


@pytest.mark.parametrize("form", ["Permalink", "Markdown", "LaTeX", "Plain text", "BibTeX", "HTML embed"])
def test_every_form_of_citation_is_copied_as_it_stands(page: Page, site: Path, form: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto((site / "features/1.html").as_uri())
    block = page.locator(".copy", has=page.get_by_role("heading", name=form, exact=True))
    block.locator(".copier").click()
    assert copied(page) == block.locator("pre").text_content()


def test_row_of_data_is_the_published_one(page: Page, site: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto((site / "features/1.html").as_uri())
    page.get_by_role("button", name="Copy data row as JSON").click()
    page.wait_for_function("() => document.querySelector('#cite > p .copier').textContent === 'Copied'")
    row = json.loads(copied(page))
    published = pd.read_parquet(site.parents[2] / "tables/features.parquet").set_index("feature").loc[1]
    assert (row["feature"], row["n_active"]) == (1, published["n_active"])
    assert row["max"] == pytest.approx(published["max"], rel=1e-5)


def test_keys_lead_to_a_number_and_to_the_features_around(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/features/2.html")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/features/1.html")
    page.keyboard.press("g")
    page.wait_for_selector("#results", state="attached")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/5.html")


def test_page_about_embeds_shows_the_feature_asked_for(page: Page, site: Path) -> None:
    page.goto((site / "features/2.html").as_uri())
    page.get_by_role("link", name="How the embed looks").click()
    page.wait_for_url("**/embed.html?feature=2")
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").text_content() == "Feature 2"
    assert "features/2.embed.html" in (page.locator("#code pre").text_content() or "")
    page.locator("#width").fill("300")
    assert page.locator("iframe").bounding_box()["width"] == pytest.approx(302)  # type: ignore[index]
    assert 'width="300"' in (page.locator("#code pre").text_content() or "")
    assert page.evaluate("document.querySelector('iframe').contentDocument") is None, "a folder gives no look inside"


def test_page_about_embeds_ignores_what_is_no_number(page: Page, site: Path) -> None:
    page.goto((site / "embed.html").as_uri() + "?feature=../../x%22onload=alert(1)")
    assert page.locator("iframe").get_attribute("src") == page.evaluate(
        "document.getElementById('shown').getAttribute('href').replace('.html', '.embed.html')"
    )


def test_a_server_that_shows_pages_without_html_at_the_end_is_no_hindrance(browser: Browser, site: Path) -> None:
    """GitHub Pages answers `features/1` with `features/1.html`."""
    complaints: list[str] = []
    html = (site / "features/1.html").read_text(encoding="utf-8")
    with address(site, "http") as home, opened(browser, complaints, home) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.route("**/features/1", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
        page.goto(home + "features/1")
        page.locator("#examples [aria-expanded]").first.click()
        expect(page.locator("#examples [aria-expanded]").first).to_have_text("Excerpt only")
        page.get_by_role("button", name="Copy data row").click()
        expect(page.locator("#cite > p:last-child")).to_contain_text("Copied")
        assert json.loads(copied(page))["feature"] == 1
    assert complaints == []
