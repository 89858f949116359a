"""Charts in the browser: Plotly's traces against the tables; hover, click and save; still pictures without scripts."""

import re
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import drawn_types
from playwright.sync_api import Browser, Page
from synthetic import CATEGORIES, SCRIPT, write

from saecatalog.tables import Tables

TRACES = """selector => document.querySelector(selector + ' .drawn')._fullData.map(trace => ({
  x: trace.x && [...trace.x], y: trace.y && [...trace.y], z: trace.z && trace.z.map(row => [...row]),
  x0: trace.x0, dx: trace.dx, custom: trace.customdata}))"""
WIDTH = "figure => figure.clientWidth"
# Where the middle of a cell is on the screen, from its place in the plot.
CELL = """([selector, row, column]) => {
  const plot = document.querySelector(selector + ' .drawn');
  const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  return [area.left + xaxis.c2p(column), area.top + yaxis.c2p(row)];
}"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return write(tmp_path_factory.mktemp("tables"))[0]


@pytest.fixture
def opened(page: Page, site: Path) -> Callable[[str, str], list[dict[str, Any]]]:
    """Opens a page, waits for a chart to be drawn, and returns its traces."""

    def traces(path: str, selector: str) -> list[dict[str, Any]]:
        page.goto((site / path).as_uri())
        drawn_types(page, f"{selector} figure.chart")
        found: list[dict[str, Any]] = page.evaluate(TRACES, selector)
        return found

    return traces


def point_at(page: Page, selector: str, row: int, column: int) -> tuple[float, float]:
    page.locator(f"{selector} .drawn").scroll_into_view_if_needed()
    x, y = page.evaluate(CELL, [selector, row, column])
    if not 60 < y < 800:
        page.mouse.wheel(0, y - 400)
        page.wait_for_timeout(200)
        x, y = page.evaluate(CELL, [selector, row, column])
    return x, y


def test_histogram_is_that_of_the_data(page: Page, opened: Any, tables: Tables) -> None:
    (trace,) = opened("features/1.html", "#histogram")
    row = tables["histograms"].set_index("feature").loc[1]
    lows, width = row.edges[:-1].astype(float), float(row.edges[1] - row.edges[0])
    drawn = {trace["x0"] + trace["dx"] * i: n for i, n in enumerate(trace["y"])}
    expected = {low + width / 2: n for low, n in zip(lows, row.counts, strict=True) if n}
    assert {round(x, 2): n for x, n in drawn.items() if n} == {round(x, 2): n for x, n in expected.items()}
    shown = [int(text.replace(",", "")) for text in page.locator("#histogram td:nth-child(2)").all_text_contents()]
    assert shown == trace["y"]
    titles = [page.locator(f"#histogram .drawn .{axis}title").text_content() for axis in "xy"]
    assert titles == ["Activation (SAE units)", "Tokens (log)"]


def test_density_histogram_is_that_of_the_manifest(opened: Any, tmp_path: Path) -> None:
    (trace,) = opened("index.html", "#health")
    health = write(tmp_path)[1]["health"]
    assert trace["y"] == health["density_counts"]
    middles = (np.array(health["density_edges"][:-1]) + health["density_edges"][1:]) / 2
    assert np.allclose(trace["x0"] + trace["dx"] * np.arange(len(middles)), middles)


def test_bars_by_category_are_those_of_the_data(page: Page, opened: Any, tables: Tables) -> None:
    active, strong = opened("features/1.html", "#categories")
    rows = tables["categories"]
    rows = rows[rows["feature"] == 1].set_index("category").loc[CATEGORIES]
    assert active["x"] == pytest.approx((rows["active_inside"] / rows["n_inside"]).tolist())
    assert strong["x"] == pytest.approx((rows["strong_inside"] / rows["n_inside"]).tolist())
    names = page.locator("#categories .ytick text").all_text_contents()
    assert [name.lower() for name in names] == [name.lower() for name in CATEGORIES]


def test_scores_are_those_of_the_data(page: Page, opened: Any, tables: Tables, site: Path) -> None:
    (trace,) = opened("categories/index.html", "#notable")
    scores = tables["text_scores"].set_index(["feature", "text"])["score"].to_dict()
    texts = [text for name in CATEGORIES for text in tables["texts"].query("category == @name")["text"]]
    features = [int(text[1:].split()[0]) for text in page.locator("#notable .rows li").all_text_contents()]
    assert len(features) > 1
    assert trace["z"] == [[pytest.approx(scores.get((f, t), 0), rel=5e-3) for t in texts] for f in features]


def test_cell_of_a_score_is_told_as_text_and_leads_to_the_text(page: Page, opened: Any, tables: Tables) -> None:
    (trace,) = opened("categories/index.html", "#notable")
    row, column = next((i, 0) for i, values in enumerate(trace["z"]) if values[0])
    x, y = point_at(page, "#notable", row, column)
    page.mouse.move(x, y)
    told = page.locator("#notable .told")
    told.wait_for()
    lines = told.locator("> *").all_text_contents()
    label = page.locator("#notable .rows li").nth(row).text_content()
    text = tables["texts"].iloc[0]
    assert lines[:2] == [label, f"Text score {trace['z'][row][column]}"]
    assert SCRIPT in lines[2].lower()
    assert lines[3] == text.content
    page.mouse.click(x, y)
    page.wait_for_url("**/texts/*")
    number = re.match(r"#(\d+)", label or "")
    assert number
    assert page.url.endswith(f"texts/{text.text}.html#f{number.group(1)}")


def test_row_names_stand_beside_their_rows_and_lead_to_the_features(page: Page, opened: Any) -> None:
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        opened("categories/index.html", "#notable")
        names = page.locator("#notable .rows li")
        for row in range(names.count()):
            box = names.nth(row).bounding_box()
            assert box
            _, y = page.evaluate(CELL, ["#notable", row, 0])
            assert abs(box["y"] + box["height"] / 2 - y) < 2
    number = (names.first.text_content() or "").split()[0].removeprefix("#")
    names.first.locator("a").click()
    page.wait_for_url(f"**/features/{number}.html")


def test_cell_of_a_pair_fills_the_panel(page: Page, opened: Any, tables: Tables) -> None:
    (trace,) = opened("coactivation/index.html", "#heatmap")
    z = np.array(trace["z"])
    assert np.array_equal(z, z.T)
    row, column = (int(i) for i in np.argwhere(z > 0)[0])
    x, y = point_at(page, "#heatmap", row, column)
    page.mouse.move(x, y)
    page.locator("#heatmap .told").wait_for()
    told = page.locator("#heatmap .told > *").all_text_contents()
    assert told[2:] == ["Jaccard overlap 0.5", "Tokens with both 6"]
    page.mouse.click(x, y)
    panel = page.locator("#pair")
    panel.locator("dl").wait_for()
    features = [int(link.split("#")[1].split()[0]) for link in panel.locator("p > a").all_text_contents()]
    pairs = tables["coactivation"].query("level == 'token'")
    assert tuple(sorted(features)) in set(zip(pairs["feature_a"], pairs["feature_b"], strict=True))
    assert {int(line[1:].split()[0]) for line in told[:2]} == set(features)
    scores = tables["text_scores"].pivot_table(index="feature", columns="text", values="score").fillna(0)
    weaker = scores.loc[features].min()
    best = weaker[weaker > 0].sort_values(ascending=False)
    links = [link.get_attribute("href") or "" for link in panel.locator("ul a").all()]
    found = [re.sub(r".*/(.*)\.html.*", r"\1", link) for link in links]
    assert len(found) == min(3, len(best))
    assert weaker[found].tolist() == best.head(3).tolist()
    assert panel.get_attribute("aria-live") == "polite"
    panel.locator("ul a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/texts/*")


def test_cell_without_overlap_says_so(page: Page, opened: Any) -> None:
    (trace,) = opened("coactivation/index.html", "#heatmap")
    row, column = next((int(i), int(j)) for i, j in np.argwhere(np.array(trace["z"]) == 0) if i != j)
    page.mouse.click(*point_at(page, "#heatmap", row, column))
    page.locator("#pair", has_text="No overlap recorded").wait_for()
    assert page.locator("#pair a").count() == 2


@pytest.mark.parametrize("dark", [False, True])
def test_charts_are_saved(page: Page, opened: Any, dark: bool, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light")
    opened("features/1.html", "#histogram")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for kind in ("SVG", "PNG"):
        button = page.get_by_role("button", name=f"Save as {kind}: Activations")
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 24
        button.focus()
        with page.expect_download() as waiting:
            page.keyboard.press("Enter")
        assert waiting.value.suggested_filename == f"feature-1-activations.{kind.lower()}"
        waiting.value.save_as(tmp_path / kind)
    picture = ElementTree.parse(tmp_path / "SVG").getroot()
    text = (tmp_path / "SVG").read_text("utf-8")
    assert len(re.findall(r'class="point"', text)) == page.locator("#histogram .drawn .point").count() > 0
    assert "Feature 1: Activations" in "".join(picture.itertext())
    assert (re.findall(r"fill: (rgb\([^)]*\)); fill-opacity: 1", text) or [""])[0] == paper
    image = (tmp_path / "PNG").read_bytes()
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    assert (width, height) == (2 * int(picture.attrib["width"]), 2 * int(picture.attrib["height"]))


def test_heatmap_is_saved_with_the_names_of_its_rows(page: Page, opened: Any, tmp_path: Path) -> None:
    opened("categories/index.html", "#notable")
    with page.expect_download() as waiting:
        page.locator("#notable .save button").first.click()
    waiting.value.save_as(tmp_path / "saved.svg")
    said = "".join(ElementTree.parse(tmp_path / "saved.svg").getroot().itertext())
    for label in page.locator("#notable .rows li").all_text_contents():
        assert label in said
    assert "Text score" in said


def test_stills_and_tables_stand_without_script(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path, shown in {
        "features/1.html": ["#histogram svg", "#histogram summary", "#categories table", "#categories td svg"],
        "index.html": ["#health svg", "#health summary"],
        "categories/index.html": ["#notable svg", "#notable summary", "#frequent svg"],
        "categories/python-code.html": ["#heatmap svg", "#heatmap table"],
        "coactivation/index.html": ["#heatmap svg", "#pairs table", "#pairs .spots a"],
    }.items():
        page.goto((site / path).as_uri())
        for selector in shown:
            assert page.locator(selector).first.is_visible(), (path, selector)
        assert not page.locator("#pair").is_visible()
    page.goto((site / "features/1.html").as_uri())
    bars = page.locator("#categories td svg path")
    rows = page.locator("#categories tbody tr")
    assert bars.count() == 2
    assert (rows.first.bounding_box() or {}).get("height") == (rows.last.bounding_box() or {}).get("height")
    context.close()


def test_print_shows_the_stills(page: Page, opened: Any) -> None:
    for path, section in (("features/1.html", "#histogram"), ("categories/index.html", "#notable")):
        opened(path, section)
        assert not page.locator(f"{section} .still").is_visible()
        page.emulate_media(media="print")
        assert page.locator(f"{section} .still").is_visible()
        assert not page.locator(f"{section} .drawn").is_visible()
        assert not page.locator(f"{section} .save").is_visible()
        page.emulate_media(media="screen")
    opened("features/1.html", "#categories")
    page.emulate_media(media="print")
    assert page.locator("#categories td svg").is_visible()


def test_charts_follow_the_width_of_the_window(page: Page, opened: Any) -> None:
    opened("categories/index.html", "#notable")
    for width in (390, 1024):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_selector(f"#notable .main-svg[width='{page.locator('#notable figure').evaluate(WIDTH)}']")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
