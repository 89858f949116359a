"""Properties of every kind of page, of the default catalog and of the hostile one, in a real browser.

The pages are listed from the built site, so a new kind is tested without being named here. A test collects its findings
by page, so that one run shows everything that is wrong.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import address, draw_charts, opened
from playwright.sync_api import Browser, Page
from sites import every_kind

WIDTHS = (1920, 1440, 768, 390)
SCREEN = {"width": 1280, "height": 900}
PAPER = {"width": 718, "height": 1047}
"""A4 less margins of 1 cm, in CSS pixels."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = ["color-contrast"]
"""Of all rules the only one that hangs on the colours, and so on whether they are the light or the dark ones."""

AXE = {
    "resultTypes": ["violations"],
    # Otherwise axe asks for the style sheets a second time, which a page in a folder may not.
    "preload": False,
    # Findings are told by their HTML, so that axe need not look for a selector of every element.
    "selectors": False,
}
AXE_SCRIPT = Axe().axe_script
AXE_RUN = "([context, options]) => axe.run(context, options).then(({ violations }) => violations)"

WHOLE = {"include": [["html"]]}

LIKE_OTHERS = {"exclude": [["tbody tr:nth-child(n+21)"], ["li:nth-child(n+21)"]]}
"""Axe takes seconds for hundreds of rows that are made like the first ones."""

# The innermost elements that are wider than the page, for they are the ones to mend.
STICKING_OUT = """(width) => {
    if (document.documentElement.scrollWidth <= width) return [];
    const beyond = (node) => node.getBoundingClientRect().right > width + 0.5;
    return [...document.body.querySelectorAll("*")].filter((node) => beyond(node) && ![...node.children].some(beyond))
        .slice(0, 5).map((node) => `sticks out at ${width} px: ${node.outerHTML.slice(0, 100)}`);
}"""

# What a reader without script would be offered in vain, or would miss.
USELESS_WITHOUT_SCRIPT = """() => {
    const seen = (node, what) => [...node.querySelectorAll(what)].filter((part) => part.checkVisibility());
    const empty = (chart) => !seen(chart.closest("section") ?? chart, "svg, img, table, summary").length;
    return [...seen(document, "button, input, select"), ...seen(document, "figure.chart").filter(empty)]
        .slice(0, 5).map((node) => `is of no use: ${node.outerHTML.slice(0, 100)}`);
}"""

# On paper nothing scrolls and nothing floats: what an element cuts off is lost, what floats covers text. A browser
# makes a wide page smaller to fit the paper; up to this much it stays readable.
LOST_ON_PAPER = """() => [document.body, ...document.body.querySelectorAll("*")].flatMap((node) => {
    const style = getComputedStyle(node);
    if (!node.checkVisibility() || node.closest("svg") || style.clipPath !== "none") return [];
    const cut = (overflow, inside, outside) => outside > 0 && overflow !== "visible" && inside > outside + 1;
    return [
        [style.position === "fixed", "floats"],
        [cut(style.overflowX, node.scrollWidth, node.clientWidth), "is cut at the side"],
        [cut(style.overflowY, node.scrollHeight, node.clientHeight), "is cut below"],
        [node.matches(".drawn"), "is a live chart"],
        [node === document.body && document.documentElement.scrollWidth > 1.3 * innerWidth, "is too wide for paper"],
    ].filter(([wrong]) => wrong).map(([, words]) => `${words}: ${node.outerHTML.slice(0, 100)}`);
}).slice(0, 5)"""

# Where a page has a search, it has answered.
SEARCHED = "() => !document.querySelector('#search') || document.querySelector('#results [role=option]')"

# Every chart is drawn for the width it has now.
FOLLOWED = """() => [...document.querySelectorAll("figure.chart")].every(
    (chart) => chart.querySelector(".main-svg")?.getAttribute("width") === String(chart.clientWidth))"""

MOVES = """() => {
    const lasts = (times) => times.split(",").some((time) => parseFloat(time) > 0);
    const moves = (style) => style.scrollBehavior === "smooth" || lasts(style.transitionDuration)
        || (style.animationName !== "none" && lasts(style.animationDuration));
    return [...document.querySelectorAll("*")].filter((node) => moves(getComputedStyle(node)))
        .slice(0, 5).map((node) => `moves: ${node.outerHTML.slice(0, 100)}`);
}"""


