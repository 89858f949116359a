"""Publishing: writes a site folder from finished tables and templates, completely or not at all.

A catalog is built in a temporary folder and then put in the place of the old one. Each catalog lists its files, so that
a rebuild knows what it may replace; it stops with an error at files it did not write.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saecatalog.config import NOTES, SiteConfig
from saecatalog.engines import Engine
from saecatalog.errors import CatalogError
from saecatalog.explanations import Explanations
from saecatalog.json_files import write_json
from saecatalog.manifest import Manifest
from saecatalog.notes import Notes, check_pages
from saecatalog.progress import notice
from saecatalog.schemas import SCHEMAS
from saecatalog.site.catalog import Catalog, page_of, specialist_counts
from saecatalog.site.comparisons import comparisons_of, drop_outdated, find_outdated
from saecatalog.site.inventory import (
    FILE_LIST,
    MANIFEST,
    ROOT_LIST,
    TOLERATED,
    Files,
    Keys,
    Sums,
    catalogs,
    checksums,
    files_below,
    listed,
    names_below,
    root_files,
    root_key,
    seal,
    to_carry_over,
)
from saecatalog.site.live_files import write_live
from saecatalog.site.output_folder import put, replace_files
from saecatalog.site.pages.catalogs import SpecialistCounts, site_front
from saecatalog.site.render import render_catalog, render_root
from saecatalog.site.sitemap import common_address, sitemap_files
from saecatalog.site.templates import check_templates, made_from
from saecatalog.site.totals import is_page, page_counts
from saecatalog.tables import Tables, write_csv, write_table
from saecatalog.workspace import Workspace

MADE_ANEW = (MANIFEST, "data/notes.parquet", "data/notes.csv", "about.html", FILE_LIST)
"""Files that can change even if only notes change, besides the pages that show them: `about.html` names the commit."""
SCORES = ("data/detection.parquet", "data/detection.csv")
"""Files that can change with the rules in notes."""


def publish(
    made: Sequence[Path],
    live: Path | None,
    manifest: Manifest,
    notes: Notes,
    explanations: Explanations,
    config: SiteConfig,
    keys: Keys,
    standing: Files,
    workspace: Workspace,
    progress: Callable[..., Any],
    engine: Callable[[], Engine] | None = None,
) -> int:
    """Build one catalog in the workspace, put it in its place, and renew the site's root page.

    `made` are folders of tables: of those with the same table, the last counts. `live` is the folder of the live part,
    if there is one. `keys` identify the build for the next time, and `standing` are the files of the output folder.
    `engine` gives an engine whose workers may write pages. If the existing catalog differs only in notes and templates,
    only the pages made from these are written again and the rest is carried over. Returns the total size of the
    catalog's files, in bytes. Raises CatalogError for a template that is not valid, for a note that links to a feature
    without a page, and for another catalog of the site whose manifest cannot be read.
    """
    out, templates = Path(config.out), Path(config.templates)
    check_templates(templates)
    features = Tables(made[0]).read("features", ["feature", "page"])
    paged = set(features.loc[features["page"] != "", "feature"])
    check_pages(notes, paged)
    for line in explanations.notices(paged):
        notice(line)
    slug = manifest["slug"]
    others = {other: manifest_of(out / other) for other in catalogs(standing) if other != slug}
    specialists = {other: specialists_of(out / other) for other in others}
    _check_apart(slug, others)
    target = out / slug
    kept, edited = to_carry_over(out, standing, slug, keys)
    folder = workspace.folder("catalog")
    before, only, carried = None, None, []
    if kept:
        before, only = target, _noted(Tables(target / "data")["notes"], notes) | made_from(templates, edited, kept)
        carried = [f for f in kept if f not in only and not f.startswith(f"{NOTES}/")]
        _carry_over(target, folder, carried)
    # Pages are made from the published tables, because `verify` makes them again from these.
    tables = _write_tables(made, notes, explanations, folder / "data", config.csv)
    render_catalog(tables, manifest, templates, folder, progress, only=only, engine=engine, standing=before)
    if live and only is None:
        write_live(Catalog(tables, manifest), live, folder / "live")
    _copy_images(notes, folder / NOTES)
    there = names_below(folder)
    manifest = {**manifest, "pages": page_counts(there)}
    write_json(folder / MANIFEST, manifest)
    _list_files(folder, {MANIFEST, *there}, {file: kept[file] for file in carried}, keys)
    put(folder, target, turn)
    # The old catalog is now here. Removing it changes the times of the files that were carried over.
    workspace.remove("catalog")
    size = sum(file.size for file in seal(target).values())
    gone = find_outdated(out)
    manifests, specialists = {**others, slug: manifest}, {**specialists, slug: specialists_of(target)}
    publish_root(out, templates, manifests, specialists, [slug], keys.root, standing, workspace.folder("root"), gone)
    drop_outdated(out, workspace, gone)
    return size


def _list_files(folder: Path, files: set[str], known: Sums, keys: Keys) -> None:
    """Write the checksums of all files; those that were carried over are `known`."""
    sums = {**known, **checksums(folder, files - known.keys())}
    made_of = {"key": keys.all, "rest_key": keys.rest, "templates": keys.templates}
    write_json(folder / FILE_LIST, {**made_of, "files": sums})


def turn(file: str) -> int:
    """When a file is replaced, if files are replaced one by one: what pages load, other pages, the front page."""
    return 2 if file == "index.html" else int(file.endswith(".html"))


def manifest_of(catalog: Path) -> Manifest:
    """The manifest of a catalog that was built before; raises CatalogError if it cannot be read."""
    path = catalog / MANIFEST
    try:
        found: Manifest = json.loads(path.read_text(encoding="utf-8"))
        # Anything that the root page shows and that is missing is found before something is written.
        site_front([found], {}, {})
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise CatalogError(
            f"The manifest of another catalog of the site cannot be read ({error}).",
            str(path),
            f"Move {catalog} away, then build that catalog again; nothing was changed.",
        ) from error
    return found


def specialists_of(catalog: Path) -> Mapping[str, int]:
    """How many specialists the categories of a catalog have; raises CatalogError if its table cannot be read."""
    try:
        return specialist_counts(Tables(catalog / "data"))
    except (OSError, ValueError, LookupError) as error:
        raise CatalogError(
            f"A table of another catalog of the site cannot be read ({str(error).splitlines()[0]}).",
            str(catalog / "data/categories.parquet"),
            f"Move {catalog} away, then build that catalog again; nothing was changed.",
        ) from error


def _check_apart(slug: str, others: Iterable[str]) -> None:
    """Raise CatalogError if the catalog's folder would contain that of another one, or lie in it."""
    for other in others:
        if f"{other}/".startswith(f"{slug}/") or f"{slug}/".startswith(f"{other}/"):
            what = "The folders of two catalogs would lie in each other."
            raise CatalogError(what, f"{slug} and {other}", "Give another --out; nothing was changed.")


