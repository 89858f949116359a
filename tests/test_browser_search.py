"""What a search of the default catalog finds, and that it finds it first."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

NEGATION = {1050, 2001, 2273, 2378, 3657, 3743}
"""Features of the embedded SAE on "not", "'t", "no" and "never"; their labels are in the catalog."""

FIRST: list[tuple[str, set[int], int]] = [
    ("negation", NEGATION, 5),
    ("Negation", NEGATION, 5),
    ("negative", NEGATION, 2),
    (" not", NEGATION, 3),
    ("gratitude", {1714}, 1),
    ("thanks", {1714}, 1),
    ("python", {798, 817, 2795, 3713}, 4),
    ("pyhton", {798, 817, 2795, 3713}, 4),
    ("def (", {348, 1482, 1821}, 3),
    ("53", {53}, 1),
    ("#243", {243}, 1),
    ("的", {3018, 3366}, 2),
]
"""A query, and features that fill the first places of its results."""

SOME = ("comma", "polite", "politeness", "في", "🙂", "specialist: poetry")
NONE = ("zzzzqq", "qqq zzz", "🦩🦩")


@pytest.fixture(scope="module")
def found(default_site: Path, browser_page: Page) -> Page:
    """A page of the default catalog with its search loaded."""
    browser_page.goto((next(default_site.glob("*/*/about.html"))).as_uri())
    browser_page.focus("#search")
    browser_page.wait_for_selector("#results", state="attached")
    return browser_page
