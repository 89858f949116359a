"""Typed texts in Chromium against `build.py explore`: every activation of every feature on twenty difficult texts.

    python benchmarks/live_agreement.py [--site FOLDER] [CATALOG.toml]

Types each text into the live page of a built catalog, over http below a sub-path and from a folder, and compares the
page's tokens and activations with those of the code behind `explore`, which runs the model anew. Massive positions are
compared too. Prints one line for each way, then all figures as JSON.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from live import only_catalog
from measure import ROOT, report
from playwright.sync_api import Browser, sync_playwright

from saecatalog.config import load_config
from saecatalog.explore import harvest_now
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.store import Store
from saecatalog.texts.corpus import Text

sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM, address

TEXTS = (
    "I would like to say thank you for your help.",
    "naïve café, piñata, Ærøskøbing, Łódź, Ångström",
    "e\u0301 o\u0302 n\u0303 – combining marks, and Z\u0351\u036b\u0343a\u0363l\u0348g\u034fo",
    "你好，世界。今日は良い天気ですね。",
    "السلام عليكم and שלום עולם in one line",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 😀😀😀",
    "def f(x):\n\treturn x ** 2  # comment\n",
    '<script>alert("x")</script> &amp; <b>bold</b>',
    "<|im_start|>user\nHello<|im_end|>\n<|endoftext|>",
    "SELECT * FROM t WHERE a = 'b'; -- '' \\ \\\\",
    "\r\nline\r\nbreaks\n\n\n\ttabs  and   spaces ",
    "\x00\x01\x14=\x7f\u200b\ufeff\u00a0\u2028",
    "1234567890 3.14159 1e-9 0x7f −5 ½ ²",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.",
    "ſtrange ŀetters ﬁ ﬂ Ⅷ ㎏ ꟹ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "https://example.org/a?b=c&d=e#f%20g",
    "Sehr geehrte Damen und Herren, vielen Dank für Ihre Hilfe bei der Übersetzung.",
    "?",
    "The ship left the harbour at dawn, and nobody on board knew that it would return within the hour. " * 8,
)

RUN = """async (texts) => {
  const live = await saeClient.open();
  await live.load();
  const found = [];
  for (const text of texts) {
    const run = await live.run(text);
    const lists = ["ids", "starts", "features", "activations"].map((name) => [name, Array.from(run[name])]);
    found.push(Object.fromEntries(lists));
  }
  return found;
}"""


def typed(browser: Browser, catalog: Path, way: str) -> list[dict[str, Any]]:
    """What the page finds on each text."""
    with address(catalog, way) as base:
        page = browser.new_page()
        page.goto(f"{base}live/index.html")
        found: list[dict[str, Any]] = page.evaluate(RUN, list(TEXTS))
        page.close()
    return found


def compare(found: list[dict[str, Any]], store: Store) -> dict[str, Any]:
    """How the page's activations differ from those of a store, whose texts may be longer."""
    right, fired, missed, false, worst, errors, tokens = store.matrix(), 0, 0, 0, 0.0, [], 0
    for text, run in enumerate(found):
        start, n = int(store.text_offsets[text]), len(run["ids"])
        assert run["ids"] == store.token_ids[start : start + n].tolist(), TEXTS[text]
        wanted = right[start : start + n].toarray()
        page = np.zeros_like(wanted)
        page[np.repeat(np.arange(n), np.diff(run["starts"])), run["features"]] = run["activations"]
        both = (page > 0) & (wanted > 0)
        fired, tokens = fired + int((wanted > 0).sum()), tokens + n
        missed, false = missed + int(((wanted > 0) & ~both).sum()), false + int(((page > 0) & ~both).sum())
        errors.append(np.abs(page[both] / wanted[both] - 1))
        worst = max(worst, float(np.abs(page - wanted)[both].max(initial=0)))
    relative = np.concatenate(errors)
    return {
        "tokens": tokens, "firings": fired, "missed": missed, "false": false,
        "mean_relative_error": float(relative.mean()), "largest_relative_error": float(relative.max()),
        "largest_difference": worst,
    }  # fmt: skip


def main() -> None:
    """Run both sides and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", nargs="?", type=Path, default=ROOT / "catalog.toml")
    parser.add_argument("--site", type=Path, default=ROOT / "site")
    a = parser.parse_args()
    texts = [Text(f"text-{n}", "typed", f"text {n}", content) for n, content in enumerate(TEXTS)]
    with Pipeline(load_config(a.catalog), Progress(quiet=True)) as pipeline:
        store = harvest_now(pipeline, texts)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = {way: compare(typed(browser, only_catalog(a.site.resolve()), way), store) for way in ("http", "file")}
        browser.close()
    report({f"{way}_{name}": value for way, figures in found.items() for name, value in figures.items()})


if __name__ == "__main__":
    main()
