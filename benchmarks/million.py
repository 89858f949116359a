"""The site of a dictionary of a million features, of which a thousand have a page: sizes, and how long a reader waits.

    python benchmarks/million.py [--features 1000000] [--pages 1000] [--whole] [--keep FOLDER]

Makes the tables of a made-up catalog over the texts in `corpora/`, through the program's own writers, writes the pages
that grow with the dictionary (front page, table of features, rows, search) and some pages of features, and opens them
in Chromium over http and from a folder. Then reads the rows of one feature of each table over http, by range requests.
`--whole` writes the search index in one file, as for a small dictionary.

Memory is what the process needs beyond its imports, or a page of the browser beyond an empty one. The texts and tokens
are real, the figures drawn at random; whatever is not shown on these pages is left out.
"""

import argparse
import gzip
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from live import empty_page, renderers
from measure import ROOT, peak_memory, report
from playwright.sync_api import Browser, Page, sync_playwright
from search import Piece, _manifest, _texts

from saecatalog.config import CorpusConfig
from saecatalog.schemas import SCHEMAS
from saecatalog.site import render, search, search_parts, serve
from saecatalog.site.asset_files import copy_assets, own_assets, plotly_bundle
from saecatalog.site.catalog import Catalog
from saecatalog.site.writer import Writer
from saecatalog.tables import Coded, Lists, Tables, TableWriter
from saecatalog.texts.corpus import read_corpus

sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM
from ranges import RangeFile

BLOCK = 1024
"""Features in one piece of a table, as in the analyses."""
TOKENS, CONTEXTS, LISTED = 10, 12, 100
"""Rows of each feature in `tokens` and `contexts`, and features in each ranking."""
SILENT = 0.1
FEATURE_PAGES = 20
KINDS = ("words", "topics", "syntax", "code")
RANKINGS = ("clearest", *(f"clearest:{kind}" for kind in KINDS), "strongest", "frequent", "selective")


class Drawn:
    """What is drawn for every feature: where it fires most, and the tokens that it fires on."""

    def __init__(self, count: int, pages: int):
        self.chance = np.random.default_rng(11)
        self.pieces = [Piece(text) for text in read_corpus(CorpusConfig(paths=(str(ROOT / "corpora"),)))]
        self.tokens, codes = np.unique([t for p in self.pieces for t in p.tokens], return_inverse=True)
        self.tokens = self.tokens.astype(object)
        lengths = np.array([len(piece.tokens) for piece in self.pieces])
        self.text = np.repeat(np.arange(len(self.pieces)), lengths)
        self.position = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.lengths, self.code_at = lengths, codes
        # Half of the features are about any token, half about tokens as they occur, so that some have many features.
        by_code = np.argsort(codes, kind="stable")
        first_of = np.searchsorted(codes[by_code], np.arange(len(self.tokens)))
        rare = by_code[first_of[self.chance.integers(0, len(self.tokens), count)]]
        self.peak = np.where(self.chance.random(count) < 0.5, rare, self.chance.integers(0, len(codes), count))
        self.active = self.chance.random(count) >= SILENT
        self.count, self.paged = count, np.sort(self.chance.choice(np.flatnonzero(self.active), pages, replace=False))


def make_tables(folder: Path, drawn: Drawn) -> tuple[Tables, dict[str, Any]]:
    """The tables that grow with the dictionary, and for the features with a page what their pages show."""
    folder.mkdir(parents=True)
    parts = [np.arange(at, min(at + BLOCK, drawn.count), dtype=np.int32) for at in range(0, drawn.count, BLOCK)]
    with TableWriter(folder) as writer:
        writer.write("texts", _texts(drawn.pieces))
        writer.write("features", _features(drawn))
        writer.write("rankings", _rankings(drawn))
        for part in parts:
            writer.write("tokens", _tokens(drawn, part))
            writer.write("contexts", _contexts(drawn, part))
        sizes = pd.Series([piece.category for piece in drawn.pieces]).value_counts().sort_index()
        for category, size in sizes.items():
            writer.write("categories", _categories(drawn, str(category), int(size)))
        for name in ("histograms", "logit_histograms", "logits", "neighbours", "text_scores"):
            writer.write(name, _of_pages(drawn, name))
    made = _manifest(drawn.pieces, drawn.count)
    made["title"], made["description"] = f"A made-up dictionary of {drawn.count:,} features", ""
    made["counts"] |= {"notable": len(drawn.paged), "features_fired": int(drawn.active.sum())}
    made["corpus"]["concepts"] = {}
    return Tables(folder), made


