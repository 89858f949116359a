"""The live part after something went wrong, or changed: nothing that a browser has kept stands in the way."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import pytest
from browsing import opened
from live_site import Reference
from playwright.sync_api import Browser, expect
from test_browser_live import KEPT, TEXT, expected, fragment, live_page, load, settled, strongest, write


class _Kept(SimpleHTTPRequestHandler):
    """Tells browsers to keep every answer for an hour."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Kept, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def own_site(live_site: Path, tmp_path: Path) -> Path:
    """A copy of the small catalog that a test may damage."""
    return Path(copytree(live_site, tmp_path / "site"))


@pytest.mark.parametrize("part", ["weights-0", "rows-0", "tokenizer"])
def test_a_wrong_answer_that_the_browser_keeps_is_asked_for_again(
    browser: Browser, own_site: Path, fired: Reference, part: str
) -> None:
    (file,) = (own_site / "live").glob(f"{part}-*.js")
    right = file.read_bytes()
    file.write_text("<!doctype html><title>Moved</title>", encoding="utf-8")
    with served(own_site) as home, opened(browser, [], home) as page:
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        page.locator(".load").click()
        failure = page.get_by_role("alert")
        expect(failure).to_contain_text("damaged or was cut off")
        file.write_bytes(right)
        failure.get_by_role("button", name="Try again").click()
        load(page)
        assert strongest(page) == expected(fired, TEXT)


def test_an_engine_of_an_earlier_build_is_not_used(browser: Browser, own_site: Path, fired: Reference) -> None:
    engine = own_site / "assets/live/engine.js"
    right = engine.read_text("utf-8")
    engine.write_text(right.replace("/ PAGE", "/ PAGE + 1").replace("/ BLOCK;", "/ BLOCK + 1;"), "utf-8")
    # The server knows files by their time in seconds, and the right file is written within one.
    os.utime(engine, (0, 0))
    with served(own_site) as home, opened(browser, [], home) as page:
        page.goto(home + "live/index.html")
        page.evaluate("fetch('../assets/live/engine.js').then(answer => answer.text())")
        engine.write_text(right, "utf-8")
        page.goto(home + "index.html")
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        assert strongest(page) == expected(fired, TEXT)


def test_memory_that_is_free_again_is_used(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    full_once = """const grow = WebAssembly.Memory.prototype.grow;
        WebAssembly.Memory.prototype.grow = () => {
            WebAssembly.Memory.prototype.grow = grow;
            throw new RangeError("no room");
        };"""
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.add_init_script(full_once)
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        failure = page.get_by_role("alert")
        expect(failure).to_contain_text("memory")
        failure.get_by_role("button", name="Try again").click()
        load(page)
        assert strongest(page) == expected(fired, TEXT)
    assert complaints == []


def test_a_huge_text_is_not_kept_in_the_address_as_a_whole(
    browser: Browser, live_site: Path, fired: Reference, complaints: list[str]
) -> None:
    with live_page(browser, live_site, complaints, "file") as (page, home):
        page.goto(home + "live/index.html")
        load(page)
        write(page, f"{TEXT} " * 10_000)
        shown = strongest(page)
        assert shown == expected(fired, f"{TEXT} " * 5)
        assert len(page.url) < 100_000
        page.reload()
        load(page)
        assert strongest(page) == shown
    assert complaints == []


def test_an_answer_that_is_no_list_does_not_take_the_place_of_one(browser: Browser, own_site: Path) -> None:
    manifest = own_site / "live/manifest.js"
    with served(own_site) as home, opened(browser, [], home) as page:
        page.goto(home + "live/index.html" + fragment(text=TEXT))
        load(page)
        shown = strongest(page)
        page.wait_for_function(KEPT)
        manifest.write_text("<!doctype html><title>Log in</title>", encoding="utf-8")
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("manifest.js")
        page.context.set_offline(True)
        page.reload()
        settled(page)
        assert strongest(page) == shown
        page.context.set_offline(False)
