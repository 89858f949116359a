"""Whole texts in the browser: examples that expand, and a text's page, coloured by any feature it names."""

import re
from pathlib import Path
from typing import Any

import pytest
import synthetic
from browsing import watch
from playwright.sync_api import Browser, Page, expect
from test_site_pages import TEMPLATES, build
from test_site_tokens import as_shown

from saecatalog.site import render, text_parts, tokens
from saecatalog.tables import Tables

LONG = " ".join(f"word{i} مرحبا e\u0301 <b>" for i in range(260))


@pytest.fixture(scope="module")
def tables(site: Path) -> Tables:
    return Tables(site.parents[2] / "tables")


def normal(page: Page, markup: str) -> str:
    """Markup as serialised by the browser."""
    script = "html => { const t = document.createElement('template'); t.innerHTML = html; return t.innerHTML; }"
    found: str = page.evaluate(script, markup)
    return found


def as_built(tables: Tables, entry: Any, peak: int = -1) -> str:
    """The whole text of a row of `contexts` or `text_top`, with the build's marks."""
    text = tables["texts"].set_index("text").loc[entry.text]
    active = list(zip(entry.active_positions.tolist(), entry.active_values.tolist(), strict=True))
    largest = tables.features.loc[entry.feature, "max"]
    return tokens.highlight(text["content"], text["token_ends"].tolist(), active, largest, peak=peak)


def by_character(page: Page, markup: str) -> list[list[str]]:
    """Each character of some markup with the class and title of its mark, however the marks are divided."""
    script = """html => {
      const box = document.createElement("div");
      box.innerHTML = html;
      const found = [];
      const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const mark = walker.currentNode.parentElement.closest("b[title]");
        for (const char of walker.currentNode.data) found.push([char, mark?.className ?? "", mark?.title ?? ""]);
      }
      return found;
    }"""
    found: list[list[str]] = page.evaluate(script, markup)
    return found


def shown(page: Page) -> list[list[str]]:
    return by_character(page, page.locator(".whole").inner_html())


def test_every_example_grows_to_the_text_the_build_would_mark(page: Page, site: Path, tables: Tables) -> None:
    grown = 0
    for feature in synthetic.PAGED:
        page.goto((site / f"features/{feature}.html").as_uri())
        contexts = tables["contexts"].query("feature == @feature")
        for band in page.locator("#bands details:not([open]) summary").all():
            band.click()
        for button in page.locator(".examples [aria-expanded]").all():
            item = button.locator("xpath=ancestor::li")
            anchor = item.get_attribute("id") or ""
            band_name, rank = anchor.split("-")
            (entry,) = contexts[
                contexts["band"].str.startswith(band_name) & (contexts["rank"] == int(rank) - 1)
            ].itertuples()
            before = item.locator("p").evaluate("p => [p.className, p.innerHTML]")
            button.click()
            expect(button).to_have_attribute("aria-expanded", "true")
            whole = item.locator("p").inner_html().replace(' tabindex="0"', "")
            assert whole == normal(page, as_built(tables, entry, entry.position))
            assert item.locator("p").get_attribute("class") == ""
            button.click()
            assert item.locator("p").evaluate("p => [p.className, p.innerHTML]") == before
            grown += 1
    assert grown > 50


def test_only_examples_that_are_cut_grow_and_each_change_is_announced(page: Page, site: Path) -> None:
    page.goto((site / "features/0.html").as_uri())
    for item in page.locator(".examples > li").all():
        cut = item.locator("p").get_attribute("class")
        assert item.locator("[aria-expanded]").count() == (1 if cut else 0)
    page.evaluate("window.told = []; document.addEventListener('marked', event => told.push(event.target.id))")
    button = page.locator("#examples .examples [aria-expanded]").first
    button.press("Enter")
    expect(button).to_have_text("Excerpt only")
    button.press("Enter")
    expect(button).to_have_text("Whole text")
    name = button.locator("xpath=ancestor::li").get_attribute("id")
    assert page.evaluate("told") == [name, name]


def test_peak_of_a_whole_text_tells_its_value_to_the_keyboard(page: Page, site: Path) -> None:
    page.goto((site / "features/0.html").as_uri())
    item = page.locator("#examples .examples > li:has([aria-expanded])").first
    item.locator("[aria-expanded]").click()
    expect(item.locator("[aria-expanded]")).to_have_attribute("aria-expanded", "true")
    item.locator("b.p").focus()
    assert page.locator(".tip").text_content() == item.locator("b.p").get_attribute("title")


