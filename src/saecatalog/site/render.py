"""Writes the pages of one catalog from its tables, or the site's root page, which lists the catalogs.

In: `Tables`, the manifest and the folder of templates. Out: HTML, chart scripts, the search index and the assets. The
views decide what a page shows and the templates how; this module only knows which pages there are and their paths.

There may be many pages of features and of texts, so they are made in parts, see `page_parts.py`.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saecatalog.constants import LIST_ROWS, MANY_CATEGORIES
from saecatalog.engines import Engine
from saecatalog.manifest import Manifest
from saecatalog.site import cite, search, search_parts, tokens
from saecatalog.site.asset_files import copy_assets, copy_live_assets, own_assets, plotly_bundle
from saecatalog.site.catalog import CLEAREST_PAGE, ROW_PAGE, STATIC_ROWS, Catalog, GroupRef, list_page
from saecatalog.site.charts import script_json
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.heatmap_data import HeatmapNames
from saecatalog.site.page_parts import Job, Make, Part, Progress, count, written
from saecatalog.site.pages import (
    about,
    catalogs,
    category_pairs,
    clearest,
    coactivation,
    effects,
    feature,
    features,
    front,
    groups,
    introduction,
    live,
    pair,
    texts,
)
from saecatalog.site.records import blocks
from saecatalog.site.sitemap import common_address
from saecatalog.site.templates import environment
from saecatalog.site.text_parts import parts
from saecatalog.site.writer import CARD, Page, Writer
from saecatalog.tables import Tables

PART = {"features": 2048, "effects": 2048, "texts": 512}
"""Pages of one kind written per reading of the tables; one reading takes as long as a few hundred pages."""


def render_catalog(
    tables: Tables,
    manifest: Manifest,
    templates: Path,
    out: Path,
    progress: Progress | None = None,
    workers: int | None = None,
    only: Collection[str] | None = None,
    engine: Callable[[], Engine] | None = None,
    standing: Path | None = None,
) -> dict[str, int]:
    """Write every page of one catalog into the folder `out`; returns how many pages of each kind were written.

    `progress(words, total)` opens a bar for each kind of page with many pages; it is updated with the number of pages
    written and then closed. `workers` is the number of processes that write pages if there are many (default: one per
    core). `engine` gives an engine, whose workers write them if they are more and reach the tables and `out`. If `only`
    is given, only these paths are written: the rest of the catalog exists already. `standing` is the folder of the
    catalog as it was before, if it differs in notes and templates only.
    """
    writer = Writer(Catalog(tables, manifest), templates, out, only)
    catalog, names = writer.catalog, HeatmapNames(writer.catalog)
    many = {kind: find(writer) if writer.wants_in(kind) else [] for kind, find in WANTED.items()}
    kinds = {kind: [Part(BY_KEY[kind], some) for some in blocks(keys, PART[kind])] for kind, keys in many.items()}
    with written(_job(tables, manifest, templates, out, only), writer, kinds, workers, engine) as numbers:
        # The other processes begin with these while this one writes the rest.
        if only is None:
            copy_assets(out / "assets", [*own_assets(), plotly_bundle()])
            if writer.live:
                copy_live_assets(out)
        counts = {words: sum(1 for _ in pages) for words, pages in _other_pages(writer, names)}
        writer.write("charts/names.js", lambda: f"window.saeNames = {script_json(names.data())};\n")
        if writer.wants(search.INDEX):
            for path, script in _search(catalog, only is None, standing):
                writer.write(path, script)
        for kind, keys in many.items():
            counts[kind] = count(numbers[kind], kind, len(keys), progress)
    return counts


def _search(catalog: Catalog, whole: bool, standing: Path | None) -> Iterator[tuple[str, str]]:
    """The scripts of the search, or its index alone: from a standing one, it takes half the time."""
    if standing is None:
        return search_parts.scripts(catalog, parts=whole)
    before = (standing / search.INDEX).read_bytes().decode()
    return iter([(search.INDEX, search.with_notes_of(before, catalog))])


def _job(tables: Tables, manifest: Manifest, templates: Path, out: Path, only: Collection[str] | None) -> Job:
    paths = None if only is None else frozenset(only)
    return Job(tables.folder.absolute(), json.dumps(manifest), templates.absolute(), out.absolute(), paths)


def _other_pages(writer: Writer, names: HeatmapNames) -> list[tuple[str, Iterator[None]]]:
    """Every kind of page except those in `BY_KEY`, which may be too many for one process."""
    return [
        ("overviews", _overviews(writer)),
        ("categories", _categories(writer, names)),
        ("pairs of categories", _category_pairs(writer)),
        ("co-activation", _coactivation(writer, names)),
        ("effects together", _effects(writer)),
        ("concepts", _concepts(writer)),
        ("feature tables", _feature_tables(writer)),
        ("clearest", _clearest(writer)),
        ("rows", _rows(writer)),
        ("text lists", _text_lists(writer)),
        ("pairs of features", _pairs(writer)),
    ]


def render_root(
    found: list[Manifest],
    templates: Path,
    out: Path,
    compared: Mapping[str, Manifest] | None = None,
    specialists: catalogs.SpecialistCounts | None = None,
) -> None:
    """Write the site's root page, which lists its catalogs, and its assets.

    `compared` are the manifests of its comparisons by their folders.
    """
    out.mkdir(parents=True, exist_ok=True)
    copy_assets(out / "assets", ("theme.js", "site.js", "icon.svg", "card.png"))
    base = common_address(manifest["base_url"] for manifest in found)
    words = "Catalogs of the features of sparse autoencoders."
    page = Page("SAE Catalog", "SAE Catalog", words, "index.html", "", "", base, base and base + CARD)
    view = catalogs.site_front(found, compared or {}, specialists or {})
    html = environment(templates).get_template("catalogs.html").render(view, page=page)
    (out / "index.html").write_text(html, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class Pager:
    """The place of a page in a list of categories or concepts that may need several: `current` of `pages`, from 1.

    No category or concept has a dot in its file name, so none has the name of such a page.
    """

    current: int
    pages: int

    @property
    def path(self) -> str:
        """The file of this page."""
        return self.file(self.current)

    @staticmethod
    def file(number: int) -> str:
        """The file of a page."""
        return "index.html" if number == 1 else f"index.{number}.html"


def _list_pages(refs: Sequence[GroupRef]) -> Iterator[tuple[Sequence[GroupRef], Pager]]:
    """The parts of a list of categories or concepts that are each shown on a page; one even if there are none."""
    parts = list(blocks(refs, LIST_ROWS)) or [[]]
    return ((part, Pager(place, len(parts))) for place, part in enumerate(parts, 1))


def _overviews(writer: Writer) -> Iterator[None]:
    catalog, m = writer.catalog, writer.catalog.manifest
    words = f"{len(catalog.paged):,} features of {cite.sae_name(m)}, with the texts they fire on."
    if writer.wants("index.html"):
        writer.page("index.html", "index.html", m["title"], m["description"] or words, **front.catalog_front(catalog))
        yield
    words = "What this catalog was built from, what every figure means, and how to cite it."
    writer.page("about.html", "about.html", "About", words, **about.view(catalog))
    yield
    words = "How a feature’s card looks on your own page, and the code for it."
    if writer.wants("embed.html"):
        writer.page("embed.html", "embed.html", "Embed a feature", words, **introduction.embedding(catalog))
        yield
    if writer.live and writer.wants("live/index.html"):
        words = "Type a text and see, in your browser, which features fire on it."
        writer.page("live.html", "live/index.html", "Try a text", words, **live.view())
        yield


def _coactivation(writer: Writer, names: HeatmapNames) -> Iterator[None]:
    if not writer.wants("coactivation/index.html"):
        return
    view = coactivation.view(writer.catalog, names)
    writer.chart(view["heatmap"])
    writer.page("coactivation.html", "coactivation/index.html", "Co-activation", "Features that fire together.", **view)
    yield


def _effects(writer: Writer) -> Iterator[None]:
    """The page of all effects, in a catalog that was built with effects."""
    if not writer.catalog.manifest.get("effects") or not writer.wants("effects/index.html"):
        return
    words = "What features do to the model’s predictions, against chance."
    writer.page("effects.html", "effects/index.html", "Effects", words, **effects.overview(writer.catalog))
    yield


def _categories(writer: Writer, names: HeatmapNames) -> Iterator[None]:
    catalog, refs = writer.catalog, [ref for ref in writer.catalog.categories if writer.wants(ref.page)]
    overview = writer.wants("categories/index.html")
    if not refs and not overview:
        return
    data = groups.CategoryData.of(catalog, refs, overview)
    if overview:
        heatmaps = groups.categories_heatmaps(catalog, data, names)
        writer.chart(heatmaps["frequent"])
        writer.chart(heatmaps["notable"])
        words = "Which features distinguish the categories of texts, with the evidence."
        for part, pager in _list_pages(catalog.categories):
            view = groups.categories_list(catalog, data, part)
            path = f"categories/{pager.path}"
            writer.page("categories.html", path, "Categories", words, pager=pager, **view, **heatmaps)
            yield
    pairs = category_pairs.CategoryPairs(catalog)
    for ref in refs:
        view = groups.category(catalog, ref, data, names)
        writer.chart(view["heatmap"])
        words = f"Specialists and common features of the {ref.texts} texts in {ref.title}."
        view["list_page"] = texts.list_page(ref.name)
        view["others"], view["most"] = category_pairs.overview(pairs, ref.name), MANY_CATEGORIES
        writer.page("category.html", ref.page, ref.title, words, **view)
        yield


def _category_pairs(writer: Writer) -> Iterator[None]:
    for two in category_pairs.CategoryPairs(writer.catalog):
        if not writer.wants(two.page):
            continue
        view = category_pairs.view(two)
        a, b = view["titles"]
        words = f"The features that tell {a} from {b}."
        writer.page("category_pair.html", two.page, f"{a} versus {b}", words, **view)
        yield


def _concepts(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    words = "Which features respond to a shared idea."
    refs, overview = [ref for ref in catalog.concepts if writer.wants(ref.page)], writer.wants("concepts/index.html")
    if not refs and not overview:
        return
    ranked = groups.concept_rows(catalog)
    for part, pager in _list_pages(catalog.concepts) if overview else ():
        view = groups.concepts(catalog, ranked, part)
        writer.page("concepts.html", f"concepts/{pager.path}", "Concepts", words, pager=pager, **view)
        yield
    for ref in refs:
        words = f"The features that respond to {ref.title}, by contrast, consistency and strength."
        writer.page("concept.html", ref.page, ref.title, words, **groups.concept(catalog, ref, ranked))
        yield


def _feature_tables(writer: Writer) -> Iterator[None]:
    catalog = writer.catalog
    if not writer.wants("features/index.html"):
        return
    parts = list(blocks(catalog.listed, STATIC_ROWS)) or [[]]
    shared = {
        "total": len(catalog.paged),
        "notable_pages": len(set(catalog.notable) & set(catalog.paged)),
        "pages": len(parts),
        "columns": [column for column in features.COLUMNS if column.shown],
        "bands": features.BANDS,
        "reasons": features.all_reasons(catalog),
        "groups": catalog.categories,
        "kinds": features.label_groups(catalog),
        "most": MANY_CATEGORIES,
        "titles": features.titles(catalog),
    }
    words = "Sort and filter all features with a page."
    for place, numbers in enumerate(parts):
        found = features.table_rows(catalog, numbers)
        writer.page("features.html", list_page(place), "Features", words, found=found, current=place + 1, **shared)
        yield
    writer.write("features/table-data.js", lambda: _table_script(features.table_data(catalog)))


def _clearest(writer: Writer) -> Iterator[None]:
    if not writer.wants(CLEAREST_PAGE):
        return
    words = "The features whose label explains best where they fire, by kind."
    writer.page("clearest.html", CLEAREST_PAGE, "The clearest features", words, **clearest.view(writer.catalog))
    yield


def _table_script(data: dict[str, Any]) -> str:
    """The script with the rows of some features, for `assets/row.js`."""
    return f"window.saeTable = {script_json(data)};\n"


def _rows(writer: Writer) -> Iterator[None]:
    """The page that shows the row of any feature without a page, and its data; nothing if every feature has a page."""
    catalog = writer.catalog
    parts = features.row_parts(catalog)
    if not catalog.unpaged or not writer.wants(ROW_PAGE, *(path for path, _ in parts)):
        return
    words = "The statistics of a feature that has no page of its own."
    writer.page("row.html", ROW_PAGE, "Feature", words, **features.row_view(catalog))
    for path, numbers in parts:
        writer.write(path, _table_script(features.row_data(catalog, numbers)))
    yield


def _pairs(writer: Writer) -> Iterator[None]:
    """The page of any two features side by side, and its data."""
    catalog = writer.catalog
    if len(catalog.compared) < 2:
        return
    if writer.wants(pair.PAGE):
        words = "Do two features double each other? Where each fires, and in which directions they write."
        writer.page("pair.html", pair.PAGE, "Two features", words, **pair.view(catalog))
        yield
    if writer.wants(pair.TEXTS, *map(pair.script_of, range(catalog.compared[-1] // pair.IN_SCRIPT + 1))):
        writer.write(pair.TEXTS, lambda: pair.texts_script(catalog))
        for path, script in pair.feature_scripts(catalog):
            writer.write(path, script)


def _features(writer: Writer, numbers: Sequence[int]) -> Iterator[None]:
    catalog = writer.catalog
    by_feature, examples = FeatureRows(catalog.tables, numbers), catalog.examples.of_features(numbers)
    model = catalog.manifest["model"]["name"]
    for number in numbers:
        view = feature.view(catalog, by_feature, number, examples[number])
        ref = catalog.ref(number)
        words = f"Feature {number} of {model}{': ' + ref.label if ref.label else ''}."
        writer.page("feature.html", ref.page, f"Feature {number}", words, **view)
        if number in catalog.embedded and writer.wants(cite.embed_page(ref.page)):
            writer.embed(ref.page, feature.embed(view))
        yield


def _effect_pages(writer: Writer, numbers: Sequence[int]) -> Iterator[None]:
    """The pages of single effects, in a catalog whose feature pages have no room for them."""
    catalog, by_feature = writer.catalog, FeatureRows(writer.catalog.tables, numbers)
    for number in numbers:
        view = effects.page_view(catalog, by_feature, number)
        words = f"What the model does because of feature {number}, against chance."
        writer.page("effect_page.html", effects.page_of(number), f"What feature {number} does", words, **view)
        yield


def _texts(writer: Writer, names: Sequence[str]) -> Iterator[None]:
    catalog, examples = writer.catalog, writer.catalog.examples.of_texts(names)
    for name in names:
        row, shown = catalog.texts[name], examples[name]
        words = tokens.shorten(row.content, 150)
        for part in parts(row):
            page = part.page(f"texts/{name}.html")
            heading = (texts.origin(row)[0] or f"Text {name}") + (f", page {part.number}" if part.number > 1 else "")
            writer.page("text.html", page, heading, words, **texts.text(catalog, row, shown, part))
            if writer.wants(script := texts.script_of(page)):
                writer.write(script, f"saeText({script_json(texts.script(catalog, row, shown, part))});\n")
        yield


BY_KEY: dict[str, Make] = {"features": _features, "effects": _effect_pages, "texts": _texts}
"""The kinds of page of which there may be many: each function writes the pages of the given keys."""


WANTED: dict[str, Callable[[Writer], Sequence[Any]]] = {
    "features": lambda writer: [n for n in writer.catalog.paged if writer.wants(*_files_of(writer.catalog, n))],
    "effects": lambda writer: [n for n in effects.paged(writer.catalog) if writer.wants(effects.page_of(n))],
    "texts": lambda writer: [name for name, row in writer.catalog.texts.items() if writer.wants(*texts.files(row))],
}
"""The keys of the pages of each kind that are to be written. All pages of a kind are in a folder with its name."""


def _files_of(catalog: Catalog, number: int) -> tuple[str, str]:
    page = catalog.ref(number).page
    return page, cite.embed_page(page)


def _text_lists(writer: Writer) -> Iterator[None]:
    if not writer.wants("texts/index.html"):
        return
    catalog = writer.catalog
    words = "The texts that the model read, by category."
    for part, pager in _list_pages(catalog.categories):
        view = texts.overview(catalog, part)
        writer.page("texts.html", f"texts/{pager.path}", "Texts", words, category=None, texts=[], pager=pager, **view)
        yield
    for ref in catalog.categories:
        view = texts.texts_list(catalog, ref)
        words = f"The {ref.texts} texts of {ref.title}."
        page = texts.list_page(ref.name)
        writer.page("texts.html", page, f"Texts: {ref.title}", words, groups=[], pager=None, **view)
        yield