def _noted(before: pd.DataFrame, notes: Notes) -> set[str]:
    """The files that change if only the notes change."""
    columns = ("kind", "name", "markdown", "rule")
    old = set(zip(*(before[name] for name in columns), strict=True))
    new = set(zip(*(notes.columns()[name] for name in columns), strict=True))
    found = {(kind, name) for kind, name, _, _ in old ^ new}
    # The score of an unchanged rule may have changed with the code.
    ruled = {(kind, name) for kind, name, _, rule in old | new if rule}
    pages = {page_of(kind, name) for kind, name in found | ruled}
    # The search index contains the notes of features.
    search = {"search-index.js"} if "feature" in {kind for kind, _ in found} else set()
    return {*MADE_ANEW, *pages, *search, *(SCORES if ruled else ())}


def _carry_over(target: Path, folder: Path, files: Collection[str]) -> None:
    """Put files of one folder into another: as hard links, which is fast, or as copies if links are not possible."""
    for inside in {file.rpartition("/")[0] for file in files}:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    for file in files:
        try:
            os.link(f"{target}/{file}", f"{folder}/{file}")
        except OSError:
            shutil.copyfile(target / file, folder / file)


def _write_tables(made: Sequence[Path], notes: Notes, explanations: Explanations, data: Path, csv: bool) -> Tables:
    """Write the tables of a site, those of the analysis and the author's, as Parquet and, if `csv`, also as CSV.

    Files carried over from the previous catalog are left as they are.
    """
    data.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS.keys() - {"notes", "explanations"}:
        if not (data / f"{name}.parquet").exists():
            found = [path for folder in made if (path := folder / f"{name}.parquet").exists()]
            shutil.copyfile(found[-1], data / f"{name}.parquet")
    write_table(data, "notes", notes.columns())
    if not (data / "explanations.parquet").exists():
        write_table(data, "explanations", explanations.columns())
    tables = Tables(data)
    for name in tables if csv else ():
        if not (data / f"{name}.csv").exists():
            write_csv(tables.read(name), data / f"{name}.csv")
    return tables


