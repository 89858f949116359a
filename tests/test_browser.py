"""What only a browser can show: the synthetic site opened from a folder, with and without scripts."""

from pathlib import Path

from browsing import drawn_types
from playwright.sync_api import Browser, Page


def test_charts_are_drawn_as_the_type_asked_for(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    assert drawn_types(page, "#histogram figure.chart") == {"bar"}
    assert page.locator("#histogram .plot .bars path, #histogram .plot .point path").count() > 0
    assert drawn_types(page, "#categories figure.chart") == {"bar"}
    page.goto((site / "categories/index.html").as_uri())
    assert drawn_types(page, "#notable figure.chart") == {"heatmap"}
    assert page.locator("#notable .heatmaplayer image").count() == 1
    page.goto((site / "coactivation/index.html").as_uri())
    assert drawn_types(page, "#heatmap figure.chart") == {"heatmap"}


def test_chart_has_a_table_and_takes_names_as_text(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    drawn_types(page, "#categories figure.chart")
    assert page.locator("#categories details table tbody tr").count() == 3
    drawn_types(page, "#histogram figure.chart")
    assert page.locator("#histogram details table tbody tr").count() > 0
    assert "<script>" in (page.locator("#categories .ytick text").first.text_content() or "").lower()


def test_plotly_comes_only_when_a_chart_is_in_sight(page: Page, site: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.goto((site / "texts/t0-0.html").as_uri())
    page.goto((site / "about.html").as_uri())
    assert "plotly.min.js" not in asked
    page.goto((site / "features/1.html").as_uri())
    drawn_types(page, "#histogram figure.chart")
    assert "plotly.min.js" in asked


def test_theme_is_switched_kept_and_followed_by_charts(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    drawn_types(page, "#histogram figure.chart")
    colour = "document.querySelector('#histogram .drawn')._fullData[0].marker.color"
    light, ground = page.evaluate(colour), page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click(".theme")
    page.wait_for_function(f"() => {colour} !== '{light}'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_keyboard_walks_features_and_opens_help(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    page.keyboard.press("j")
    page.wait_for_url("**/features/2.html")
    page.keyboard.press("k")
    page.wait_for_url("**/features/1.html")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_token_tells_its_activation_on_focus_and_tap(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    peak = page.locator("#examples b.p").first
    peak.focus()
    assert page.locator(".tip").text_content() == peak.get_attribute("title")
    page.locator("h1").click()
    assert page.locator(".tip").count() == 0
    peak.click()
    assert page.locator(".tip").is_visible()


def test_permalink_of_an_example_is_the_address_itself(page: Page, site: Path) -> None:
    page.goto((site / "features/1.html").as_uri())
    page.locator("#examples li small a").first.click()
    assert page.url.endswith("features/1.html#top-1")


def test_pages_are_readable_without_script(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((site / "features/1.html").as_uri())
    for selector in (
        "#examples .examples li",
        "#histogram svg.still",
        "#categories figure table svg",
        "#tokens table",
        "#cite pre",
    ):
        assert page.locator(selector).first.is_visible(), selector
    assert not page.locator("#search").is_visible()
    page.goto((site / "categories/python-code.html").as_uri())
    assert page.locator("table.heat").is_visible()
    context.close()


def test_copied_text_is_the_text_itself(page: Page, site: Path) -> None:
    page.goto((site / "texts/t1-0.html").as_uri())
    assert page.locator("p.whole").text_content() == "def f(x):\n\treturn x  # two  spaces"
    selected = page.evaluate(
        "(getSelection().selectAllChildren(document.querySelector('p.whole')), String(getSelection()))"
    )
    assert selected == "def f(x):\n\treturn x  # two  spaces"
