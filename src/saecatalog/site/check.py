"""Checks that a built site keeps the rules for pages and data files, and that nothing changed since it was built.

In: the folder of a site. Out: every problem found, as a line that begins with the name of the file; an empty list
means that the site is ready to publish. Nothing is changed.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

import pyarrow.compute as pc
import pyarrow.parquet as pq

from saecatalog.constants import FEATURE_PAGE_MEAN
from saecatalog.errors import CatalogError
from saecatalog.manifest import has_live_part
from saecatalog.processes import worker_processes
from saecatalog.program import program_name
from saecatalog.schemas import SCHEMAS, arrow_schema
from saecatalog.site.check_addresses import address_problems
from saecatalog.site.check_comparisons import comparison_problems
from saecatalog.site.check_effects import effect_problems
from saecatalog.site.check_live import live_problems
from saecatalog.site.check_page import PageFacts, is_embed, linked_files, missing_anchors, read_page, style_urls
from saecatalog.site.check_sums import changes
from saecatalog.site.check_tables import table_problems
from saecatalog.site.cite import embed_page, embedded
from saecatalog.site.inventory import (
    MANIFEST,
    TEMPORARY,
    TOLERATED,
    Sums,
    catalogs,
    checksums,
    comparisons,
    files_below,
    no_files_below,
    part_kind,
    parts,
    read_mapping,
)
from saecatalog.site.totals import Totals, page_counts

KB = 1000
FEATURE_PAGE_MAX = 60 * KB
EMBED_MAX = 30 * KB
FIRST_VIEW_MAX = 120 * KB
"""A feature's page with the scripts and styles that it loads. The chart library is not counted, because it is loaded
only when a chart comes into view."""
SITE_MAX = 1000**3

CHART_LIBRARY = "plotly.min.js"

# Below this many pages, starting worker processes takes longer than reading the pages.
POOL_FROM = 2000

_FEATURE_PAGE = re.compile(r"(?P<catalog>.+)/features/[0-9]+\.html")

# Path inside the site -> bytes.
Files = dict[str, int]


class Summary(TypedDict):
    """What a site contains: each catalog by its folder, the number of files, and sizes in bytes.

    `feature_page_mean` is 0 if there is no feature page.
    """

    catalogs: dict[str, Totals]
    files: int
    bytes: int
    feature_page_mean: int


def check_site(site: Path, workers: int | None = None) -> list[str]:
    """Every problem of the site, sorted; empty if there is none.

    `workers` is the number of processes that read pages (default: one per core). Raises CatalogError if there is no
    site to check.
    """
    files = _files(site)
    pages = _read_pages(site, files, workers)
    ids = {page.path: page.ids for page in pages}
    problems = chain(
        chain.from_iterable(page.problems for page in pages),
        chain.from_iterable(missing_anchors(page, ids) for page in pages),
        changes(site, _sums(site, files, pages), _no_files(site)),
        _root_problems(site, files),
        address_problems(site, _bases(site, files), {page.path: page.canonical for page in pages}),
        _size_problems(files),
        chain.from_iterable(_first_view_problems(page, files) for page in pages),
        *(_style_sheet_problems(site, path, files) for path in files if path.endswith(".css")),
        *(_catalog_problems(site, catalog, files, ids) for catalog in catalogs(files)),
        *(comparison_problems(site, folder) for folder in comparisons(files)),
    )
    return sorted(set(problems))


def summary(site: Path) -> Summary:
    """The numbers of a site; raises CatalogError if there is no site."""
    files = _files(site)
    features = [size for path, size in files.items() if _FEATURE_PAGE.fullmatch(path)]
    return {
        "catalogs": {catalog: _totals(site, catalog, files) for catalog in catalogs(files)},
        "files": len(files),
        "bytes": sum(files.values()),
        "feature_page_mean": round(sum(features) / len(features)) if features else 0,
    }


def _totals(site: Path, catalog: str, files: Files) -> Totals:
    """What a catalog contains, counted from its files and its table of texts; 0 texts if the table cannot be read."""
    path = site / catalog / "data/texts.parquet"
    broken = any(table_problems(path, arrow_schema("texts")))
    table = arrow_schema("texts").empty_table() if broken else pq.read_table(path, columns=["n_tokens", "n_excluded"])
    tokens, excluded = (pc.sum(table[name]).as_py() or 0 for name in ("n_tokens", "n_excluded"))
    return Totals(len(table), tokens, tokens - excluded, _page_counts(catalog, files))


def _page_counts(catalog: str, files: Files) -> dict[str, int]:
    return page_counts(path.removeprefix(f"{catalog}/") for path in files if path.startswith(f"{catalog}/"))


def _files(site: Path) -> Files:
    """Every file of the site and its size; raises CatalogError if the folder has no page."""
    if not site.is_dir():
        raise CatalogError("There is no such site folder.", str(site), f"Build it first: {program_name()}")
    below = {path: file.size for path, file in files_below(site).items() if path.partition("/")[0] not in TOLERATED}
    # A link may lead to a folder or to nothing.
    files = {path: size for path, size in below.items() if os.path.isfile(f"{site}/{path}")}
    if not any(path.endswith(".html") for path in files):
        raise CatalogError("The site folder contains no page.", str(site), f"Build it first: {program_name()}")
    return files


def _no_files(site: Path) -> list[str]:
    """What the site holds besides files and folders, and the unfinished work of a build that was stopped."""
    others = [path for path in no_files_below(site) if path.partition("/")[0] not in TOLERATED]
    return [*others, TEMPORARY] if (site / TEMPORARY).exists() else others


def _sums(site: Path, files: Files, pages: list[PageFacts]) -> Sums:
    """The checksum of every file of the site; those of the pages were computed as these were read."""
    of_pages: Sums = {page.path: page.sha256 for page in pages}
    return of_pages | checksums(site, files.keys() - of_pages.keys())


def _read_pages(site: Path, files: Files, workers: int | None) -> list[PageFacts]:
    """Read every page, in several processes if there are many."""
    paths = [path for path in files if path.endswith(".html")]
    workers = workers or os.cpu_count() or 1
    read = partial(read_page, site, frozenset(files))
    if workers == 1 or len(paths) < POOL_FROM:
        return [read(path) for path in paths]
    with worker_processes(workers) as pool:
        return list(pool.map(read, paths, chunksize=500))


def _root_problems(site: Path, files: Files) -> Iterator[str]:
    """Missing files at the root, and catalogs that its index does not link to."""
    if ".nojekyll" not in files:
        yield ".nojekyll: missing; GitHub Pages would leave out files whose names begin with an underscore"
    if "index.html" not in files:
        yield "index.html: missing at the root of the site"
        return
    reached = linked_files(site, "index.html")
    for part in parts(files):
        if f"{part}/index.html" not in reached:
            yield f"index.html: no link to the {part_kind(part)} {part}/index.html"


def _size_problems(files: Files) -> Iterator[str]:
    """Pages over their own limit, catalogs over the mean, and a site over the limit of GitHub Pages."""
    by_catalog: dict[str, list[int]] = defaultdict(list)
    for path, size in files.items():
        if match := _FEATURE_PAGE.fullmatch(path):
            by_catalog[match["catalog"]].append(size)
            yield from _over(path, size, FEATURE_PAGE_MAX)
        elif is_embed(path):
            yield from _over(path, size, EMBED_MAX)
    for catalog, sizes in by_catalog.items():
        yield from _over(f"{catalog}/features: mean of {len(sizes)} pages", sum(sizes) / len(sizes), FEATURE_PAGE_MEAN)
    yield from _over("the whole site", sum(files.values()), SITE_MAX)


def _first_view_problems(page: PageFacts, files: Files) -> Iterator[str]:
    """A feature's page that loads too much before it is shown."""
    if _FEATURE_PAGE.fullmatch(page.path):
        loads = [path for path in page.loads if not path.endswith(f"/{CHART_LIBRARY}")]
        size = sum(files.get(path, 0) for path in [page.path, *loads])
        yield from _over(f"{page.path}: with its scripts and styles", size, FIRST_VIEW_MAX)


