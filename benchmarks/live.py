"""The live part of a catalog in Chromium: sizes, loading, speed and memory, over http and from a folder.

    python benchmarks/live.py [--site FOLDER] [--runs 5]
    python benchmarks/live.py --standin [--tokens 4000]

Opens the catalog's page for a reader's text and measures what a reader waits for, as its scripts do it: in a worker
over http, in slices in the page from a folder. With `--standin`, a catalog of GPT-2-small's shape with 24,576 features
is built first (see `standin.py`). Times are in milliseconds, the smallest of all runs; memory is that of the page's
process beyond that of an empty page, in megabytes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import ROOT, report
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM, address

LENGTHS = (30, 100, 127)
WORDS = "The ship left the harbour at dawn, and nobody on board knew that it would return within the hour. "
"""Repeated until a text is as long as wanted."""

MEASURE = """async ([lengths, words, runs]) => {
  const live = await saeClient.open();
  const found = { stored: await live.stored() };
  let start = performance.now();
  await live.load();
  found.load = performance.now() - start;
  const blocks = [];
  new PerformanceObserver((list) => blocks.push(...list.getEntries())).observe({ type: "longtask" });
  const texts = [];
  for (const length of lengths) {
    // The end of the first text with so many tokens, found with one long run.
    const { text, ends } = await live.run(words.repeat(20));
    texts.push(text.slice(0, ends[Math.min(length, ends.length) - 1]));
  }
  for (const [i, length] of lengths.entries()) {
    const times = [];
    for (let run = 0; run < runs; run++) {
      start = performance.now();
      found[`tokens_${length}`] = (await live.run(texts[i])).ids.length;
      times.push(performance.now() - start);
    }
    found[`run_${length}`] = Math.min(...times);
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  found.longest_block = Math.max(0, ...blocks.map((block) => block.duration));
  found.bytes_total = Object.values(live.manifest.parts).reduce((sum, [bytes]) => sum + bytes, 0);
  return found;
}"""


def anonymous(process: int) -> float:
    """Megabytes of a process's own memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) * 1024 / 1e6


def renderers(browser: Browser) -> dict[int, float]:
    """The memory of each process of a browser that shows pages."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return {part["id"]: anonymous(part["id"]) for part in found if part["type"] == "renderer"}


def empty_page(browser: Browser) -> float:
    """The memory of an empty page, which is the only one."""
    context = browser.new_context()
    context.new_page().goto("about:blank")
    memory = max(renderers(browser).values())
    context.close()
    return memory


@contextmanager
def visited(browser: Browser, url: str) -> Iterator[tuple[Page, list[int]]]:
    """The live page in a context of its own, and the sizes of all files that it receives."""
    context = browser.new_context()
    sizes: list[int] = []
    context.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    page = context.new_page()
    page.goto(url)
    yield page, sizes
    context.close()


def measure(browser: Browser, catalog: Path, way: str, runs: int) -> dict[str, Any]:
    """The figures of one way to open a catalog."""
    empty = empty_page(browser)
    with address(catalog, way) as base, visited(browser, f"{base}live/index.html") as (page, sizes):
        first = page.evaluate(MEASURE, [LENGTHS[:1], WORDS, 1])
        received = sum(sizes)
        figures = page.evaluate(MEASURE, [LENGTHS, WORDS, runs])
        figures["memory"] = max(renderers(browser).values()) - empty
        page.reload()
        again = page.evaluate(MEASURE, [LENGTHS[:1], WORDS, 1])
    first_use = {"first_use_mb": received / 1e6} if way == "http" else {}
    return {**figures, "first_load": first["load"], "start": again["load"], **first_use}


def build_standin(tokens: int, folder: Path) -> Path:
    """A catalog with a live part of the shape of GPT-2 small."""
    import standin

    from saecatalog.cli import main

    made = standin.standin()
    flags = ["--model", made.model, "--sae", made.sae, "--corpus", ROOT / "corpora", "--limit-tokens", tokens]
    main(["build", *map(str, flags), "--live", "--out", str(folder / "site")])
    return folder / "site"


def only_catalog(site: Path) -> Path:
    """The folder of the first catalog with a live part."""
    return next(iter(sorted(site.glob("*/*/live/manifest.js")))).parent.parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "site")
    parser.add_argument("--standin", action="store_true")
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        catalog = only_catalog(build_standin(a.tokens, Path(folder)) if a.standin else a.site.resolve())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = {way: measure(browser, catalog, way, a.runs) for way in ("http", "file")}
        browser.close()
    report({f"{way}_{name}": value for way, figures in found.items() for name, value in figures.items()})


if __name__ == "__main__":
    main()