def _blank(name: str, rows: int) -> dict[str, Any]:
    """A table of zeros and empty texts."""
    made: dict[str, Any] = {}
    for column, (kind, _) in SCHEMAS[name].items():
        if str(kind).startswith("list"):
            made[column] = Lists(np.zeros(0), np.zeros(rows + 1, np.int32))
        else:
            made[column] = Coded([""], np.zeros(rows, np.int32)) if str(kind) == "string" else np.zeros(rows, np.int32)
            if str(kind) == "bool":
                made[column] = np.zeros(rows, bool)
    return made


def _features(drawn: Drawn) -> dict[str, Any]:
    """Figures on a plausible scale; labels and rules from the tokens around the peak."""
    count, chance, made = drawn.count, drawn.chance, _blank("features", drawn.count)
    for name, (kind, _) in SCHEMAS["features"].items():
        if str(kind) in ("float", "double"):
            made[name] = np.where(drawn.active, np.exp(chance.normal(-2, 1, count)).clip(0, 60), 0)
    made["density"] = np.where(drawn.active, np.exp(chance.normal(-8, 2, count)).clip(1e-6, 0.5), 0)
    made["max"] = made["max"] * 20
    made["n_tokens"] = np.full(count, 1_000_000)
    made["n_active"] = np.ceil(made["density"] * 1e6).astype(np.int64)
    made["n_texts"] = np.full(count, len(drawn.pieces))
    made["n_texts_active"] = np.minimum(made["n_active"], chance.integers(1, len(drawn.pieces), count))
    around = [_words_at(drawn, drawn.peak + step) for step in range(3)]
    labels = [f"“{a}”, “{b}” or “{c}”" for a, b, c in zip(*around, strict=True)]
    none = [""] * count
    made["label"] = np.where(drawn.active, labels, none)
    made["label_group"] = Coded(KINDS, chance.integers(0, len(KINDS), count))
    made["token_rule"] = np.where(drawn.active, drawn.tokens[drawn.code_at[drawn.peak]], none)
    ids = np.array([piece.id for piece in drawn.pieces], object)
    made["top_text"] = np.where(drawn.active, ids[drawn.text[drawn.peak]], none)
    made["notable"], made["page"] = list(none), list(none)
    for place, number in enumerate(drawn.paged.tolist()):
        made["notable"][number] = ("strongest", "frequent", "selective")[place % 3]
        made["page"][number] = f"features/{number}.html"
    made["feature"] = np.arange(count)
    return made


def _words_at(drawn: Drawn, places: np.ndarray) -> list[str]:
    return [token.strip().lower() for token in drawn.tokens[drawn.code_at[places.clip(0, len(drawn.code_at) - 1)]]]


def _rankings(drawn: Drawn) -> pd.DataFrame:
    """Features with a page in each ranking."""
    parts = [drawn.chance.choice(drawn.paged, min(LISTED, len(drawn.paged)), replace=False) for _ in RANKINGS]
    rows = [(name, rank, f, 1.0) for name, part in zip(RANKINGS, parts, strict=True) for rank, f in enumerate(part)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["rankings"]))