def problems(
    browser: Browser, site: Path, look: Callable[[Page], list[str]], way: str = "file", **options: Any
) -> dict[str, list[str]]:
    """Open every kind of page in turn and look at it: by page, what the browser complains of and what `look` finds."""
    found: dict[str, list[str]] = {}
    complaints: list[str] = []
    with address(site, way) as home, opened(browser, complaints, home, **options) as page:
        for path in every_kind(site):
            page.set_viewport_size(SCREEN)
            page.emulate_media(media="screen", color_scheme="light")
            page.goto(home + path)
            complaints += look(page)
            if complaints:
                found[path] = [*complaints]
            complaints.clear()
    return found


FAULTS = {
    STICKING_OUT: "<p style='width: 3000px'>wide</p>",
    USELESS_WITHOUT_SCRIPT: "<button>Copy</button>",
    LOST_ON_PAPER: "<div style='overflow: hidden; width: 50px'><pre>a line that is cut</pre></div>",
    MOVES: "<p style='transition: opacity 1s'>moves</p>",
}


@pytest.mark.parametrize("check", FAULTS, ids=lambda check: FAULTS[check][:20])
def test_each_check_sees_its_fault(browser: Browser, check: str) -> None:
    with opened(browser, [], "about:") as page:
        for fault, found in (("<p>nothing</p>", 0), (FAULTS[check], 1)):
            page.set_content(f"<main>{fault}</main>")
            assert len(page.evaluate(check, 1280)) == found


def test_the_list_of_pages_holds_every_kind(default_site: Path) -> None:
    kinds = {path.partition("/12-res-4k/")[2] for path in every_kind(default_site)}
    assert kinds >= {"index.html", "about.html", *(f"{kind}/index.html" for kind in ("features", "coactivation"))}
    for kind in ("features", "categories", "concepts", "texts"):
        assert f"{kind}/index.html" in kinds
        assert len([path for path in kinds if path.startswith(f"{kind}/")]) >= 2
    assert any(path.endswith(".embed.html") for path in kinds)
    assert any(path.startswith("texts/all.") for path in kinds)
    features = [path for path in kinds if re.fullmatch(r"features/\d+\.html", path)]
    assert len(features) == 2, "a short page and a long one"


def test_pages_in_use_are_quiet_fit_and_rest(browser: Browser, any_site: Path) -> None:
    """From a folder: nothing fails or is asked of another host, nothing is said, moves, or sticks out at any width."""

    def use(page: Page) -> list[str]:
        draw_charts(page)
        found: list[str] = [] if page.locator("h1").is_visible() else ["no heading"]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            # Charts follow the width a moment later.
            page.wait_for_function(FOLLOWED)
            found += page.evaluate(STICKING_OUT, width)
        page.keyboard.press("/")
        page.keyboard.type("1")
        page.wait_for_function(SEARCHED)
        return found + list(page.evaluate(MOVES))

    assert problems(browser, any_site, use, reduced_motion="reduce") == {}


def violations(page: Page, rules: list[str], where: dict[str, list[list[str]]] = LIKE_OTHERS) -> list[str]:
    """What axe finds: each rule with the first of the elements that break it, and why."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(AXE_RUN, [where, {**AXE, "runOnly": rules}])
    return [
        f"{v['id']} ({len(v['nodes'])}): {v['nodes'][0]['html'][:200]}: {v['nodes'][0]['failureSummary']}"
        for v in found
    ]


def test_pages_are_accessible_and_lose_nothing_on_paper(browser: Browser, any_site: Path) -> None:
    """From a server, below a path: no violation in axe in light and dark, with charts drawn; then as printed."""

    def inspect(page: Page) -> list[str]:
        draw_charts(page)
        found = violations(page, RULES)
        page.emulate_media(color_scheme="dark")
        found += [f"in the dark: {words}" for words in violations(page, CONTRAST)]
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size(PAPER)
        return found + list(page.evaluate(LOST_ON_PAPER))

    assert problems(browser, any_site, inspect, "http", bypass_csp=True) == {}


def test_pages_are_readable_without_script(browser: Browser, any_site: Path) -> None:
    def read(page: Page) -> list[str]:
        main = page.locator("main")
        found: list[str] = page.evaluate(USELESS_WITHOUT_SCRIPT)
        return found + ([] if main.locator("h1").is_visible() and len(main.inner_text()) > 50 else ["nothing to read"])

    assert problems(browser, any_site, read, java_script_enabled=False) == {}
