"""Chromium for the tests that need a browser: fixtures and shared helpers.

`conftest.py` names this module as a plugin, so every test may use the fixtures.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Response, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no Chromium found; on Debian: apt install chromium")
    assert CHROMIUM, "these tests need Chromium; on Debian: apt install chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    """A page that fails its test on any console message, any error, and any request for something other than a file."""
    with opened(browser, complaints) as made:
        yield made
    assert complaints == []


@contextmanager
def opened(browser: Browser, complaints: list[str], home: str = "file:", **options: Any) -> Iterator[Page]:
    """A new page in its own context; `options` are those of the context, and requests may only go to `home`."""
    standard = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
    context = browser.new_context(**(standard | options))
    made = context.new_page()
    watch(made, complaints, home)
    yield made
    context.close()


def watch(page: Page, complaints: list[str], home: str = "file:") -> None:
    """Record every console message, error, failed request, and request to an address outside `home`."""
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: note_failure(request, complaints))
    page.on("response", lambda response: note_status(response, complaints))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((home, "data:", "blob:")) else complaints.append(f"request: {request.url}")
        ),
    )


def note_failure(request: Request, complaints: list[str]) -> None:
    """A request that was cut off by leaving the page is not a failure."""
    if request.failure != "net::ERR_ABORTED":
        complaints.append(f"failed: {request.url}: {request.failure}")


def note_status(response: Response, complaints: list[str]) -> None:
    if response.status >= 400:
        complaints.append(f"failed: {response.url}: status {response.status}")


def stir(page: Page) -> None:
    """Move the pointer, because charts are only drawn after that."""
    page.mouse.move(1, 1)
    page.mouse.move(2, 2)


def draw_charts(page: Page) -> int:
    """Scroll to every chart of a page in turn and wait until it is drawn; returns the number of charts."""
    charts = page.locator("figure.chart")
    stir(page)
    for chart in charts.all():
        chart.scroll_into_view_if_needed()
    page.wait_for_function("() => !document.querySelector('figure.chart:not(.live)')")
    return charts.count()


def drawn_types(page: Page, selector: str) -> set[str]:
    """Wait for Plotly to draw a chart; returns the types of the traces that it drew."""
    stir(page)
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{selector}.live")
    found: list[str] = page.eval_on_selector_all(
        f"{selector} .drawn", "nodes => nodes.flatMap(node => node._fullData.map(trace => trace.type))"
    )
    return set(found)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


@contextmanager
def address(site: Path, way: str) -> Iterator[str]:
    """The base URL of the site's pages, with a final slash: its folder (`file`), or a sub-path of a server (`http`)."""
    if way == "file":
        yield site.as_uri() + "/"
        return
    top = site.parent.parent
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(top))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{site.relative_to(top).as_posix()}/"
        server.shutdown()
        thread.join()