def _tokens(drawn: Drawn, part: np.ndarray) -> dict[str, Any]:
    numbers = part[drawn.active[part]]
    made = _blank("tokens", len(numbers) * TOKENS)
    codes = drawn.chance.integers(0, len(drawn.tokens), (len(numbers), TOKENS))
    codes[:, 0] = drawn.code_at[drawn.peak[numbers]]
    made["token"], made["token_id"] = Coded(drawn.tokens, codes.ravel()), codes.ravel()
    made["p_active"] = np.sort(drawn.chance.random(codes.shape))[:, ::-1].ravel()
    made["mean_active"], made["share"] = drawn.chance.random(codes.size), drawn.chance.random(codes.size) / TOKENS
    return made | _ranked(numbers, TOKENS)


def _ranked(numbers: np.ndarray, each: int) -> dict[str, Any]:
    return {"feature": np.repeat(numbers, each), "rank": np.tile(np.arange(each, dtype=np.int32), len(numbers))}


def _contexts(drawn: Drawn, part: np.ndarray) -> dict[str, Any]:
    """Each feature's peak and places drawn from all texts, with three active tokens each."""
    numbers = part[drawn.active[part]]
    places = drawn.chance.integers(0, len(drawn.code_at), (len(numbers), CONTEXTS))
    places[:, 0] = drawn.peak[numbers]
    flat = places.ravel()
    made = _blank("contexts", len(flat))
    text, position = drawn.text[flat], drawn.position[flat]
    made["text"] = Coded([piece.id for piece in drawn.pieces], text)
    names = sorted({piece.category for piece in drawn.pieces})
    made["category"] = Coded(names, np.array([names.index(piece.category) for piece in drawn.pieces])[text])
    made["position"], made["token"] = position, Coded(drawn.tokens, drawn.code_at[flat])
    values = np.sort(np.exp(drawn.chance.normal(1, 1, places.shape)))[:, ::-1].ravel()
    made["activation"], made["band"] = values, Coded(["top"], np.zeros(len(flat), np.int32))
    made["window_start"], made["window_end"] = (position - 20).clip(0), np.minimum(position + 11, drawn.lengths[text])
    active = np.stack([position, position + 1, position + 2], 1)
    kept = active < made["window_end"][:, None]
    offsets = np.concatenate([[0], np.cumsum(kept.sum(1))])
    shares = np.stack([values, values / 2, values / 3], 1).astype(np.float32)
    made["active_positions"], made["active_values"] = Lists(active[kept], offsets), Lists(shares[kept], offsets)
    return made | _ranked(numbers, CONTEXTS)


def _categories(drawn: Drawn, category: str, size: int) -> dict[str, Any]:
    """Counts of texts of all features in a category; the scores that decide about specialists are left at 0."""
    made = _blank("categories", drawn.count)
    made["category"], made["feature"] = Coded([category], made["feature"]), np.arange(drawn.count)
    made["n_inside"] = np.full(drawn.count, size)
    made["active_inside"] = np.minimum(drawn.chance.geometric(0.3, drawn.count) - 1, size)
    made["mean_inside"] = made["active_inside"] * 0.1
    return made


def _of_pages(drawn: Drawn, name: str) -> pd.DataFrame:
    """A table of single features, for those with a page: what their pages draw and list."""
    chance, rows = drawn.chance, []
    blank = dict.fromkeys(SCHEMAS[name], 0)
    for number in drawn.paged.tolist():
        if name in ("histograms", "logit_histograms"):
            rows.append({"edges": np.linspace(0, 1, 41), "counts": chance.integers(0, 99, 40)} | {"feature": number})
        elif name == "logits":
            for direction in ("promoted", "suppressed"):
                found = drawn.tokens[chance.integers(0, len(drawn.tokens), 10)]
                rows += [
                    {"feature": number, "direction": direction, "rank": rank, "token": t, "logit": 1.0, "token_id": 0}
                    for rank, t in enumerate(found)
                ]
        elif name == "neighbours":
            found = chance.integers(0, drawn.count, 10)
            rows += [{"feature": number, "rank": r, "neighbour": n, "cosine": 0.5} for r, n in enumerate(found)]
        else:
            for at in np.sort(chance.choice(len(drawn.pieces), 40, replace=False)).tolist():
                piece = drawn.pieces[at]
                rows.append(blank | {"feature": number, "text": piece.id, "category": piece.category, "score": 1.0})
    return pd.DataFrame(rows, columns=list(SCHEMAS[name]))


