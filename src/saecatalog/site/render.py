"""From tables to pages: writes one catalog's folder, or the site's root page that lists the catalogs.

In: `Tables`, the manifest and the folder of templates. Out: HTML, chart scripts, the search index and the assets. The
views decide what a page shows, the templates how; this module only knows which pages there are and where they lie.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import plotly
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from saecatalog.site import (
    cite,
    formats,
    search,
    tokens,
    views_about,
    views_feature,
    views_group,
    views_pairs,
    views_table,
    views_text,
)
from saecatalog.site.catalog import Catalog, Manifest, without_paths
from saecatalog.site.charts import Heatmap, script_json
from saecatalog.site.matrices import Names, ScoreRows
from saecatalog.tables import Tables

ASSETS = Path(__file__).parent / "assets"
CARD = "assets/card.png"
# No page connects to anything; without `connect-src 'self'` Lighthouse cannot ask for robots.txt and marks pages down.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
SECTIONS = (
    ("features/index.html", "Features"),
    ("categories/index.html", "Categories"),
    ("coactivation/index.html", "Co-activation"),
    ("concepts/index.html", "Concepts"),
    ("texts/index.html", "Texts"),
    ("about.html", "About"),
)


class Bar(Protocol):
    """What a progress bar must offer; tqdm's does."""

    def update(self, n: int = 1) -> object: ...
    def close(self) -> object: ...


Progress = Callable[[str, int], Bar]


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


def render_catalog(
    tables: Tables, manifest: Manifest, templates: Path, out: Path, progress: Progress | None = None
) -> dict[str, int]:
    """Write every page of one catalog into the folder `out`; returns how many pages of each kind there are.

    `progress(words, total)` opens a bar for a long kind of page, which is updated by one per page and then closed.
    """
    catalog = Catalog(tables, manifest)
    writer = Writer(catalog, templates, out)
    copy_assets(out / "assets", [*own_assets(), plotly_bundle()])
    names = Names(catalog)
    kinds: list[tuple[str, int, Iterable[None]]] = [
        ("overviews", 0, _overviews(writer)),
        ("categories", 0, _categories(writer, names)),
        ("co-activation", 0, _coactivation(writer, names)),
        ("concepts", 0, _concepts(writer)),
        ("feature tables", 0, _feature_tables(writer)),
        ("features", len(catalog.paged), _features(writer)),
        ("texts", len(catalog.texts), _texts(writer)),
        ("text lists", 0, _text_lists(writer)),
    ]
    counts = {words: _run(pages, words, total, progress) for words, total, pages in kinds}
    writer.write("charts/names.js", f"window.saeNames = {script_json(names.data())};\n")
    writer.write("search-index.js", search.index(catalog))
    return counts


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