def _copy_images(notes: Notes, folder: Path) -> None:
    """Copy the images that the notes show."""
    for image, _ in notes.images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notes.folder / image, folder / image)


def publish_root(
    out: Path,
    templates: Path,
    manifests: dict[str, Manifest],
    specialists: SpecialistCounts,
    written: Collection[str],
    key: str,
    standing: Files,
    folder: Path,
    leaving: Collection[str] = (),
) -> None:
    """Renew the page that lists the catalogs and their comparisons, and delete files of an older root page.

    `manifests` and `specialists` are by the catalogs' folders. `written` are the folders of catalogs and comparisons
    that were written just now, `key` is that of what the page is made with, `folder` is a temporary one, and `leaving`
    are comparisons that are about to be removed.
    """
    before = listed(out / ROOT_LIST)
    compared = {part: manifest for part, manifest in comparisons_of(out).items() if part not in leaving}
    render_root([manifests[slug] for slug in sorted(manifests)], templates, folder, compared, specialists)
    _write_sitemap(out, manifests, folder)
    # GitHub Pages would otherwise run Jekyll, which drops files whose names begin with an underscore.
    (folder / ".nojekyll").touch()
    files = checksums(folder, files_below(folder))
    parts = [*manifests, *compared]
    lists = checksums(out, [f"{part}/{FILE_LIST}" for part in parts])
    # What was changed by hand in another catalog stays noticeable.
    new = {f"{part}/{FILE_LIST}" for part in written}
    lists |= {file: before[file] for file in lists if file not in new and before.get(file)}
    write_json(folder / ROOT_LIST, {"key": root_key(out, parts, key), "files": files | lists})
    old = [file for file in root_files(before) if _may_delete(file, parts, standing)]
    replace_files(folder, out, ROOT_LIST, old, turn)


def _write_sitemap(out: Path, manifests: dict[str, Manifest], folder: Path) -> None:
    """Write the sitemap of the root's pages, which are in `folder`, and of every catalog's.

    Catalogs that were built for another address, or for none, are left out; the user is told.
    """
    bases = {slug: manifest["base_url"] for slug, manifest in sorted(manifests.items())}
    base = common_address(bases.values())
    if len(set(bases.values())) > 1:
        said = ", ".join(f"{slug} for {other or 'none'}" for slug, other in bases.items())
        notice(f"the catalogs of this site were built for different addresses: {said}. Build all with one --base-url.")
    paths = [*files_below(folder)]
    for slug in (slug for slug, other in bases.items() if other == base):
        paths += (f"{slug}/{file}" for file in listed(out / slug / FILE_LIST))
    for name, text in sitemap_files(base, (path for path in paths if is_page(path))).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _may_delete(file: str, parts: Collection[str], standing: Files) -> bool:
    """Whether a file that the root's list names can be of an older root page: somebody may have written the list."""
    inside = file.startswith(tuple(f"{slug}/" for slug in parts))
    return file in standing and not inside and file.partition("/")[0] not in TOLERATED