def write_pages(writer: Writer) -> dict[str, dict[str, float]]:
    """Write the pages and scripts; returns the seconds and megabytes of each step."""
    catalog, found = writer.catalog, {}

    def searches() -> Iterator[None]:
        for path, script in search_parts.scripts(catalog):
            writer.write(path, script)
            yield

    steps: dict[str, Callable[[], Iterator[None]]] = {
        "front page": lambda: render._overviews(writer),
        "table": lambda: render._feature_tables(writer),
        "clearest": lambda: render._clearest(writer),
        "rows": lambda: render._rows(writer),
        "search": searches,
        "feature pages": lambda: islice(render._features(writer, catalog.tour), FEATURE_PAGES),
    }
    with peak_memory() as memory:
        for name, make in steps.items():
            start = time.perf_counter()
            for _ in make():
                pass
            found[name] = {"s": time.perf_counter() - start, "mb": memory.anonymous}
    return found


def sizes(site: Path) -> dict[str, tuple[int, int, int]]:
    """Files, bytes and, estimated from every tenth file, gzipped bytes of each kind of file."""
    kinds = {
        "front page": "index.html",
        "table of features": "features/[ipt]*",
        "rows": "features/rows/*",
        "search index": "search-index.js",
        "words of the search": "search/words/*",
        "features of the search": "search/features/*",
        "search/parts.js": "search/parts.js",
        "feature pages": "features/[0-9]*[0-9].html",
        "assets": "assets/*",
    }
    found = {}
    for name, pattern in kinds.items():
        files = [path for path in sorted(site.glob(pattern)) if path.is_file()]
        total, sample = sum(path.stat().st_size for path in files), files[:: 10 if len(files) > 10 else 1]
        packed = sum(len(gzip.compress(path.read_bytes(), 6)) for path in sample)
        share = packed / max(1, sum(path.stat().st_size for path in sample))
        found[name] = len(files), total, round(total * share)
    return found


QUERIES = ("harbour", "the", "consultant's", "def (", "return self", "th", "日本", "harbuor", "777777")
"""A word, one of very many features, two words, signs, the beginning of a word, another script, a slip, a number."""

TYPED = """async query => {
  const box = document.getElementById("search"), start = performance.now();
  const line = () => document.querySelector(".results p")?.textContent ?? "";
  box.focus();
  while (!document.querySelector(".results")) await new Promise((done) => setTimeout(done));
  box.value = query;
  box.dispatchEvent(new Event("input"));
  const shown = performance.now() - start;
  await new Promise((done) => setTimeout(done));
  while (!line() || line().includes("earching further")) await new Promise((done) => setTimeout(done, 2));
  return { first: shown, all: performance.now() - start, line: line() };
}"""
"""Types a query; measures the milliseconds until the features with a page, and until all features are shown."""


