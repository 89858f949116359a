"""Speed of search and of the features table in Chromium, for a catalog of 25,000 features opened from a folder.

    python benchmarks/search.py [--features 25000]

Makes a catalog of made-up features (statistics, tokens and examples) over the texts in `corpora/`, opens its table in
Chromium, and measures how long a reader waits. Prints a table and one line of JSON; times are in milliseconds.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright

from saecatalog.config import CorpusConfig
from saecatalog.schemas import SCHEMAS
from saecatalog.site import search_parts
from saecatalog.site.asset_files import copy_assets, own_assets
from saecatalog.site.catalog import Catalog
from saecatalog.site.render import _feature_tables
from saecatalog.site.writer import Writer
from saecatalog.tables import Tables, TableWriter
from saecatalog.texts.corpus import Text, read_corpus

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM  # noqa: E402
from synthetic import World, manifest  # noqa: E402

TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]|\s+")


class Piece:
    """A text of the corpus cut into tokens, with the end of each."""

    def __init__(self, text: Text):
        self.id, self.category, self.content = text.id, text.category, text.content
        found = list(TOKEN.finditer(text.content))
        self.tokens, self.ends = [match.group() for match in found], [match.end() for match in found]


def make_tables(folder: Path, count: int) -> tuple[Tables, dict[str, Any]]:
    """Tables of `count` made-up features, each about one token of the corpus, and their manifest."""
    chance = np.random.default_rng(5)
    pieces = [Piece(text) for text in read_corpus(CorpusConfig(paths=(str(ROOT / "corpora"),)))]
    places = [(piece, position) for piece in pieces for position in range(len(piece.tokens))]
    occurrences: dict[str, list[int]] = {}
    for place, (piece, position) in enumerate(places):
        occurrences.setdefault(piece.tokens[position].strip().lower(), []).append(place)
    tops = []
    for place in chance.integers(0, len(places), count).tolist():
        piece, position = places[place]
        same = occurrences[piece.tokens[position].strip().lower()]
        tops.append([places[p] for p in [place, *chance.choice(same, 3).tolist()]])
    folder.mkdir(parents=True)
    with TableWriter(folder) as writer:
        writer.write("texts", _texts(pieces))
        writer.write("features", _features(chance, tops))
        writer.write("contexts", pd.DataFrame([row for n, top in enumerate(tops) for row in _contexts(n, top)]))
        writer.write("tokens", pd.DataFrame([row for n, top in enumerate(tops) for row in _tokens(chance, n, top)]))
    return Tables(folder), _manifest(pieces, count)


def _texts(pieces: list[Piece]) -> pd.DataFrame:
    rows = [{"text": p.id, "category": p.category, "content": p.content, "token_ends": p.ends} for p in pieces]
    blank = dict.fromkeys(("file", "title", "link"), "")
    return pd.DataFrame(rows).assign(
        source="corpora", half="first", n_tokens=0, n_excluded=0, special_tokens=False, **blank
    )


def _features(chance: np.random.Generator, tops: list[list[tuple[Piece, int]]]) -> pd.DataFrame:
    """Random figures on a plausible scale; labels, reasons and texts are taken from the contexts."""
    count = len(tops)
    table = pd.DataFrame({"feature": np.arange(count)})
    for name, (kind, _) in SCHEMAS["features"].items():
        if name in table:
            continue
        if str(kind).startswith("int"):
            table[name] = chance.geometric(1e-3, count)
        elif str(kind) in ("float", "double"):
            table[name] = np.exp(chance.normal(-4, 2, count))
        else:
            table[name] = ""
    words = [list(dict.fromkeys(piece.tokens[at].strip().lower() for piece, at in _around(top))) for top in tops]
    table["label"] = [" · ".join(w for w in found[:3] if w) for found in words]
    table["top_text"] = [top[0][0].id for top in tops]
    table["token_rule"] = [top[0][0].tokens[top[0][1]] for top in tops]
    kinds = ["strongest", "frequent", "selective", "specialist:{}", "common:{}"]
    chosen = chance.integers(0, len(kinds), count).tolist()
    table["notable"] = [kinds[kind].format(top[0][0].category) for kind, top in zip(chosen, tops, strict=True)]
    table["page"] = [f"features/{number}.html" for number in range(count)]
    return table


def _around(top: list[tuple[Piece, int]]) -> Iterator[tuple[Piece, int]]:
    """The token at each peak, then those after it."""
    for step in range(3):
        yield from ((piece, at + step) for piece, at in top if at + step < len(piece.tokens))


def _contexts(number: int, top: list[tuple[Piece, int]]) -> Iterator[dict[str, Any]]:
    for rank, (piece, at) in enumerate(top):
        window = {"window_start": max(0, at - 20), "window_end": min(len(piece.tokens), at + 11)}
        row = {"feature": number, "rank": rank, "text": piece.id, "category": piece.category, "position": at}
        row |= {"token": piece.tokens[at], "activation": 1.0, "band": "top", "similar_hidden": 0}
        yield row | window | {"active_positions": [at], "active_values": [1.0]}


def _tokens(chance: np.random.Generator, number: int, top: list[tuple[Piece, int]]) -> Iterator[dict[str, Any]]:
    piece = top[0][0]
    for rank, at in enumerate([top[0][1], *chance.integers(0, len(piece.tokens), 7).tolist()]):
        row = {"feature": number, "rank": rank, "token_id": rank, "token": piece.tokens[at], "n_active": 1}
        yield row | {"n_occurrences": 2, "p_active": 0.5, "mean_active": 1.0, "share": 0.1}


def _manifest(pieces: list[Piece], count: int) -> dict[str, Any]:
    """The manifest of the tests' catalog, for this corpus and this many features."""
    made = manifest(World(), None, "", False)
    names = sorted({piece.category for piece in pieces})
    made["corpus"]["categories"] = {name: {"texts": 80, "tokens": 4000} for name in names}
    made["counts"] |= {"features": count, "notable": count, "texts": len(pieces)}
    made["sae"]["d_sae"] = count
    return made