def test_where_the_script_of_a_text_is_missing_the_button_leads_to_its_page(browser: Browser, tmp_path: Path) -> None:
    site = build(tmp_path)
    for script in site.glob("texts/*.js"):
        script.unlink()
    context = browser.new_context()
    page = context.new_page()
    page.goto((site / "features/0.html").as_uri())
    page.locator(".examples [aria-expanded]").first.click()
    page.wait_for_url(re.compile(r"/texts/.*\.html#f0$"))
    assert page.locator("ol.firings p.text").first.is_visible()
    context.close()


def test_example_leads_to_its_text_coloured_by_its_feature(page: Page, site: Path) -> None:
    page.goto((site / "features/3.html").as_uri())
    page.locator("#examples .examples a[href*='#f']").first.click()
    page.wait_for_url("**/texts/*.html#f3")
    expect(page.locator("#f3 button")).to_have_attribute("aria-pressed", "true")
    assert page.locator("[aria-pressed=true]").count() == 1


def test_every_feature_of_every_text_colours_what_the_build_would_mark(page: Page, site: Path, tables: Tables) -> None:
    """For the strongest features and for those whose page shows the text; on hostile texts."""
    coloured = 0
    for text in tables["texts"]["text"]:
        page.goto((site / f"texts/{text}.html").as_uri())
        rows = [*tables["text_top"].query("text == @text").itertuples()]
        examples = tables["contexts"].query("text == @text").itertuples()
        entries = {row.feature: row for row in [*examples, *rows]}
        named = page.locator(".firings > li").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))")
        assert named[: len(rows)] == [row.feature for row in rows]
        for feature in named:
            page.evaluate("feature => document.querySelector(`#f${feature} button`).click()", feature)
            assert shown(page) == by_character(page, as_built(tables, entries[feature])), (text, feature)
            coloured += 1
    assert coloured > 80


def test_text_is_coloured_by_its_strongest_feature_until_another_is_chosen(
    page: Page, site: Path, tables: Tables
) -> None:
    page.goto((site / "texts/t1-0.html").as_uri())
    first, second, third, *_ = tables["text_top"].query("text == 't1-0'").itertuples()

    def coloured_by(entry: Any) -> bool:
        return shown(page) == by_character(page, as_built(tables, entry))

    assert coloured_by(first)
    assert page.url.endswith("t1-0.html")
    page.locator(f"#f{second.feature}").hover()
    assert coloured_by(second)
    assert page.locator(".reading").text_content() == f"Feature {second.feature}: {active(second)}"
    page.locator("h1").hover()
    assert coloured_by(first)
    page.locator(f"#f{second.feature}").click()
    page.locator("h1").hover()
    assert coloured_by(second)
    assert page.url.endswith(f"t1-0.html#f{second.feature}")
    page.locator(f"#f{third.feature} button").focus()
    assert coloured_by(third)
    page.locator("#search").focus()
    assert coloured_by(second)
    page.reload()
    assert coloured_by(second)
    assert page.locator("[aria-pressed=true]").count() == 1


def active(entry: Any) -> str:
    return f"active on {len(entry.active_positions)} token{'s' * (len(entry.active_positions) != 1)}"


def test_keyboard_walks_the_features_and_the_marked_tokens(page: Page, site: Path, tables: Tables) -> None:
    page.goto((site / "texts/t0-0.html").as_uri())
    first, second, *_ = tables["text_top"].query("text == 't0-0'").itertuples()
    page.locator(f"#f{first.feature} button").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"#f{second.feature} button")).to_be_focused()
    assert page.url.endswith(f"#f{second.feature}")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.url.endswith(f"#f{first.feature}")
    stops = page.locator(".whole [tabindex='0']")
    assert stops.count() == 1
    assert stops.get_attribute("title") == f"{first.score:.4g}"
    stops.focus()
    assert f"{first.feature} ({first.score:.4g})" in (page.locator(".reading").text_content() or "")
    before = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == before
    assert stops.count() == 1
    page.keyboard.press("j")
    page.wait_for_url("**/texts/t0-1.html")


def test_token_tells_which_features_fire_on_it(page: Page, site: Path, tables: Tables) -> None:
    page.goto((site / "texts/t0-0.html").as_uri())
    rows = tables["text_top"].query("text == 't0-0'")
    named = page.locator(".firings > li").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))")
    entries = {r.feature: r for r in [*tables["contexts"].query("text == 't0-0'").itertuples(), *rows.itertuples()]}
    for place in (0, 3):
        firing = {
            f: dict(zip(entries[f].active_positions, entries[f].active_values, strict=True)).get(place) for f in named
        }
        wanted = sorted(((v, f) for f, v in firing.items() if v), reverse=True)
        page.locator(".whole > b").nth(place).hover()
        told = page.locator(".reading").text_content() or ""
        assert [int(n) for n in re.findall(r"(\d+) \(", told)] == [f for _, f in wanted][:6]
        assert f"({wanted[0][0]:.4g})" in told
        lit = page.locator(".firings > li.fires").evaluate_all("rows => rows.map(row => Number(row.id.slice(1)))")
        assert sorted(lit) == sorted(f for _, f in wanted)
    page.locator("h1").hover()
    assert page.locator(".fires").count() == 0
    assert (page.locator(".reading").text_content() or "").startswith("Feature ")