@contextmanager
def served(site: Path, way: str) -> Iterator[str]:
    """The base URL of the catalog: its folder, or a sub-path of the program's own server."""
    if way == "file":
        yield site.as_uri() + "/"
        return
    with serve.make_server(site, 0, "/my/catalog/") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/my/catalog/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def visit(browser: Browser, base: str, site: Path) -> Iterator[tuple[Page, list[int]]]:
    """A page without a cache, and the sizes of the files that it has asked for."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    asked: list[int] = []
    page = context.new_page()
    page.on("request", lambda r: asked.append((site / unquote(urlparse(r.url.removeprefix(base)).path)).stat().st_size))
    page.on("pageerror", lambda error: print(f"error: {error}", file=sys.stderr))
    yield page, asked
    context.close()


def browse(browser: Browser, site: Path, way: str, numbers: list[int]) -> dict[str, Any]:
    """What a reader waits for and loads, over http or from the folder; times in milliseconds."""
    found: dict[str, Any] = {}
    empty = empty_page(browser)
    with served(site, way) as base:

        def opened(name: str, path: str, ready: str) -> None:
            with visit(browser, base, site) as (page, asked):
                page.goto(base + path)
                page.wait_for_selector(ready)
                found[f"{way}: {name}, ms"] = page.evaluate("performance.now()")
                found[f"{way}: {name}, KB"] = round(sum(asked) / 1e3)
                found[f"{way}: {name}, MB of memory"] = round(max(renderers(browser).values()) - empty)

        opened("front page", "index.html", "footer")
        opened("table", "features/index.html", "#table thead button")
        opened("row of a feature", f"row.html?feature={numbers[0]}", "#row tbody tr")
        opened("page of a feature", f"features/{numbers[1]}.html", "footer")
        with visit(browser, base, site) as (page, asked):
            page.goto(f"{base}index.html")
            for query in QUERIES:
                asked.clear()
                times = page.evaluate(TYPED, query)
                again = page.evaluate(TYPED, query)
                words = f"{times['first']:.0f} then {times['all']:.0f} ms, {sum(asked) / 1e3:,.0f} KB; "
                found[f"{way}: {query!r}"] = f"{words}again {again['all']:.0f} ms; {times['line'][:90]}"
            found[f"{way}: search, MB of memory"] = round(max(renderers(browser).values()) - empty)
    return found


def ranges(folder: Path, number: int) -> dict[str, Any]:
    """What reading the rows of one feature of each large table over http costs with pyarrow."""
    found: dict[str, Any] = {}
    (folder / "index.html").touch()
    with served(folder, "http") as base:
        for name in ("features", "tokens", "contexts", "categories"):
            start = time.perf_counter()
            file = RangeFile(f"{base}{name}.parquet")
            rows = len(pq.read_table(file, filters=[("feature", "==", number)], pre_buffer=False))
            took = 1e3 * (time.perf_counter() - start)
            groups = pq.read_metadata(folder / f"{name}.parquet").num_row_groups
            found[f"{name}.parquet by range"] = (
                f"{rows} rows: {len(file.asked)} requests, {sum(file.asked) / 1e6:.2f} of {file.size / 1e6:.0f} MB, "
                f"{took:.0f} ms; {groups} row groups"
            )
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--features", type=int, default=1_000_000)
    arguments.add_argument("--pages", type=int, default=1_000)
    arguments.add_argument("--keep", type=Path, help="an empty folder for the tables and the site")
    arguments.add_argument("--whole", action="store_true", help="the search index in one file")
    given = arguments.parse_args()
    if given.whole:
        search.WHOLE = given.features
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = given.keep or Path(temporary)
        start = time.perf_counter()
        drawn = Drawn(given.features, given.pages)
        tables, manifest = make_tables(folder / "tables", drawn)
        figures: dict[str, Any] = {"tables made, s": time.perf_counter() - start}
        paths = sorted(tables.folder.glob("*.parquet"), key=lambda path: -path.stat().st_size)[:4]
        figures |= {f"{path.name}, MB": round(path.stat().st_size / 1e6, 1) for path in paths}
        site = folder / "site"
        copy_assets(site / "assets", [*own_assets(), plotly_bundle()])
        for name, cost in write_pages(Writer(Catalog(tables, manifest), ROOT / "templates", site)).items():
            figures |= {f"{name}, s": cost["s"], f"{name}, MB of memory up to then": cost["mb"]}
        for name, (count, size, packed) in sizes(site).items():
            figures[name] = f"{count:,} files, {size / 1e6:,.2f} MB, gzipped {packed / 1e6:,.2f} MB"
        numbers = [int(np.flatnonzero(drawn.active)[len(drawn.paged) // 2]), Catalog(tables, manifest).tour[0]]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for way in ("file", "http"):
            figures |= browse(browser, site, way, numbers)
        browser.close()
        figures |= ranges(tables.folder, numbers[0])
    report(figures)


if __name__ == "__main__":
    main()