def environment(templates: Path) -> Environment:
    """The Jinja environment: everything is escaped, an unknown name is an error."""
    env = Environment(
        loader=_Loader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(formats.FILTERS)
    env.filters.update(
        show=lambda value, kind: formats.FILTERS[kind](value),
        token=tokens.token,
        basename=lambda path: path.rpartition("/")[2],
    )
    env.globals.update(
        csp=Markup(CSP), sections=SECTIONS, percent_interval=formats.percent_interval, interval=formats.interval
    )
    return env


def own_assets() -> list[Path]:
    """This package's scripts and pictures, which every catalog has a copy of."""
    return sorted(path for path in ASSETS.iterdir() if path.suffix != ".css")


def plotly_bundle() -> Path:
    """Plotly's script as the installed `plotly` package carries it, so that figures and script are one version."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def copy_assets(folder: Path, names: Iterable[str | Path]) -> None:
    """Copy files into `folder` and write the style sheet; a name stands for a file among this package's assets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(ASSETS / name, folder / Path(name).name)
    (folder / "style.css").write_text(_styles("tokens.css", "style.css"), encoding="utf-8", newline="\n")


class Writer:
    """Renders templates with what every page shares and writes the results below `out`."""

    def __init__(self, catalog: Catalog, templates: Path, out: Path):
        self.catalog, self.out = catalog, out
        self.env = environment(templates)
        manifest = catalog.manifest
        self.env.globals.update(m=manifest, categories=catalog.category, up="../" * len(manifest["slug"].split("/")))
        self.style = Markup(_embed_style())
        self._folders: set[Path] = set()

    def page(self, template: str, path: str, title: str, description: str, **view: Any) -> None:
        """Write one page; `path` is relative to the catalog's folder."""
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

    def chart(self, chart: Heatmap | None) -> None:
        """Write the script that carries a heatmap's numbers."""
        if chart is not None:
            call = f"saeFigure({script_json(chart.source)},{script_json(chart.data)});\n"
            self.write(f"charts/{chart.source}.js", call)

    def write(self, path: str, text: str) -> None:
        """Write a file below `out`; lone surrogates, which UTF-8 cannot carry, become the replacement character."""
        target = self.out / path
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        # Three calls to the system and no more: tens of thousands of files are written.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(handle, text.encode("utf-8", "replace"))
        finally:
            os.close(handle)


def _run(pages: Iterable[None], words: str, total: int, progress: Progress | None) -> int:
    """Write the pages of one kind and count them."""
    bar = progress(words, total) if progress and total else None
    done = 0
    for _ in pages:
        done += 1
        if bar:
            bar.update(1)
    if bar:
        bar.close()
    return done


def _overviews(writer: Writer) -> Iterator[None]:
    catalog, m = writer.catalog, writer.catalog.manifest
    about = f"{m['counts']['notable']:,} features of {cite.sae_name(m)}, with the texts they fire on."
    writer.page("index.html", "index.html", m["title"], m["description"] or about, **views_table.index(catalog))
    yield
    words = "What the catalog was built from, what every figure means, and how to cite it."
    writer.page("about.html", "about.html", "About", words, **views_about.about(catalog))
    yield
    words = "How a feature's card looks in a page of your own, and the code for it."
    writer.page("embed.html", "embed.html", "Embed a feature", words, **views_feature.embedding(catalog))
    yield


def _coactivation(writer: Writer, names: Names) -> Iterator[None]:
    view = views_pairs.coactivation(writer.catalog, names)
    writer.chart(view["heatmap"])
    writer.page("coactivation.html", "coactivation/index.html", "Co-activation", "Features that fire together.", **view)
    yield


def _categories(writer: Writer, names: Names) -> Iterator[None]:
    catalog = writer.catalog
    scores = ScoreRows(catalog, views_group.heatmap_features(catalog))
    view = views_group.categories(catalog, scores, names)
    writer.chart(view["frequent"])
    writer.chart(view["notable"])
    words = "Which features tell the categories of texts apart, with the evidence."
    writer.page("categories.html", "categories/index.html", "Categories", words, **view)
    yield
    for ref in catalog.categories:
        view = views_group.category(catalog, ref, scores, names)
        writer.chart(view["heatmap"])
        words = f"The features special to and common in the {ref.texts} texts of {ref.title}."
        view["list_page"] = views_text.list_page(ref.name)
        writer.page("category.html", ref.page, ref.title, words, **view)
        yield


def _concepts(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    words = "Which features respond to a shared idea."
    writer.page("concepts.html", "concepts/index.html", "Concepts", words, **views_group.concepts(catalog))
    yield
    for ref in catalog.concepts:
        words = f"The features that answer to {ref.title}, by consistency, strength and contrast."
        writer.page("concept.html", ref.page, ref.title, words, **views_group.concept(catalog, ref))
        yield


def _feature_tables(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    step, total = views_table.STATIC_ROWS, len(catalog.paged)
    pages = max(1, -(-total // step))
    shared = {
        "total": total,
        "pages": pages,
        "columns": [column for column in views_table.COLUMNS if column.shown],
        "bands": views_table.BANDS,
        "reasons": views_table.all_reasons(catalog),
        "groups": catalog.categories,
        "titles": views_table.titles(catalog),
    }
    for number in range(1, pages + 1):
        found = views_table.table_rows(catalog, catalog.paged[(number - 1) * step : number * step])
        name = "index" if number == 1 else f"page-{number}"
        words = "All features with a page, to sort and to filter."
        writer.page("features.html", f"features/{name}.html", "Features", words, found=found, current=number, **shared)
        yield
    writer.write("features/table-data.js", f"window.saeTable = {script_json(views_table.table_data(catalog))};\n")


def _features(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    embed = writer.env.get_template("feature_embed.html")
    model = catalog.manifest["model"]["name"]
    for number in catalog.paged:
        view = views_feature.feature(catalog, number)
        path = catalog.features[number].page
        label = catalog.features[number].label
        words = f"Feature {number} of {model}{': ' + label if label else ''}."
        writer.page("feature.html", path, f"Feature {number}", words, **view)
        full = cite.address(catalog.manifest, path) if catalog.manifest["base_url"] else ""
        page = {"title": f"Feature {number}", "full": full}
        html = embed.render(views_feature.embed(view), page=page, style=writer.style)
        writer.write(cite.embed_page(path), html)
        yield


def _texts(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    shown = views_feature.examples_by_text(catalog)
    for name, row in catalog.texts.items():
        words = tokens.shorten(row.content, 150)
        writer.page("text.html", f"texts/{name}.html", f"Text {name}", words, **views_text.text(catalog, row, shown[name]))
        script = script_json(views_text.script(catalog, row, shown[name]))
        writer.write(f"texts/{name}.js", f"saeText({script});\n")
        yield


def _text_lists(writer: Writer) -> Iterator[None]:
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


class _Loader(FileSystemLoader):
    """Templates without their indentation: it helps who writes them and is a tenth of every page."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        return re.sub(r"^[ \t]+", "", source, flags=re.MULTILINE), path, fresh


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
