"""From tables to pages: writes one catalog's folder, or the site's root page that lists the catalogs.

In: `Tables`, the manifest and the folder of templates. Out: HTML, chart scripts, the search index and the assets. The
views decide what a page shows, the templates how; this module only knows which pages there are and where they lie.

Pages of features and of texts may be many: they are made a part at a time, by several processes where that pays. What a
page holds depends on the tables alone, so that the files are the same however the work is shared out.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from saecatalog.site import (
    cite,
    search,
    tokens,
    views_about,
    views_feature,
    views_group,
    views_pairs,
    views_table,
    views_text,
)
from saecatalog.site.catalog import STATIC_ROWS, Catalog, Manifest, list_page, without_paths
from saecatalog.site.charts import Heatmap, script_json
from saecatalog.site.groups import blocks
from saecatalog.site.matrices import Names, ScoreRows
from saecatalog.site.templates import SECTIONS, environment
from saecatalog.tables import Tables

ASSETS = Path(__file__).parent / "assets"
CARD = "assets/card.png"


class Bar(Protocol):
    """What a progress bar must offer; tqdm's does."""

    def update(self, n: int = 1) -> object: ...
    def close(self) -> object: ...


Progress = Callable[[str, int], Bar]

POOL_FROM = 2000
"""With fewer pages of features and texts, starting worker processes takes longer than writing the pages."""

PART = {"features": 2048, "texts": 512}
"""Pages of one kind that are written from one reading of the tables, which takes as long as a few hundred pages."""


@dataclass(frozen=True)
class Page:
    """Where a page lies and how it is named; `root` leads back to the catalog's folder.

    `address` is the page's own and `card` that of the picture which links to it show; both are "" if unknown.
    """

    title: str
    description: str
    path: str
    section: str
    root: str
    address: str
    card: str


@dataclass(frozen=True)
class Job:
    """What a process needs to know to write pages of one catalog."""

    tables: Path
    manifest: str
    """As JSON."""
    templates: Path
    out: Path
    only: frozenset[str] | None


def render_catalog(
    tables: Tables,
    manifest: Manifest,
    templates: Path,
    out: Path,
    progress: Progress | None = None,
    workers: int | None = None,
    only: Collection[str] | None = None,
) -> dict[str, int]:
    """Write every page of one catalog into the folder `out`; returns how many pages of each kind were written.

    `progress(words, total)` opens a bar for a long kind of page, which is updated by the pages written and then closed.
    `workers` is the number of processes that write pages where there are many (default: one a core). Where paths are
    given as `only`, nothing else is written: the rest of the catalog stands there already.
    """
    job = Job(tables.folder, json.dumps(manifest), templates, out, None if only is None else frozenset(only))
    writer = Writer(Catalog(tables, manifest), templates, out, only)
    catalog, names = writer.catalog, Names(writer.catalog)
    many = {
        "features": [n for n in catalog.paged if writer.wants(page := catalog.ref(n).page, cite.embed_page(page))],
        "texts": [text for text in catalog.texts if writer.wants(f"texts/{text}.html", f"texts/{text}.js")],
    }
    with _processes(sum(map(len, many.values())), workers) as pool:
        # The processes begin with these while this one goes on with the rest.
        started = {kind: _start(pool, job, kind, keys) for kind, keys in many.items() if pool}
        if only is None:
            copy_assets(out / "assets", [*own_assets(), plotly_bundle()])
        counts = {words: sum(1 for _ in pages) for words, pages in _few(writer, names)}
        writer.write("charts/names.js", lambda: f"window.saeNames = {script_json(names.data())};\n")
        writer.write("search-index.js", lambda: search.index(catalog))
        for kind, keys in many.items():
            pages = _finish(started[kind]) if pool else _one_by_one(kind, writer, keys)
            counts[kind] = _count(pages, kind, len(keys), progress)
    return counts


def _few(writer: "Writer", names: Names) -> list[tuple[str, Iterator[None]]]:
    """The kinds of pages of which there are few."""
    return [
        ("overviews", _overviews(writer)),
        ("categories", _categories(writer, names)),
        ("co-activation", _coactivation(writer, names)),
        ("concepts", _concepts(writer)),
        ("feature tables", _feature_tables(writer)),
        ("text lists", _text_lists(writer)),
    ]


