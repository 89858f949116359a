"""Selecting features in the table in a real browser: quick lists and embeds, against addresses made in Python."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import PAGED
from test_site_pages import build

ID = "gpt2-small/6-res-jb"
BASE = "https://example.org/a b/"
Site = Callable[..., Path]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made: dict[str, Path] = {}

    def site(**wishes: Any) -> Path:
        key = repr(wishes)
        if key not in made:
            made[key] = build(tmp_path_factory.mktemp("selection"), **wishes)
        return made[key]

    return site


def open_table(page: Page, site: Path, query: str = "") -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto((site / "features/index.html").as_uri() + query)
    page.wait_for_selector(".selection")


def press(page: Page, words: str) -> str:
    """Press a button of the selection; returns what the page says afterwards."""
    page.locator(".selection button", has_text=words).first.click()
    page.wait_for_selector(".selection [role=status]:not(:empty)")
    return page.inner_text(".selection [role=status]")


def pick(page: Page, *numbers: int) -> None:
    for number in numbers:
        page.get_by_label(f"Select feature {number}", exact=True).check()


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def listed(address: str) -> list[dict[str, str]]:
    """What a quick list's address asks for."""
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "www.neuronpedia.org", "/quick-list/")
    query = parse_qs(parts.query)
    assert query["name"] == ["Tiny & <script>alert(1)</script>"]
    found: list[dict[str, str]] = json.loads(query["features"][0])
    return found


def test_a_quick_list_has_the_selected_features_in_the_order_of_the_table(page: Page, sites: Site) -> None:
    open_table(page, sites(neuronpedia=ID, base_url=BASE), "?sort=feature&dir=down")
    pick(page, 2, 6, 4)
    assert page.inner_text(".selection .selected") == "3 features selected"
    assert press(page, "Copy Neuronpedia quick list") == "Copied a quick list of 3 features."
    wanted = [{"modelId": "gpt2-small", "layer": "6-res-jb", "index": number} for number in ("6", "4", "2")]
    assert listed(clipboard(page)) == wanted


def test_a_selection_outlasts_filters_and_can_be_made_with_the_keyboard(page: Page, sites: Site) -> None:
    open_table(page, sites(neuronpedia=ID, base_url=BASE))
    page.get_by_label("Select feature 0", exact=True).focus()
    page.keyboard.press("Space")
    page.select_option("#filters [name=reason]", "selective")
    shown = [int(text) for text in page.locator("#table tbody th").all_text_contents()]
    assert 0 not in shown
    page.get_by_role("button", name=f"Select all {len(shown)}").click()
    press(page, "Copy Neuronpedia quick list")
    assert [int(one["index"]) for one in listed(clipboard(page))] == [*shown, 0]
    page.get_by_role("button", name="Clear selection").click()
    assert page.locator("#table :checked").count() == 0
    assert page.get_by_role("button", name="Copy embed code").is_disabled()


def test_too_long_a_list_is_refused_and_nothing_is_copied(page: Page, sites: Site) -> None:
    open_table(page, sites(neuronpedia=ID, base_url=BASE))
    page.evaluate("navigator.clipboard.writeText('before')")
    many = "count => { table.dispatchEvent(new CustomEvent('saeshown', { detail: () => [...Array(count).keys()] })); }"
    for count, refused in ((151, True), (150, False)):
        page.evaluate(many, count)
        if not refused:
            page.get_by_role("button", name="Clear selection").click()
        page.get_by_role("button", name=f"Select all {count}").click()
        said = press(page, "Copy Neuronpedia quick list")
        assert ("at most 150 features, and 151 are selected. Nothing was done" in said) is refused
        assert (clipboard(page) == "before") is refused
        if refused:
            assert press(page, "Open quick list") == said
            assert len(page.context.pages) == 1
    assert len(listed(clipboard(page))) == 150


def test_embed_code_shows_the_embeds_of_both(page: Page, sites: Site) -> None:
    site = sites(neuronpedia=ID, base_url=BASE)
    open_table(page, site)
    pick(page, 3, 5)
    assert press(page, "Copy embed code") == "Copied 2 embeds."
    frames = HTMLParser(clipboard(page)).css("iframe")
    places = [f"{BASE}tiny/0-res/features/{number}.embed.html" for number in (3, 5)]
    assert [frame.attributes["src"] for frame in frames] == places
    assert all((site / "features" / Path(place).name).is_file() for place in places)
    press(page, "Copy Neuronpedia embed code")
    sources = [frame.attributes["src"] or "" for frame in HTMLParser(clipboard(page)).css("iframe")]
    assert [source.partition("?")[0] for source in sources] == [f"https://www.neuronpedia.org/{ID}/{n}" for n in (3, 5)]
    assert all(parse_qs(urlsplit(source).query)["embed"] == ["true"] for source in sources)


def test_an_sae_that_is_not_there_has_embeds_of_its_own_only(page: Page, sites: Site) -> None:
    open_table(page, sites())
    assert "Neuronpedia" not in page.inner_text(".selection")
    page.get_by_role("button", name=f"Select all {len(PAGED)}").click()
    assert press(page, "Copy embed code") == f"Copied {len(PAGED)} embeds."


def test_a_catalog_without_embeds_has_none_of_feature_0_either(page: Page, sites: Site, tmp_path: Path) -> None:
    site = shutil.copytree(sites(), tmp_path / "site")
    data = site / "features/table-data.js"
    some = data.read_text(encoding="utf-8")
    none = re.sub(r'"embedded": ?("[0-9,]*"|null)', '"embedded":""', some)
    assert none != some
    data.write_text(none, encoding="utf-8")
    open_table(page, site)
    pick(page, 0)
    assert press(page, "Copy embed code").startswith("Nothing to copy. 1 feature without an embed")


def test_without_javascript_nothing_of_it_is_there(browser: Browser, sites: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto((sites(neuronpedia=ID, base_url=BASE) / "features/index.html").as_uri())
    assert still.locator(".selection, #table input").count() == 0
    context.close()