QUERIES = (
    "2776",
    "harbour",
    "consultant's signature",
    "def (",
    "return self",
    "specialist: poetry",
    "mañana",
    "signature difficulty",
    "most recent call last",
    "SELECT FROM WHERE",
    "日本",
    "🥺",
    "poerty",
    "sgnature",
)
"""Typical queries: a number, words, several words in any order, symbols, other scripts, an emoji, two typing errors."""

TYPED = [query[:length] for query in QUERIES for length in range(1, len(query) + 1)]

ANSWER = """async query => {
  const box = document.getElementById("search"), start = performance.now();
  box.value = query;
  box.dispatchEvent(new Event("input"));
  document.querySelector(".results").getBoundingClientRect();
  return performance.now() - start;
}"""
"""Measures from a typed letter until the results are laid out."""

LOAD = """async () => {
  const start = performance.now();
  document.getElementById("search").focus();
  while (!document.querySelector(".results")) await new Promise((done) => setTimeout(done));
  return performance.now() - start;
}"""

CHANGE = """async ([selector, value]) => {
  const input = document.querySelector(selector);
  const body = document.querySelector("#table tbody");
  const rows = new Promise((done) => new MutationObserver(done).observe(body, { childList: true }));
  const start = performance.now();
  if (value === null) input.click();
  else {
    input.value = value;
    input.dispatchEvent(new Event("input"));
  }
  await rows;
  document.querySelector("#table").getBoundingClientRect();
  return performance.now() - start;
}"""
"""Measures from a change of the table's filters or order until the rows are laid out."""

CHANGES: dict[str, tuple[str, str | None]] = {
    "sort by a statistic not shown": ("[name=sort]", "logit_skew"),
    "reverse the order": ("[data-key=logit_skew] button", None),
    "sort by label": ("[data-key=label] button", None),
    "next page": ("#pager button:last-child", None),
    "filter by density": ("[name=density]", "0.01-0.1"),
    "filter by category": ("[name=category]", "poetry"),
    "filter by reason": ("[name=reason]", "specialist:poetry"),
    "clear": (".clear", None),
    "filter by text": ("[name=q]", "the"),
    "clear again": (".clear", None),
}


def make_site(folder: Path, count: int) -> Path:
    """The features table with its data, the search index and their assets; returns the table's page."""
    tables, made = make_tables(folder / "tables", count)
    writer = Writer(Catalog(tables, made), ROOT / "templates", folder / "site")
    copy_assets(folder / "site/assets", own_assets())
    for _ in _feature_tables(writer):
        pass
    for path, script in search_parts.scripts(writer.catalog):
        writer.write(path, script)
    return folder / "site/features/index.html"


def measure(page: Page, address: str, rounds: int = 5) -> dict[str, Any]:
    """All times of one browser page, in milliseconds; for each letter and change, the minimum over several rounds."""
    page.goto(address)
    page.wait_for_selector("#table thead button")
    opened = page.evaluate("performance.now()")
    load = page.evaluate(LOAD)
    typed = [[page.evaluate(ANSWER, query) for query in TYPED] for _ in range(rounds)]
    letters = np.min(typed, axis=0)
    page.evaluate("document.getElementById('search').blur()")
    changes: dict[str, list[float]] = {name: [] for name in CHANGES}
    for _ in range(rounds):
        for name, (selector, value) in CHANGES.items():
            changes[name].append(page.evaluate(CHANGE, [selector, value]))
    return {
        "open_table": opened,
        "load_search": load,
        "letter_median": float(np.median(letters)),
        "letter_p95": float(np.quantile(letters, 0.95)),
        "letter_worst": float(letters.max()),
        "worst_letter_of": TYPED[int(letters.argmax())],
        "letters": len(letters),
        "table": {name: min(times) for name, times in changes.items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--features", type=int, default=25_000)
    count = arguments.parse_args().features
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = make_site(Path(folder), count)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = measure(browser.new_page(), path.as_uri())
        sizes = {name: (path.parent / name).stat().st_size for name in ("table-data.js", "../search-index.js")}
        browser.close()
    found = {
        "features": count,
        "search_bytes": sizes["../search-index.js"],
        "table_bytes": sizes["table-data.js"],
    } | found
    flat = {key: value for key, value in found.items() if key != "table"} | found["table"]
    for name, value in flat.items():
        print(f"{name.replace('_', ' '):32}{value if isinstance(value, str | int) else round(value, 1):>14}")
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
