"""The table of all features and the search in a real browser, against the data files read and sorted in Python."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Locator, Page
from synthetic import CATEGORIES, CONCEPT, FEATURES, PAGED, TOUR, write
from test_site_pages import TEMPLATES

from saecatalog.schemas import SCHEMAS
from saecatalog.site import formats, render, search, search_parts
from saecatalog.site.catalog import Catalog
from saecatalog.site.pages.features import COLUMNS, LEFT_OUT
from saecatalog.tables import TableWriter

MANY = 330


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The features with a page, as the data file has them."""
    tables, _ = write(tmp_path_factory.mktemp("data"))
    return tables.features.loc[PAGED]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features table of a catalog with more features than one view shows."""
    folder = tmp_path_factory.mktemp("many")
    tables, manifest = write(folder / "tables")
    rows = pd.concat([tables["features"].iloc[PAGED]] * (MANY // len(PAGED) + 1), ignore_index=True).iloc[:MANY]
    rows = rows.assign(feature=range(MANY), page=[f"features/{n}.html" for n in range(MANY)])
    with TableWriter(folder / "more") as writer:
        (folder / "more").mkdir()
        for name in SCHEMAS:
            writer.write(name, rows if name == "features" else tables[name])
    catalog = Catalog(render.Tables(folder / "more"), manifest)
    pages = render.Writer(catalog, TEMPLATES, folder / "site")
    render.copy_assets(folder / "site/assets", render.own_assets())
    for _ in render._feature_tables(pages):
        pass
    for path, script in search_parts.scripts(catalog):
        pages.write(path, script)
    return folder / "site/features/index.html"


def table(page: Page, site: Path, query: str = "") -> None:
    """Open the table with this query in the address, and wait until its script has filled it."""
    page.goto((site / "features/index.html").as_uri() + query)
    page.wait_for_selector("#table thead button")


def shown(page: Page) -> list[int]:
    """The features in the table, in order."""
    return [int(text) for text in page.locator("#table tbody th").all_text_contents()]


def by(frame: pd.DataFrame, column: str, down: bool) -> list[int]:
    """Feature numbers sorted by a column the slow way; missing values come last, ties are in order of number."""
    rows = frame[["feature", column]].to_dict("records")
    there = [row for row in rows if not math.isnan(row[column])]
    ordered = sorted(there, key=lambda row: (-row[column] if down else row[column], row["feature"]))
    return [row["feature"] for row in ordered] + [row["feature"] for row in rows if math.isnan(row[column])]


def test_every_number_of_the_features_can_be_sorted_by() -> None:
    strings = {name for name, (kind, _) in SCHEMAS["features"].items() if kind == pa.string()}
    assert {column.name for column in COLUMNS} == set(SCHEMAS["features"]) - strings


def test_sorts_by_every_statistic_and_shows_it(page: Page, site: Path, features: pd.DataFrame) -> None:
    table(page, site)
    # What six digits make equal is a tie on the page.
    rounded = features.map(lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)
    for column in COLUMNS[1:]:
        page.select_option("#filters [name=sort]", column.name)
        head = page.locator(f"#table thead th[data-key={column.name}]")
        assert shown(page) == by(rounded, column.name, down=True), column
        assert head.get_attribute("aria-sort") == "descending"
        assert head.locator("button").get_attribute("title") == SCHEMAS["features"][column.name][1]
        head.locator("button").click()
        assert shown(page) == by(rounded, column.name, down=False), column
        assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("#table thead [aria-sort]").count() == 1


def test_sorts_by_label_without_regard_to_case(page: Page, site: Path, features: pd.DataFrame) -> None:
    table(page, site)
    page.click("#table thead th[data-key=label] button")
    wanted = sorted(PAGED, key=lambda number: (features.label[number].lower(), number))
    assert shown(page) == wanted
    assert page.locator("#table tbody td.words:nth-child(2)").all_text_contents() == [features.label[n] for n in wanted]


FILTERED: list[tuple[str, str, Callable[[Any], bool]]] = [
    ("reason", "selective", lambda row: "selective" in row.notable),
    ("reason", "specialist", lambda row: "specialist:" in row.notable),
    ("reason", f"specialist:{CATEGORIES[1]}", lambda row: row.notable == f"specialist:{CATEGORIES[1]}"),
    ("reason", f"common:{CATEGORIES[2]}", lambda row: f"common:{CATEGORIES[2]}" in row.notable),
    ("reason", f"concept:{CONCEPT}", lambda row: CONCEPT in row.notable),
    ("category", CATEGORIES[0], lambda row: row.top_text.startswith("t0-")),
    ("category", CATEGORIES[2], lambda row: row.top_text.startswith("t2-")),
    ("density", "0.1-", lambda row: row.density >= 0.1),
    ("density", "-0.0001", lambda row: row.density < 0.0001),
    ("density", "0.01-0.1", lambda row: 0.01 <= row.density < 0.1),
]


def test_filters_let_through_what_the_data_says(page: Page, site: Path, features: pd.DataFrame) -> None:
    sizes = set()
    for name, value, fits in FILTERED:
        table(page, site)
        page.select_option(f"#filters [name={name}]", value)
        wanted = [row.feature for row in features.loc[TOUR].itertuples() if fits(row)]
        assert shown(page) == wanted or (not wanted and "No feature matches" in page.inner_text("#table tbody")), value
        assert page.inner_text("#filters .found") == f"{len(wanted)} of {len(PAGED)} features"
        sizes.add(len(wanted))
    assert {0, 1} < sizes


def test_filters_join_and_clear_takes_them_away(page: Page, site: Path) -> None:
    table(page, site, "?reason=selective&density=0.1-&sort=q99&dir=down")
    assert page.input_value("#filters [name=density]") == "0.1-"
    assert set(shown(page)) < set(PAGED)
    assert page.locator("#table thead th[data-key=q99]").count() == 1
    page.click("#filters .clear")
    assert shown(page) == TOUR
    assert "?" not in page.url
    assert page.locator("#table thead th[data-key=q99]").count() == 0
    assert page.input_value("#filters [name=reason]") == ""


def test_the_address_holds_the_view_and_back_undoes_a_step(page: Page, site: Path) -> None:
    table(page, site)
    page.click("#table thead th[data-key=max] button")
    by_max = shown(page)
    page.select_option("#filters [name=reason]", "selective")
    page.locator("#filters details summary").click()
    page.check("#filters .offered input[value=logit_std]")
    address, view = page.url, page.inner_text("#table")
    table(page, site, address[address.index("?") :])
    assert page.inner_text("#table") == view
    assert page.is_checked("#filters .offered input[value=logit_std] >> visible=false") or "logit_std" in page.url
    page.go_back()
    page.go_back()
    page.wait_for_function("() => document.querySelector('#filters [name=reason]').value === ''")
    assert shown(page) == by_max
    page.go_forward()
    page.wait_for_function("() => document.querySelector('#filters [name=reason]').value === 'selective'")
    assert set(shown(page)) < set(by_max)


def test_an_address_that_makes_no_sense_shows_the_whole_table(page: Page, site: Path) -> None:
    table(page, site, "?sort=constructor&dir=sideways&page=nine&columns=<b>,max")
    assert shown(page) == TOUR
    assert page.locator("#table thead th").all_text_contents() == [
        "Feature", "Label", "Max", "Notable as", "Strongest text in",
    ]  # fmt: skip


def test_text_filter_finds_what_the_search_finds(page: Page, site: Path) -> None:
    table(page, site)
    page.fill("#filters [name=q]", "<4>")
    page.wait_for_function("() => document.querySelectorAll('#table tbody tr').length === 1")
    assert shown(page) == [4]
    assert page.input_value("#filters [name=sort]") == "match"
    table(page, site, "?q=selective&sort=feature")
    page.wait_for_function("() => document.querySelectorAll('#table tbody tr').length < 8")
    assert shown(page) == [3, 4, 5, 6, 7]


def test_download_holds_the_rows_of_the_data_file(page: Page, site: Path, features: pd.DataFrame) -> None:
    table(page, site, "?reason=selective&sort=max&dir=down")
    order = shown(page)
    with page.expect_download() as download:
        page.click("#filters .download")
    assert download.value.suggested_filename == "features.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == [name for name in SCHEMAS["features"] if name not in LEFT_OUT]
    assert [int(row["feature"]) for row in rows] == order
    for row in rows:
        same_row(row, features.loc[int(row["feature"])])


def same_row(row: dict[str, Any], wanted: pd.Series) -> None:
    """Every column of a downloaded row equals that of the data file, floats to six digits."""
    for name, value in row.items():
        if isinstance(wanted[name], str):
            assert value.removeprefix("'") == wanted[name], name
        elif value in ("", None):
            assert math.isnan(wanted[name]), name
        else:
            assert float(value) == pytest.approx(wanted[name], rel=1e-5), name


def test_a_page_can_have_the_data_row_of_a_feature(page: Page, site: Path, features: pd.DataFrame) -> None:
    page.goto((site / "features/2.html").as_uri())
    row = page.evaluate("saeLoad('../assets/row.js').then(() => saeRow('../', 2))")
    assert list(row) == [name for name in SCHEMAS["features"] if name not in LEFT_OUT]
    same_row(row, features.loc[2])
    assert page.evaluate("saeRow('../', 11)") is None


def test_numbers_look_the_same_with_and_without_script(browser: Browser, page: Page, site: Path) -> None:
    address = (site / "features/index.html").as_uri()
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(address)
    table(page, site)
    assert page.inner_text("#table tbody") == still.inner_text("#table tbody")
    assert not still.locator("#filters").is_visible()
    still.context.close()
    numbers = [0.0, 0.5, 1.5, 2.5, 0.125, 0.375, 12.5, 0.0125, 99.95, 0.00099951, 0.001, 1234.5, 999999, 1e6, -0.25]
    numbers += [sign * digits * 10.0**power for sign in (1, -1) for power in range(-9, 8) for digits in (1.005, 4.4449)]
    for name in ("number", "percent", "count"):
        values = [value for value in numbers if name != "count" or value == int(value)]
        wanted = [formats.FILTERS[name](value) for value in values]
        assert page.evaluate(f"values => values.map(saeFormats.{name})", values) == wanted


def test_a_long_table_has_pages_and_keeps_the_focus_on_them(page: Page, many: Path) -> None:
    page.goto(many.as_uri())
    page.wait_for_selector("#pager button")
    clear = [6, 4, 9]
    assert shown(page) == [*clear, *(n for n in range(50) if n not in clear)]
    page.get_by_role("button", name="Next").press("Enter")
    assert shown(page) == list(range(50, 100))
    assert page.evaluate("document.activeElement.textContent") == "Next"
    page.get_by_role("button", name="7", exact=True).click()
    assert shown(page) == list(range(300, MANY))
    assert page.get_by_role("button", name="Next").is_disabled()
    assert page.locator("#pager [aria-current=page]").inner_text() == "7"
    page.reload()
    page.wait_for_selector("#pager button")
    assert shown(page) == list(range(300, MANY))
    page.go_back()
    page.wait_for_function("() => document.querySelector('#table tbody th').textContent === '50'")


def test_a_link_to_a_row_finds_it_on_any_page(page: Page, many: Path) -> None:
    page.goto(many.as_uri() + "?reason=selective#f271")
    row = page.locator("#f271.here")
    row.wait_for()
    assert row.locator("th").is_visible()
    page.wait_for_function("() => document.getElementById('f271').getBoundingClientRect().top < innerHeight")
    assert "selective" in row.inner_text()


def test_table_on_a_phone_scrolls_in_its_box_and_keeps_the_number_in_sight(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    table(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.eval_on_selector(".scroll", "box => { box.scrollLeft = 300; }")
    box = page.locator("#table tbody th").first.bounding_box()
    assert box is not None
    assert 0 <= box["x"] < 40


def search_for(page: Page, words: str) -> Locator:
    """Type into the search box; returns the results."""
    page.focus("#search")
    page.wait_for_selector("#results", state="attached")
    page.fill("#search", words)
    return page.locator("#results [role=option]")


def test_search_finds_by_everything_that_is_known_of_a_feature(page: Page, site: Path) -> None:
    page.goto((site / "texts/index.html").as_uri())
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    for words, first in [
        ("3", "3label <3>"),
        ("#6", "6label <6>"),
        ("label <4>", "4label <4>"),
        ("<7> label", "7label"),
    ]:
        assert (search_for(page, words).first.text_content() or "").startswith(first), words
    for words in ("def f(", "مرحبا", "ไทย", 'python & "code"', "<script>", "CODE selective"):
        found = search_for(page, words)
        assert found.count(), words
        assert found.locator("mark").count(), words
    assert search_for(page, "zzzz").count() == 0
    assert page.inner_text(".results [role=status]") == "No results."
    assert page.locator(".results script, .results img").count() == 0


def entries(site: Path) -> tuple[dict[int, dict[str, str]], dict[int, float], set[int]]:
    """The index read without the script: the texts of each feature, its bits, and the features of groups."""
    text = (site / "search-index.js").read_text("utf-8").removeprefix("saeSearchData(").removesuffix(");\n")
    data = json.loads(text)
    columns = [column.lower().split("\n") for column in data["fields"].values()]
    known = {
        number: dict(zip(data["fields"], texts, strict=True))
        for number, *texts in zip(data["numbers"], *columns, strict=True)
    }
    responding = {feature for *_, strengths in data["groups"] for feature, _ in strengths}
    return known, dict(zip(data["numbers"], data["bits"], strict=True)), responding


WORTH = {"label": 8, "tokens": 4, "names": 4, "subjects": 1.5, "note": 4, "explanation": 3, "examples": 1}
"""What the first word of a field is worth; the last word of a label, of tokens and of names is worth three quarters."""


def worth(texts: dict[str, str], word: str, bits: float) -> float:
    """The score of a feature for one word, the slow way."""
    best = 0.0
    for name, text in texts.items():
        for found in re.finditer(re.escape(word), text):
            begins, ends = not re.match(r"\w", text[: found.start()][-1:]), not re.match(r"\w", text[found.end() :])
            grade = 1 if begins and ends else 0.45 if begins else 0.2
            place = found.start() / len(text) / 4 if name in ("label", "tokens", "names") else 0
            first = re.search(rf"(?<!\w){word}(?!\w)" if grade == 1 else rf"(?<!\w){word}" if begins else word, text)
            # The earliest of the best matches counts.
            if first and first.start() == found.start():
                best = max(best, WORTH[name] * grade * (1 - place))
    return best * (0.1 + bits / 8)


def test_answers_hold_every_term_and_come_best_match_first(page: Page, site: Path) -> None:
    table(page, site, "?q=a")
    known, bits, responding = entries(site)
    for words in ("label", "python", "the", "x in", "def", "(", "script alert", "e", "code selective", "yes"):
        terms = words.split()
        found = page.evaluate("words => saeFind(words)", words)
        written = {n for n, texts in known.items() if all(any(t in x for x in texts.values()) for t in terms)}
        assert written <= set(found) <= written | responding, words
        if words in ("label", "the", "def", "e", "yes"):
            scores = [worth(known[number], words, bits[number]) for number in found]
            assert scores == pytest.approx(sorted(scores, reverse=True)), words


def test_a_slip_is_mended_and_said(page: Page, site: Path) -> None:
    page.goto((site / "features/0.html").as_uri())
    for slip in ("labl", "lable", "labbel", "lqbel"):
        assert search_for(page, f"{slip} <4>").first.locator("b").inner_text() == "4"
        said = page.inner_text(".results [role=status]")
        assert said == f"No results for “{slip} <4>”. Showing results for “label <4>”. 1 feature"


def test_search_is_worked_by_the_keyboard(page: Page, site: Path) -> None:
    page.goto((site / "features/0.html").as_uri())
    box = page.locator("#search")
    options = search_for(page, "label")
    count = options.count()
    assert count == FEATURES - 1
    assert box.get_attribute("role") == "combobox"
    assert box.get_attribute("aria-expanded") == "true"

    def chosen() -> int:
        assert page.locator("#results [aria-selected=true]").count() == 1
        active = box.get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
        return int((active or "").removeprefix("result-"))

    places = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End", "ArrowDown", "Home", "ArrowUp"):
        page.keyboard.press(key)
        places.append(chosen())
    assert places == [1, 2, 1, count - 1, count - 1, 0, 0]
    page.keyboard.press("Escape")
    assert not page.locator(".results").is_visible()
    assert box.get_attribute("aria-expanded") == "false"
    assert box.input_value() == ""
    second = search_for(page, "label").nth(1).locator("b").inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"/(features/{second}\.html|row\.html\?feature={second})$"))
    search_for(page, "<3>").first.click()
    page.wait_for_url("**/features/3.html")


def test_all_results_are_in_the_table(page: Page, many: Path) -> None:
    page.goto(many.as_uri())
    last = search_for(page, "selective").last
    assert last.text_content() == "Show all 205 in the table"
    last.click()
    page.wait_for_url("**/features/index.html?q=selective")
    page.wait_for_function("() => document.querySelector('#filters .found').textContent.startsWith('205 of')")


def test_a_feature_without_a_page_is_found_with_its_figures(page: Page, site: Path) -> None:
    page.goto((site / "about.html").as_uri())
    for words in ("11", "label <11>"):
        found = search_for(page, words).first
        assert found.get_attribute("href") == "row.html?feature=11"
        assert re.search(r"density \d\S*\s%, max \d", found.inner_text())
    assert page.inner_text(".results [role=status]") == "1 feature"
    page.keyboard.press("Enter")
    page.wait_for_url("**/row.html?feature=11")
    assert search_for(page, "12").count() == 0
    assert page.inner_text(".results [role=status]") == "This SAE has 12 features."


def test_results_fit_a_phone_and_lead_to_groups(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site / "features/0.html").as_uri())
    search_for(page, "numbers")
    box = page.locator(".results").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.keyboard.press("Enter")
    page.wait_for_url("**/concepts/numbers-title-b.html")


def test_excerpts_are_around_the_peaks_and_within_what_the_page_shows(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    catalog = Catalog(tables, manifest)
    source = search.Source.of(catalog)
    for number in PAGED:
        excerpts = search.FIELDS["examples"](source, number)
        peaks = [row for row in catalog.by("contexts", "feature")[number] if row.band == "top"][: search.EXCERPTS]
        assert bool(excerpts) == bool(peaks)
        for peak, excerpt in zip(peaks, excerpts.split(" … "), strict=bool(peaks)):
            text = catalog.texts[peak.text]
            ends = [0, *text.token_ends]
            assert excerpt in text.content[ends[peak.window_start] : ends[peak.window_end]]
            assert "<0x" in peak.token or peak.token.strip() in excerpt
        assert "<0x" not in search.FIELDS["tokens"](source, number)