def test_finger_on_a_token_tells_its_features(browser: Browser, site: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    complaints: list[str] = []
    watch(page, complaints)
    page.goto((site / "texts/t0-0.html").as_uri())
    page.locator(".whole > b").nth(2).tap()
    assert "feature" in (page.locator(".reading").text_content() or "")
    page.locator(".firings > li").nth(2).tap()
    expect(page.locator(".firings > li").nth(2).locator("button")).to_have_attribute("aria-pressed", "true")
    assert complaints == []
    context.close()


def test_copying_a_coloured_text_gives_the_text(page: Page, site: Path, tables: Tables) -> None:
    for text, content in zip(*(tables["texts"][c] for c in ("text", "content")), strict=True):
        page.goto((site / f"texts/{text}.html").as_uri())
        page.wait_for_selector(".coloured .whole b[title]")
        found = page.evaluate(
            "(getSelection().selectAllChildren(document.querySelector('.whole')), String(getSelection()))"
        )
        # A line break at the very end is not selected.
        assert found == as_shown(content).removesuffix("\n")
        assert page.locator(".whole").text_content() == as_shown(content)


def test_text_can_be_read_without_script(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((site / "texts/t1-0.html").as_uri())
    assert page.locator(".whole").is_visible()
    assert page.locator(".firings > li > p.text b.p").count() == 5
    assert page.locator(".firings > li > p.text").first.is_visible()
    assert page.locator("button:visible").count() == 0
    page.locator(".firings details summary").first.click()
    assert page.locator(".firings details p.text").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with a text of one token, one of over 2,000 tokens and one on which nothing fires."""
    folder = tmp_path_factory.mktemp("odd")
    first, second, third = synthetic.CATEGORIES
    contents = {first: ["x", *synthetic.CONTENTS[first][1:]], second: [LONG, *synthetic.CONTENTS[second][1:]]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "CONTENTS", contents | {third: synthetic.CONTENTS[third]})
        tables, manifest = synthetic.write(folder / "tables")
    for name in ("text_top", "contexts"):
        table = tables[name]
        table.drop(index=table.index[table["text"] == "t2-0"], inplace=True)
    render.render_catalog(tables, manifest, TEMPLATES, folder / "site")
    return folder / "site"


def test_long_text_named_with_a_feature_opens_at_its_beginning(page: Page, odd: Path) -> None:
    page.goto((odd / "texts/t1-0.html").as_uri() + "#f3")
    page.wait_for_timeout(200)
    assert page.locator("#f3 [aria-pressed=true]").count() == 1
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize(("text", "least"), [("t0-0", 1), ("t1-0", 2000), ("t2-0", 0)])
def test_texts_of_any_length_fit_and_say_what_fires(page: Page, odd: Path, text: str, least: int) -> None:
    page.goto((odd / f"texts/{text}.html").as_uri())
    assert page.locator(".whole > b").count() >= least
    for width in (390, 768, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    if not least:
        assert "No feature fires on this text." in page.locator("#features").inner_text()
        assert page.locator(".coloured, button.theme ~ button").count() == 0
        return
    reading = page.locator(".reading").bounding_box()
    assert reading
    assert reading["y"] + reading["height"] <= 844
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".firings > li").last.scroll_into_view_if_needed()
    box = page.locator(".held").bounding_box()
    assert box
    assert 0 <= box["y"] < 844
    assert box["height"] <= 422


def test_an_example_of_a_long_text_grows_to_the_page_with_it_and_leads_there(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_parts, "MOST_TOKENS", 12)
    site = build(tmp_path)
    page.goto((site / "features/0.html").as_uri())
    found = page.locator(".examples li:has(p.long):has(a[href*='.2.html'])").first.get_attribute("id")
    item = page.locator(f"#{found}")
    item.get_by_role("button", name="More of the text").click()
    expect(item.get_by_role("button", name="Excerpt only")).to_be_visible()
    grown = item.locator("p").inner_text()
    item.locator("a[href*='/texts/']").first.click()
    expect(page.locator("#part")).to_contain_text("tokens 13 to")
    assert page.locator(".whole").inner_text() == grown
    assert page.locator(".coloured").count() == 1
    page.get_by_role("navigation", name="Pages of this text").first.get_by_role("link", name="1", exact=True).click()
    expect(page.locator("#part")).to_contain_text("tokens 1 to 12")