def _processes(pages: int, workers: int | None) -> AbstractContextManager[Executor | None]:
    """Processes to write pages, or None where starting them takes longer than what they would save."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or pages < POOL_FROM:
        return nullcontext()
    # Spawned, not forked: the caller may have threads of torch or arrow, which a fork would leave locked.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _start(pool: Executor, job: Job, kind: str, keys: Sequence[Any]) -> list[Future[int]]:
    """Hand out the pages of one kind in parts of consecutive ones."""
    return [pool.submit(_write_part, job, kind, part) for part in blocks(keys, PART[kind])]


def _write_part(job: Job, kind: str, keys: Sequence[Any]) -> int:
    """Write some pages, in a process of its own; returns how many."""
    return sum(1 for _ in MANY[kind](_open(job), keys))


@cache
def _open(job: Job) -> "Writer":
    """The writer of a job: a process keeps what it has read for the next part."""
    return Writer(Catalog(Tables(job.tables), json.loads(job.manifest)), job.templates, job.out, job.only)


def _finish(parts: list[Future[int]]) -> Iterator[int]:
    """The pages of each part as it is done; raises what stopped a process."""
    for part in as_completed(parts):
        yield part.result()


def _one_by_one(kind: str, writer: "Writer", keys: Sequence[Any]) -> Iterator[int]:
    """Write the pages in this process, a part at a time all the same."""
    return (1 for part in blocks(keys, PART[kind]) for _ in MANY[kind](writer, part))


def _count(pages: Iterable[int], words: str, total: int, progress: Progress | None) -> int:
    """Go through pages that are written, and count them."""
    bar = progress(words, total) if progress and total else None
    done = 0
    for number in pages:
        done += number
        if bar:
            bar.update(number)
    if bar:
        bar.close()
    return done


def render_root(catalogs: list[Manifest], templates: Path, out: Path) -> None:
    """Write the site's root page, which lists its catalogs, and its few assets."""
    out.mkdir(parents=True, exist_ok=True)
    copy_assets(out / "assets", ("theme.js", "site.js", "icon.svg", "card.png"))
    base = catalogs[0]["base_url"] if catalogs else ""
    words = "Catalogs of the features of sparse autoencoders."
    page = Page("SAE Catalog", words, "index.html", "", "", base, base and base + CARD)
    program = catalogs[0]["program"] if catalogs else {"name": "SAE Catalog", "version": ""}
    values = {"catalogs": [without_paths(manifest) for manifest in catalogs], "page": page, "program": f"{program['name']} {program['version']}".strip()}
    html = environment(templates).get_template("catalogs.html").render(values)
    (out / "index.html").write_text(html, encoding="utf-8", newline="\n")


def own_assets() -> list[Path]:
    """This package's scripts and pictures, which every catalog has a copy of."""
    return sorted(path for path in ASSETS.iterdir() if path.suffix != ".css")


