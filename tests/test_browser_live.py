"""The live part in a browser: texts typed, linked to and compared, with the real engine on a small catalog.

What pages show is compared with what the catalog's own code finds on the same texts.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attacks import ATTACKS, seen
from browsing import address, draw_charts, opened
from conftest import CODE, CONTEXT, D_SAE, PROSE, SCRIPTS
from live_site import Reference
from playwright.sync_api import Browser, Page, Route, expect
from test_every_page import CONTRAST, FOLLOWED, LOST_ON_PAPER, MOVES, PAPER, RULES, STICKING_OUT, WHOLE, violations

from saecatalog.site.formats import number

LONGEST = CONTEXT - 1
WAYS = ["file", "http"]
TEXT = "The cat sat on the mat."
OTHER = "The dog sat on the mat."
TYPED = [
    TEXT,
    "Where?",
    *SCRIPTS,
    *CODE,
    "</s> <s> <|endoftext|>",
    "\u202etxt.exe \u200b x",
    "e\u0301 👩\u200d👩\u200d👧 👋🏽",
]

KEPT = """async () => {
    const kept = await caches.open(`saecatalog ${saeClient.catalog}`);
    return Boolean(await kept.match(`${saeClient.catalog}live/index.html`));
}"""
"""Whether the page itself is kept for use offline."""

PUT = """async urls => {
    const parts = await caches.open("saecatalog-live");
    for (const url of urls) await parts.put(url, new Response(""));
}"""

HURRIED = "const set = setTimeout; window.setTimeout = (act, wait) => set(act, wait / 20);"
"""Timers run 20 times as fast, so that a text counts as typed after 10 ms instead of 200."""

WEIGHTS = re.compile("/live/weights-")

EMPTY = "for (const box of document.querySelectorAll('#try-text')) box.value = ''"

MARKS = "marks => marks.map(mark => `${mark.className[1]} ${mark.title}`)"

ROWS = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"


@contextmanager
def live_page(
    browser: Browser, site: Path, complaints: list[str], way: str = "http", **options: Any
) -> Iterator[tuple[Page, str]]:
    """A page, and the address of the catalog, from a folder or from a server below a path."""
    root = site.parent.parent
    with address(root, way) as home, opened(browser, complaints, home, **options) as page:
        yield page, f"{home}{site.relative_to(root).as_posix()}/"


def feature_pages(site: Path) -> list[Path]:
    """The pages of features that have examples."""
    found = [path for path in sorted(site.glob("features/*.html")) if path.stem.isdigit()]
    return [path for path in found if 'id="examples"' in path.read_text("utf-8")]


def fragment(**state: object) -> str:
    return "#" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in state.items())


def load(page: Page) -> None:
    """Load the model, where it is not kept."""
    page.wait_for_function("() => document.querySelector('.load, [aria-busy=false]')")
    if page.locator(".load").count():
        page.locator(".load").click()
    settled(page)


def settled(page: Page) -> None:
    """Wait until what is shown is that of the texts."""
    page.wait_for_function("() => document.querySelector('[aria-busy=false]')")


def write(page: Page, text: str, box: str = "#text") -> None:
    page.fill(box, text)
    settled(page)


def rows(page: Page, label: str) -> list[list[str]]:
    """All rows of a table of the live page, asking for more until there are no more."""
    table = page.get_by_role("region", name=label, exact=True)
    more = table.locator("+ button")
    while more.is_visible():
        more.click()
    found: list[list[str]] = table.locator("tbody tr").evaluate_all(ROWS)
    return found


def strongest(page: Page) -> dict[int, str]:
    """Each feature of the table of the text, and its maximum as shown."""
    return {int(row[0]): row[2] for row in rows(page, "Strongest features on the text")}


def expected(fired: Reference, text: str) -> dict[int, str]:
    largest = fired(text).activations[:LONGEST].max(axis=0)
    return {feature: number(float(value)) for feature, value in enumerate(largest) if value > 0}


@pytest.mark.parametrize("way", WAYS)
def test_the_table_has_the_figures_of_the_catalogs_own_code(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str], way: str
) -> None:
    with live_page(browser, live_site, complaints, way) as (page, home):
        page.add_init_script(HURRIED)
        page.goto(home + "live/index.html")
        load(page)
        for text in TYPED:
            write(page, text)
            assert (strongest(page) if page.locator(".found table").count() else {}) == expected(fired, text), text
    assert complaints == []


def test_a_token_shows_what_fires_there(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        found = fired(TEXT)
        pieces = page.get_by_role("option")
        assert "".join(pieces.all_text_contents()) == TEXT
        for token, values in enumerate(found.activations):
            pieces.nth(token).click()
            wanted = {f: number(float(v)) for f, v in enumerate(values) if v > 0}
            shown = rows(page, "Strongest features on the token") if wanted else []
            assert {int(row[0]): row[2] for row in shown} == wanted
            assert list(wanted) or "No feature fires" in page.locator(".found").inner_text()
        pieces.last.press("Escape")
        assert strongest(page) == expected(fired, TEXT)
    assert complaints == []


def test_tokens_are_chosen_with_the_keyboard_alone(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        tokens = page.get_by_role("listbox")
        assert tokens.locator("[tabindex='0']").count() == 1
        tokens.locator("[tabindex='0']").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(tokens.locator("[aria-selected=true]")).to_have_count(1)
        assert tokens.get_by_role("option").nth(2).get_attribute("aria-selected") == "true"
        expect(page.locator(".found h2")).to_contain_text("Strongest features on")
        page.get_by_role("button", name="Back to the whole text").press("Enter")
        expect(page.locator(".found h2")).to_have_text("Strongest features on the text")
    assert complaints == []


def test_massive_activations_are_left_out_and_said(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    text = "Where is the keeper?"
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html" + fragment(text=text))
        load(page)
        assert page.locator(".massive").all_text_contents() == ["?"]
        assert "1 token with massive activations left out" in page.locator(".typed > [role=status]").inner_text()
        assert strongest(page) == expected(fired, text)
    assert complaints == []


def test_any_feature_is_chosen_by_its_number(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        values = fired(TEXT).activations
        for feature in (0, 1, 2, int(values.max(axis=0).argmin())):
            page.fill("#feature", str(feature))
            page.press("#feature", "Enter")
            marked = page.get_by_role("listbox").locator("b").evaluate_all("all => all.map(b => b.title)")
            assert marked == [number(float(v)) if v else "" for v in values[:, feature]]
            assert f"feature={feature}" in page.url
        page.fill("#feature", str(D_SAE))
        page.press("#feature", "Enter")
        assert f"features 0 to {D_SAE - 1}" in page.locator(".chooser").inner_text()
    assert complaints == []


def test_two_texts_side_by_side(browser: Browser, live_site: Path, fired: Reference, complaints: list[str]) -> None:
    first, second = fired(TEXT).activations, fired(OTHER).activations
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        page.get_by_role("button", name="Compare with another text").click()
        assert page.input_value("#with") == TEXT
        write(page, OTHER, "#with")
        change = {
            f: (number(float(a)), number(float(b)))
            for f, (a, b) in enumerate(zip(first.max(0), second.max(0), strict=True))
            if a != b
        }
        shown = rows(page, "Features by largest change")
        assert {int(row[0]): (row[3], row[4]) for row in shown} == change
        sizes = [abs(float(second.max(0)[int(row[0])] - first.max(0)[int(row[0])])) for row in shown]
        assert sizes == sorted(sizes, reverse=True)
        feature = int(shown[0][0])
        pairs = rows(page, f"Feature {feature}, token by token")
        for side, values in enumerate((first, second)):
            told = [row[2 * side + 1] for row in pairs if row[2 * side] != "–" and row[2 * side + 1] != "0"]
            assert told == [number(float(v)) for v in values[:, feature] if v]
        assert page.locator(".tokens .other").count()
    assert complaints == []


@pytest.mark.parametrize("way", WAYS)
def test_a_link_shows_again_what_was_seen(browser: Browser, live_site: Path, complaints: list[str], way: str) -> None:
    text = "naïve & 50% #1 + 猫\n=?"
    with live_page(browser, live_site, complaints, way) as (page, home):
        page.goto(home + "live/index.html")
        load(page)
        write(page, text)
        page.fill("#feature", "3")
        page.press("#feature", "Enter")
        page.get_by_role("button", name="Compare with another text").click()
        write(page, TEXT, "#with")
        seen_before = [page.locator(where).inner_text() for where in (".shown", ".found")]
        linked = page.url
        page.goto("about:blank") if way == "file" else page.goto(home + "index.html")
        page.goto(linked)
        # Kept by the browser, so nothing has to be pressed.
        settled(page)
        assert (page.input_value("#text"), page.input_value("#with"), page.input_value("#feature")) == (text, TEXT, "3")
        assert [page.locator(where).inner_text() for where in (".shown", ".found")] == seen_before
        assert page.url == linked
    assert complaints == []


def test_the_panel_shows_an_example_as_its_page_does(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    compared = 0
    # Without motion, so that no click waits until the page has scrolled.
    with live_page(browser, live_site, complaints, "file", reduced_motion="reduce") as (page, home):
        for path in feature_pages(live_site)[:3]:
            page.goto(f"{home}features/{path.name}")
            page.evaluate("document.querySelectorAll('#bands details').forEach(band => { band.open = true; })")
            for item in page.locator(".examples > li").all()[::3]:
                page.evaluate(EMPTY)
                item.get_by_role("button", name="Edit the text").click()
                page.wait_for_function("() => document.querySelector('#try-text')?.value")
                settled(page)
                shown = page.locator(".trying .text b").evaluate_all(MARKS)
                example = item.locator("p b").evaluate_all(MARKS)
                words = item.locator("p").text_content() or ""
                if words in page.input_value("#try-text"):
                    assert " ".join(example) in " ".join(shown)
                    compared += len(example)
                elif words.isascii() and (item.locator("p b.p").text_content() or "").strip():
                    # An excerpt of several windows has marks that the window of its peak has not. A window that ends
                    # within a character cannot be typed, and a blank at its edge is not found again.
                    (peak,) = item.locator("p b.p").evaluate_all(MARKS)
                    assert peak in shown
        assert compared > 20
    assert complaints == []


def test_the_link_on_a_features_page_opens_a_panel_in_place(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    (path, *_) = feature_pages(live_site)
    feature = int(path.name.partition(".")[0])
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(f"{home}features/{feature}.html")
        page.locator("a.try").click()
        page.wait_for_selector("#try-text:focus")
        load(page)
        write(page, TEXT, "#try-text")
        values = fired(TEXT).activations[:, feature]
        marked = page.locator(".trying .text b").evaluate_all("all => all.map(b => Number(b.title))")
        assert marked == pytest.approx([float(f"{v:.4g}") for v in values if v], rel=1e-3)
        whole = page.get_by_role("link", name="All features on this text").get_attribute("href") or ""
        assert whole.endswith("live/index.html" + fragment(text=TEXT, feature=feature))
        linked = page.url
        assert linked.endswith(fragment(**{"try": TEXT}))
        page.goto(home + "index.html")
        page.goto(linked)
        settled(page)
        assert page.input_value("#try-text") == TEXT
        page.get_by_role("button", name="Close").click()
        assert not page.locator(".trying").is_visible()
        assert "#" not in page.url
    assert complaints == []


def test_nothing_is_loaded_before_the_reader_asks(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    asked: list[str] = []
    with live_page(browser, live_site, complaints) as (page, home):
        page.on("request", lambda request: asked.append(request.url))
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        button = page.locator(".load")
        expect(button).to_have_text(re.compile(r"^Load the model \([\d.]+\sMB\)$"))
        assert page.input_value("#text") == TEXT
        assert [url for url in asked if re.search(r"live/[\w-]+-[0-9a-f]{8}\.js", url)] == []
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then(all => all.length)") == 0
    assert complaints == []


def hold(route: Route) -> None:
    """Do not answer a request."""


def test_a_download_can_be_stopped_and_started_again(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        page.context.route(WEIGHTS, hold)
        page.locator(".load").click()
        expect(page.get_by_role("progressbar", name="Loading the model")).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".loader")).to_contain_text("Stopped.")
        page.context.unroute(WEIGHTS)
        load(page)
        assert strongest(page)
    assert complaints == []


def cut(route: Route) -> None:
    route.abort("connectionreset")


def truncate(route: Route) -> None:
    body = route.fetch().body()
    route.fulfill(body=body[: len(body) // 2])


def damage(route: Route) -> None:
    body = bytearray(route.fetch().body())
    body[len(body) // 2] ^= 1
    route.fulfill(body=bytes(body))


def miss(route: Route) -> None:
    route.fulfill(status=404, body="")


PARTS = ("weights-0", "tokenizer", "rows-0", "features")
FAULTS = [
    *((cut, part) for part in (*PARTS, "manifest")),
    *((fault, "weights-0") for fault in (truncate, damage, miss)),
    (damage, "features"),
    (truncate, "manifest"),
]
"""All parts are read by the same code, so not every fault is planted in each of them."""


@pytest.mark.parametrize(("fault", "part"), FAULTS)
def test_a_faulty_file_is_said_and_tried_again(browser: Browser, live_site: Path, fault: Any, part: str) -> None:
    with live_page(browser, live_site, []) as (page, home):
        pattern = re.compile(f"/live/{part}")
        page.context.route(pattern, fault)
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        if part != "manifest":
            page.locator(".load").click()
        failure = page.get_by_role("alert")
        expect(failure).to_contain_text(re.compile(r"\w{4}.*[.!]"))
        assert page.input_value("#text") == TEXT
        assert page.locator("#agreement").is_visible()
        page.context.unroute(pattern)
        failure.get_by_role("button", name="Try again").click()
        load(page)
        expect(page.get_by_role("alert")).to_have_count(0)
        assert strongest(page)


def test_a_second_visit_works_offline(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        shown = strongest(page)
        page.wait_for_function(KEPT)
        page.context.set_offline(True)
        page.reload()
        settled(page)
        assert strongest(page) == shown
        page.context.set_offline(False)
    assert complaints == []


def test_parts_of_earlier_versions_are_let_go(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        old, others = home + "live/weights-0-00000000.js", home.rsplit("/", 3)[0] + "/other/live/weights-0-00000000.js"
        page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        page.evaluate(PUT, [old, others])
        page.reload()
        settled(page)
        left = "caches.open('saecatalog-live').then(all => all.keys()).then(all => all.map(one => one.url))"
        page.wait_for_function(f"async old => !(await {left}).includes(old)", arg=old)
        assert others in page.evaluate(left)
        assert len(page.evaluate(left)) > 3
    assert complaints == []


@pytest.mark.parametrize(
    ("missing", "words"),
    [("delete window.WebAssembly", "WebAssembly is missing"), ("WebAssembly.validate = () => false", "no SIMD")],
)
def test_a_browser_that_cannot_run_it_says_so(
    browser: Browser, live_site: Path, complaints: list[str], missing: str, words: str
) -> None:
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.add_init_script(missing)
        page.goto(home + "live/index.html")
        expect(page.locator(".loader")).to_contain_text(words)
        assert page.locator(".load").count() == 0
        page.goto(f"{home}features/{feature_pages(live_site)[0].name}")
        page.locator("a.try").click()
        expect(page.locator(".loader")).to_contain_text(words)
    assert complaints == []


def test_too_little_memory_is_said(browser: Browser, live_site: Path) -> None:
    with live_page(browser, live_site, [], "file") as (page, home):
        page.add_init_script("WebAssembly.Memory.prototype.grow = () => { throw new RangeError('no room'); };")
        page.goto(home + "live/index.html" + fragment(text=f"{TEXT} " * 40))
        expect(page.get_by_role("alert")).to_contain_text("memory")


def test_a_full_disk_only_costs_the_next_download(browser: Browser, live_site: Path) -> None:
    full = "Cache.prototype.put = () => Promise.reject(new DOMException('full', 'QuotaExceededError'));"
    with live_page(browser, live_site, []) as (page, home):
        page.context.route(
            "**/assets/live/parts.js",
            lambda route: route.fulfill(body=full + route.fetch().text(), content_type="text/javascript"),
        )
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        assert strongest(page)
        expect(page.locator(".loader")).to_contain_text("no room to keep the model")


def test_an_empty_text_and_a_very_long_one(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    long = " ".join(PROSE) * 60
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(home + "live/index.html")
        load(page)
        expect(page.locator(".typed > [role=status]")).to_have_text("There is no text yet.")
        write(page, long)
        assert f"window of {LONGEST} tokens" in page.locator(".typed > [role=status]").inner_text()
        shown = "".join(page.get_by_role("option").all_text_contents())
        assert long.startswith(shown)
        assert strongest(page) == expected(fired, long)
        write(page, "")
        expect(page.locator(".shown")).to_be_hidden()
        assert page.locator(".found").inner_text() == ""
    assert complaints == []


def test_only_the_last_of_quick_changes_counts(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    with live_page(browser, live_site, complaints) as (page, home):
        page.goto(home + "live/index.html")
        load(page)
        for text in PROSE:
            page.fill("#text", text)
        settled(page)
        assert strongest(page) == expected(fired, PROSE[-1])
    assert complaints == []


IN_ADDRESS = {"text": "#text", "with": "#with", "feature": "#feature", "try": "#try-text"}
"""What an address may name, and the box that shows it."""


@pytest.mark.parametrize("name", IN_ADDRESS)
def test_hostile_addresses_only_show_their_text(browser: Browser, live_site: Path, name: str) -> None:
    """Each name is given other attacks, because every address loads the page and the model anew."""
    complaints: list[str] = []
    (path, *_) = feature_pages(live_site)
    place = f"features/{path.name}" if name == "try" else "live/index.html"
    attacks = ATTACKS[23 * list(IN_ADDRESS).index(name) :: 23 * len(IN_ADDRESS)]
    with live_page(browser, live_site, complaints, "file", bypass_csp=True) as (page, home):
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.add_init_script("window.ran = (n) => (window.wasRun ??= []).push(n);" + HURRIED)
        for attack in attacks:
            page.goto("about:blank")
            page.goto(home + place + fragment(**({"text": TEXT} if name == "feature" else {}), **{name: attack}))
            settled(page)
            assert page.evaluate("window.wasRun ?? []") == []
            if name != "feature":
                assert seen(page.input_value(IN_ADDRESS[name])) == seen(attack)
        for attack in ATTACKS[::23]:
            if name == "feature":
                page.fill("#feature", attack)
                page.press("#feature", "Enter")
            else:
                write(page, attack, IN_ADDRESS[name])
            assert page.evaluate("window.wasRun ?? []") == []
        page.goto("about:blank")
        page.goto(home + place + f"#{name}=%&text=%&with=%E0%A4%A&feature=-1&__proto__=1")
        settled(page)
    assert complaints == []


def test_the_worker_cannot_reach_other_hosts(browser: Browser, live_site: Path) -> None:
    """It is made from a blob, as here, and so has the policy of the page."""
    code = "fetch('http://localhost:1/x').then(() => postMessage('sent'), () => {});"
    code += "addEventListener('securitypolicyviolation', event => postMessage(event.effectiveDirective));"
    script = """code => new Promise((done) => {
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        worker.onmessage = ({ data }) => done(data);
    })"""
    with live_page(browser, live_site, []) as (page, home):
        page.goto(home + "live/index.html")
        assert page.evaluate(script, code) == "connect-src"
        assert page.evaluate("[...document.scripts].every(script => script.src.startsWith(location.origin))")


@pytest.mark.parametrize("state", [fragment(text=TEXT), fragment(text=TEXT, **{"with": SCRIPTS[2]})])
def test_the_live_page_fits_and_is_accessible(
    browser: Browser, live_site: Path, complaints: list[str], state: str
) -> None:
    with live_page(browser, live_site, complaints, "http", bypass_csp=True, reduced_motion="reduce") as (page, home):
        page.goto(home + "live/index.html" + state)
        load(page)
        assert inspected(page) == []
    assert complaints == []


def test_the_panel_fits_and_is_accessible(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    (path, *_) = feature_pages(live_site)
    with live_page(browser, live_site, complaints, "http", bypass_csp=True, reduced_motion="reduce") as (page, home):
        page.goto(f"{home}features/{path.name}{fragment(**{'try': TEXT})}")
        load(page)
        assert inspected(page) == []
    assert complaints == []


def inspected(page: Page) -> list[str]:
    """What is wrong with a page at some widths, for axe in light and dark, and on paper."""
    draw_charts(page)
    found: list[str] = page.evaluate(MOVES)
    for width in (1440, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(FOLLOWED)
        found += page.evaluate(STICKING_OUT, width)
    for scheme, rules in (("light", RULES), ("dark", CONTRAST)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found += [f"{scheme}: {words}" for words in violations(page, rules, WHOLE)]
    page.emulate_media(media="print", color_scheme="light")
    page.set_viewport_size(PAPER)
    return found + list(page.evaluate(LOST_ON_PAPER))


def test_without_script_nothing_of_it_shows(browser: Browser, live_site: Path, complaints: list[str]) -> None:
    (path, *_) = feature_pages(live_site)
    with live_page(browser, live_site, complaints, "file", java_script_enabled=False) as (page, home):
        page.goto(home + "live/index.html")
        assert page.get_by_text("needs JavaScript").is_visible()
        assert page.locator("button:visible, textarea:visible, input:visible").count() == 0
        page.goto(f"{home}features/{path.name}")
        assert page.get_by_role("link", name="Try a text").count() == 0
    assert complaints == []
