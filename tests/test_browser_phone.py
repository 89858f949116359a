"""On a phone's screen: the column that a table is ranked by is in sight before anyone scrolls the table."""

from pathlib import Path

import pytest
from browsing import opened
from playwright.sync_api import Browser, Page

from saecatalog.site.pages.features import COLUMNS

PHONE = {"width": 390, "height": 844}

SIGHT = """head => {
    const cell = head.getBoundingClientRect();
    const scrolling = head.closest(".scroll")?.getBoundingClientRect() ?? { left: 0, right: innerWidth };
    const [left, right] = [Math.max(0, scrolling.left), Math.min(innerWidth, scrolling.right)];
    const first = head.parentElement.cells[0];
    const stays = head !== first && getComputedStyle(first).position === "sticky";
    const from = stays ? first.getBoundingClientRect().right : left;
    return cell.width > 0 && cell.left >= from - 1 && cell.right <= right + 1;
}"""
"""Whether a heading lies within what its box shows, and not below the first column where that one stays in place."""

RANKED = {
    "index.html": ["Clearness", "Clearness", "Max", "Texts", "Strong texts"],
    "categories/python-code.html": ["Evidence"],
    "categories/mixed-مرحبا.html": ["Active-rate difference"],
    "concepts/numbers-title-b.html": ["AUROC", "Strong", "Mean, all texts"],
    "coactivation/index.html": ["φ"],
}
"""The headings of the columns that the tables of a page are ranked by."""


def in_sight(page: Page) -> list[tuple[str, bool]]:
    """Each heading of a ranked column, and whether it is in sight."""
    heads = page.locator("th[aria-sort]").all()
    return [(head.inner_text().strip(" \u00a0↓↑"), head.evaluate(SIGHT)) for head in heads]


@pytest.mark.parametrize("name", RANKED)
def test_the_ranked_column_is_on_screen(name: str, site: Path, browser: Browser, complaints: list[str]) -> None:
    with opened(browser, complaints, viewport=PHONE) as page:
        page.goto((site / name).as_uri())
        assert in_sight(page) == [(heading, True) for heading in RANKED[name]]
    assert complaints == []


def test_the_table_of_features_shows_what_it_is_sorted_by(site: Path, browser: Browser, complaints: list[str]) -> None:
    with opened(browser, complaints, viewport=PHONE) as page:
        for column in (COLUMNS[0], COLUMNS[1], COLUMNS[9], COLUMNS[-1], COLUMNS[4]):
            page.goto(f"{(site / 'features/index.html').as_uri()}?sort={column.name}&dir=down")
            page.wait_for_selector("#table thead button")
            assert in_sight(page) == [(column.heading, True)]
        for column in (COLUMNS[-1], COLUMNS[1], COLUMNS[5]):
            page.select_option("#filters [name=sort]", column.name)
            assert in_sight(page) == [(column.heading, True)]
    assert complaints == []


def test_no_table_of_a_features_page_is_wider_than_the_screen(
    site: Path, browser: Browser, complaints: list[str]
) -> None:
    """They are ranked too, and nothing scrolls there."""
    with opened(browser, complaints, viewport=PHONE) as page:
        page.goto((site / "features/1.html").as_uri())
        tables = page.locator(".panels table").all()
        assert len(tables) > 3
        for table in tables:
            box = table.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
    assert complaints == []
