"""Notes in a real browser: their images load from a folder, nothing in them runs, and they fit a phone."""

import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from synthetic import CATEGORIES
from test_notes import HOSTILE, row
from test_site_pages import build

from saecatalog.names import slug

WIDE = f"""
# Heading

A long word: {"x" * 400} and `{"y" * 400}`.

![A wide picture](img/wide%20one.png)

|{"|".join("a column" for _ in range(12))}|
|{"|".join("---" for _ in range(12))}|
|{"|".join("somewhatlongcell" for _ in range(12))}|

```
{"a_long_line_of_code " * 40}
```

> - 1. {"z" * 300}
"""


def png(width: int, height: int) -> bytes:
    """A grey picture of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x99" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    notes = [
        row("feature", "1", WIDE + "\n\n".join(HOSTILE)),
        row("category", CATEGORIES[1], WIDE.replace("img/", "../img/")),
        row("index", "", WIDE),
    ]
    catalog = build(tmp_path_factory.mktemp("notes"), notes=notes)
    (catalog / "notes/img").mkdir(parents=True)
    (catalog / "notes/img/wide one.png").write_bytes(png(1600, 40))
    (catalog / "notes/notes").mkdir()
    (catalog / "notes/notes/a.png").write_bytes(png(1, 1))
    return catalog


@pytest.mark.parametrize("path", ["features/1.html", f"categories/{slug(CATEGORIES[1])}.html", "index.html"])
def test_images_load_nothing_runs_and_the_page_fits_a_phone(page: Page, site: Path, path: str) -> None:
    """The fixture `page` fails on any message and on requests to other hosts; alerts are caught here."""
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto((site / path).as_uri())
    image = page.locator("#note img").first
    assert image.evaluate("node => node.decode().then(() => node.naturalWidth)") == 1600
    for width in (390, 768, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        assert image.evaluate("node => node.getBoundingClientRect().right <= innerWidth")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    assert asked == []
    assert page.locator("#note script, #note iframe, #note [onclick], #note [onerror]").count() == 0


def test_a_wide_table_is_reached_with_the_keyboard(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site / "features/1.html").as_uri())
    box = page.locator("#note section.scroll").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#note section.scroll').scrollLeft > 0")


def test_a_note_is_shown_without_scripts_and_in_the_dark(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False, color_scheme="dark")
    still = context.new_page()
    still.goto((site / "features/1.html").as_uri())
    assert still.locator("#note h2").is_visible()
    assert still.locator("#note img").first.is_visible()
    context.close()