def _over(what: str, size: float, limit: int) -> Iterator[str]:
    if size > limit:
        yield f"{what}: {size / KB:,.1f} KB, over the limit of {limit / KB:,.0f} KB"


def _style_sheet_problems(site: Path, path: str, files: Files) -> Iterator[str]:
    """Files that a style sheet loads and that are not part of the site."""
    folder = os.path.dirname(path)
    for url in style_urls((site / path).read_text(encoding="utf-8", errors="replace")):
        parts = urlsplit(url)
        if parts.scheme == "data" or url.startswith("#"):
            continue
        if parts.scheme or parts.netloc or url.startswith("/"):
            yield f"{path}: loads {url} from outside the site"
        elif os.path.normpath(os.path.join(folder, parts.path)).replace(os.sep, "/") not in files:
            yield f"{path}: loads {url}, which does not exist"


def _catalog_problems(site: Path, catalog: str, files: Files, ids: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Problems in the data of one catalog: its manifest, its tables, and pages and rows that disagree."""
    yield from _manifest_problems(site, catalog, files)
    yield from live_problems(site, catalog, _has_live_part(site / catalog), files)
    data = site / catalog / "data"
    broken = set()
    for name in SCHEMAS:
        for problem in table_problems(data / f"{name}.parquet", arrow_schema(name)):
            broken.add(name)
            yield f"{catalog}/data/{name}.parquet: {problem}"
    if "features" not in broken:
        yield from _row_problems(data / "features.parquet", catalog, files)
    if "effects" not in broken:
        yield from effect_problems(site, catalog, files, ids)


def _manifest_problems(site: Path, catalog: str, files: Files) -> Iterator[str]:
    """A manifest that is missing, cannot be read, or has page counts that differ from the files."""
    path = f"{catalog}/data/manifest.json"
    if path not in files:
        yield f"{path}: missing"
        return
    try:
        manifest = json.loads((site / path).read_text(encoding="utf-8"))
        stated = manifest["pages"]
        counts = {kind: int(stated[kind]) for kind in stated}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"{path}: has no page counts ({type(error).__name__}: {error})"
        return
    present = _page_counts(catalog, files)
    for kind, count in {"features": 0, **counts}.items():
        if kind in present and count != present[kind]:
            yield f"{path}: counts {count} pages of {kind}, but there are {present[kind]}"


def _has_live_part(catalog: Path) -> bool:
    """Whether a catalog's manifest states a live part; not if it cannot be read."""
    try:
        return has_live_part(read_mapping(catalog / MANIFEST))
    except (AttributeError, TypeError):
        return False


def _bases(site: Path, files: Files) -> dict[str, str]:
    """The addresses that the catalogs were built for; without the catalogs whose manifest states none, not even ""."""
    stated = {catalog: read_mapping(site / catalog / MANIFEST).get("base_url") for catalog in catalogs(files)}
    return {catalog: base for catalog, base in stated.items() if isinstance(base, str)}


def _row_problems(table: Path, catalog: str, files: Files) -> Iterator[str]:
    """Feature pages that no row names, and rows whose page or embed is missing or belongs to another feature."""
    columns = pq.read_table(table, columns=["feature", "page", "notable"])
    numbers = columns["feature"].to_pylist()
    rows = dict(zip(numbers, columns["page"].to_pylist(), strict=True))
    notable = [n for n, why in zip(numbers, columns["notable"].to_pylist(), strict=True) if why]
    wanted = {f"{catalog}/{embed_page(rows[n])}" for n in embedded((n for n in numbers if rows[n]), notable)}
    there = {path for path in files if path.startswith(f"{catalog}/features/") and is_embed(path)}
    yield from (f"{path}: missing, though the feature has a page and should have an embed" for path in wanted - there)
    yield from (f"{path}: no feature should have this embed" for path in there - wanted)
    pages = {f"{catalog}/{page}" for page in rows.values() if page}
    for feature, page in rows.items():
        if page and page != f"features/{feature}.html":
            yield f"{catalog}/data/features.parquet: feature {feature} has the page {page} of another"
        elif page and f"{catalog}/{page}" not in files:
            yield f"{catalog}/data/features.parquet: feature {feature} has the page {page}, which does not exist"
    for path in files:
        match = _FEATURE_PAGE.fullmatch(path)
        if match and match["catalog"] == catalog and path not in pages:
            yield f"{path}: no row of data/features.parquet has this page"