def plotly_bundle() -> Path:
    """Plotly's script as the installed `plotly` package carries it, so that figures and script are one version."""
    # Importing it for the place alone would take a second.
    found = find_spec("plotly")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def copy_assets(folder: Path, names: Iterable[str | Path]) -> None:
    """Copy files into `folder` and write the style sheet; a name stands for a file among this package's assets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(ASSETS / name, folder / Path(name).name)
    (folder / "style.css").write_text(_styles("tokens.css", "style.css"), encoding="utf-8", newline="\n")


class Writer:
    """Renders templates with what every page shares and writes the results below `out`."""

    def __init__(self, catalog: Catalog, templates: Path, out: Path, only: Collection[str] | None = None):
        self.catalog, self.out, self.only = catalog, out, only
        self.env = environment(templates)
        manifest = catalog.manifest
        self.env.globals.update(m=manifest, categories=catalog.category, up="../" * len(manifest["slug"].split("/")))
        self.style = Markup(_embed_style())
        self._folders: set[str] = set()

    def wants(self, *paths: str) -> bool:
        """Whether any of some files is to be written; paths are relative to the catalog's folder."""
        return self.only is None or any(path in self.only for path in paths)

    def page(self, template: str, path: str, title: str, description: str, **view: Any) -> None:
        """Write one page, where it is wanted."""
        if not self.wants(path):
            return
        depth = path.count("/")
        section = next((name for name, _ in SECTIONS if depth and name.split("/")[0] == path.split("/")[0]), path)
        manifest = self.catalog.manifest
        page = Page(
            title if title == manifest["title"] else f"{title} · {manifest['title']}",
            description,
            path,
            section,
            "../" * depth,
            cite.address(manifest, path) if manifest["base_url"] else "",
            cite.address(manifest, CARD) if manifest["base_url"] else "",
        )
        self.write(path, self.env.get_template(template).render(view, page=page))

    def embed(self, path: str, view: dict[str, Any]) -> None:
        """Write the embed of a feature, given the path of its page."""
        manifest, name = self.catalog.manifest, f"Feature {view['f'].feature}"
        page = {"title": name, "full": cite.address(manifest, path) if manifest["base_url"] else ""}
        html = self.env.get_template("feature_embed.html").render(view, page=page, style=self.style)
        self.write(cite.embed_page(path), html)

    def chart(self, chart: Heatmap | None) -> None:
        """Write the script that carries a heatmap's numbers."""
        if chart is not None:
            call = f"saeFigure({script_json(chart.source)},{script_json(chart.data)});\n"
            self.write(f"charts/{chart.source}.js", call)

    def write(self, path: str, text: str | Callable[[], str]) -> None:
        """Write a file below `out` where it is wanted, from its text or from what makes the text.

        Lone surrogates, which UTF-8 cannot carry, become the replacement character.
        """
        if not self.wants(path):
            return
        folder, _, _ = path.rpartition("/")
        if folder not in self._folders:
            (self.out / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        # Three calls to the system and no more: tens of thousands of files are written.
        handle = os.open(f"{self.out}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(handle, (text if isinstance(text, str) else text()).encode("utf-8", "replace"))
        finally:
            os.close(handle)


Make = Callable[[Writer, Sequence[Any]], Iterator[None]]
"""Writes the pages of one kind that belong to the keys given, and yields after each."""


def _overviews(writer: Writer) -> Iterator[None]:
    catalog, m = writer.catalog, writer.catalog.manifest
    about = f"{m['counts']['notable']:,} features of {cite.sae_name(m)}, with the texts they fire on."
    if writer.wants("index.html"):
        writer.page("index.html", "index.html", m["title"], m["description"] or about, **views_table.index(catalog))
        yield
    words = "What the catalog was built from, what every figure means, and how to cite it."
    writer.page("about.html", "about.html", "About", words, **views_about.about(catalog))
    yield
    words = "How a feature's card looks in a page of your own, and the code for it."
    if writer.wants("embed.html"):
        writer.page("embed.html", "embed.html", "Embed a feature", words, **views_feature.embedding(catalog))
        yield


def _coactivation(writer: Writer, names: Names) -> Iterator[None]:
    if not writer.wants("coactivation/index.html"):
        return
    view = views_pairs.coactivation(writer.catalog, names)
    writer.chart(view["heatmap"])
    writer.page("coactivation.html", "coactivation/index.html", "Co-activation", "Features that fire together.", **view)
    yield


def _categories(writer: Writer, names: Names) -> Iterator[None]:
    catalog, refs = writer.catalog, [ref for ref in writer.catalog.categories if writer.wants(ref.page)]
    overview = writer.wants("categories/index.html")
    if not refs and not overview:
        return
    features = views_group.heatmap_features(catalog, refs, overview)
    catalog, scores = catalog.about(features), ScoreRows(catalog, features)
    if overview:
        view = views_group.categories(catalog, scores, names)
        writer.chart(view["frequent"])
        writer.chart(view["notable"])
        words = "Which features tell the categories of texts apart, with the evidence."
        writer.page("categories.html", "categories/index.html", "Categories", words, **view)
        yield
    for ref in refs:
        view = views_group.category(catalog, ref, scores, names)
        writer.chart(view["heatmap"])
        words = f"The features special to and common in the {ref.texts} texts of {ref.title}."
        view["list_page"] = views_text.list_page(ref.name)
        writer.page("category.html", ref.page, ref.title, words, **view)
        yield


def _concepts(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    words = "Which features respond to a shared idea."
    if writer.wants("concepts/index.html"):
        writer.page("concepts.html", "concepts/index.html", "Concepts", words, **views_group.concepts(catalog))
        yield
    for ref in [ref for ref in catalog.concepts if writer.wants(ref.page)]:
        words = f"The features that answer to {ref.title}, by consistency, strength and contrast."
        writer.page("concept.html", ref.page, ref.title, words, **views_group.concept(catalog, ref))
        yield


def _feature_tables(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    if not writer.wants("features/index.html"):
        return
    parts = list(blocks(catalog.paged, STATIC_ROWS)) or [[]]
    shared = {
        "total": len(catalog.paged),
        "pages": len(parts),
        "columns": [column for column in views_table.COLUMNS if column.shown],
        "bands": views_table.BANDS,
        "reasons": views_table.all_reasons(catalog),
        "groups": catalog.categories,
        "titles": views_table.titles(catalog),
    }
    words = "All features with a page, to sort and to filter."
    for place, numbers in enumerate(parts):
        found = views_table.table_rows(catalog, numbers)
        writer.page("features.html", list_page(place), "Features", words, found=found, current=place + 1, **shared)
        yield
    writer.write("features/table-data.js", lambda: f"window.saeTable = {script_json(views_table.table_data(catalog))};\n")


def _features(writer: Writer, numbers: Sequence[int]) -> Iterator[None]:
    catalog, examples = writer.catalog.about(numbers), writer.catalog.examples.of_features(numbers)
    model = catalog.manifest["model"]["name"]
    for number in numbers:
        view = views_feature.feature(catalog, number, examples[number])
        ref = catalog.ref(number)
        words = f"Feature {number} of {model}{': ' + ref.label if ref.label else ''}."
        writer.page("feature.html", ref.page, f"Feature {number}", words, **view)
        if number in catalog.embedded and writer.wants(cite.embed_page(ref.page)):
            writer.embed(ref.page, views_feature.embed(view))
        yield


def _texts(writer: Writer, names: Sequence[str]) -> Iterator[None]:
    catalog, examples = writer.catalog, writer.catalog.examples.of_texts(names)
    for name in names:
        row, shown = catalog.texts[name], examples[name]
        words = tokens.shorten(row.content, 150)
        writer.page("text.html", f"texts/{name}.html", f"Text {name}", words, **views_text.text(catalog, row, shown))
        writer.write(f"texts/{name}.js", lambda: f"saeText({script_json(views_text.script(catalog, row, shown))});\n")
        yield


MANY: dict[str, Make] = {"features": _features, "texts": _texts}
"""The kinds of pages of which there may be many: each writes those of the keys it is given."""


def _text_lists(writer: Writer) -> Iterator[None]:
    if not writer.wants("texts/index.html"):
        return
    catalog = writer.catalog
    words = "The texts the model was shown, by category."
    view = views_text.overview(catalog)
    writer.page("texts.html", "texts/index.html", "Texts", words, category=None, texts=[], **view)
    yield
    for ref in catalog.categories:
        view = views_text.texts_list(catalog, ref)
        words = f"The {ref.texts} texts of {ref.title}."
        writer.page("texts.html", views_text.list_page(ref.name), f"Texts: {ref.title}", words, groups=[], **view)
        yield


def _styles(*names: str) -> str:
    """Style sheets joined into one, without comments and indentation."""
    text = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r"\n\s*", "\n", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)).strip() + "\n"


def _embed_style() -> str:
    """The style sheet inside each embed: the shared one without what an embed has no use for."""
    text = _styles("tokens.css", "embed.css")
    text = re.sub(r':root\[data-theme="dark"\] \{[^}]*\}\n|\.still(?:\.\w+| \.m\d| path\.box)[^{]* \{[^}]*\}\n', "", text)
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    return re.sub(r"(--[\w-]+):[^;]*;\s*", lambda found: found.group() if found.group(1) in used else "", text)
