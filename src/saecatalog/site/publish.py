"""Publishing: writes a site folder from finished tables and templates, completely or not at all.

A catalog is built in a temporary folder and then swapped in. Each catalog lists its files, so that a rebuild knows what
it may replace; it stops with an error at files it did not write.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saecatalog.atomic_writes import new_folder, write_json
from saecatalog.config import NOTES, SiteConfig
from saecatalog.manifest import Manifest
from saecatalog.notes import Notes, check_pages
from saecatalog.schemas import SCHEMAS
from saecatalog.site.catalog import page_of
from saecatalog.site.inventory import FILE_LIST, ROOT_LIST, Files, Keys, catalogs, files_below, listed, to_carry_over
from saecatalog.site.render import render_catalog, render_root
from saecatalog.site.templates import made_from
from saecatalog.site.totals import page_counts
from saecatalog.tables import Tables, write_csv, write_table

MADE_ANEW = ("data/manifest.json", "data/notes.parquet", "data/notes.csv", "about.html", FILE_LIST)
"""Files that can change even if only notes change, besides the pages that show them: `about.html` names the commit."""


def publish(
    analysis: Path,
    manifest: Manifest,
    notes: Notes,
    config: SiteConfig,
    keys: Keys,
    standing: Files,
    progress: Callable[..., Any],
) -> None:
    """Build one catalog in a temporary folder, swap it in, and renew the site's root page.

    `keys` identify the build for the next time, and `standing` are the files of the output folder. If the existing
    catalog differs only in notes and templates, only the pages made from these are written again and the rest is
    carried over. Raises CatalogError for a note that links to a feature without a page.
    """
    out, templates = Path(config.out), Path(config.templates)
    features = Tables(analysis).read("features", ["feature", "page"])
    check_pages(notes, set(features.loc[features["page"] != "", "feature"]))
    target = out / manifest["slug"]
    out.mkdir(parents=True, exist_ok=True)
    kept, edited = to_carry_over(out, standing, manifest["slug"], keys)
    with new_folder(target) as folder:
        only = None
        if kept:
            only = _noted(Tables(target / "data")["notes"], notes) | made_from(templates, edited, kept)
            _carry_over(target, folder, [f for f in kept if f not in only and not f.startswith(f"{NOTES}/")])
        # Pages are made from the published tables, because `verify` makes them again from these.
        tables = _write_tables(analysis, notes, folder / "data", config.csv)
        render_catalog(tables, manifest, templates, folder, progress, only=only)
        _copy_images(notes, folder / NOTES)
        pages = page_counts(files_below(folder))
        write_json(folder / "data" / "manifest.json", {**manifest, "pages": pages})
        made_of = {"key": keys.all, "rest_key": keys.rest, "templates": keys.templates}
        write_json(folder / FILE_LIST, {**made_of, "files": files_below(folder)})
    _publish_root(out, templates, sorted({*catalogs(standing), manifest["slug"]}))


def _noted(before: pd.DataFrame, notes: Notes) -> set[str]:
    """The files that change if only the notes change."""
    columns = ("kind", "name", "markdown")
    old = set(zip(*(before[name] for name in columns), strict=True))
    new = {(note.kind, note.name, note.markdown) for note in notes.files}
    found = {(kind, name) for kind, name, _ in old ^ new}
    pages = {page_of(kind, name) for kind, name in found}
    # The search index contains the notes of features.
    return {*MADE_ANEW, *pages} | ({"search-index.js"} if "feature" in {kind for kind, _ in found} else set())


def _carry_over(target: Path, folder: Path, files: Collection[str]) -> None:
    """Put files of one folder into another: as hard links, which is fast, or as copies if links are not possible."""
    for inside in {file.rpartition("/")[0] for file in files}:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    for file in files:
        try:
            os.link(f"{target}/{file}", f"{folder}/{file}")
        except OSError:
            shutil.copyfile(target / file, folder / file)


def _write_tables(analysis: Path, notes: Notes, data: Path, csv: bool) -> Tables:
    """Write the tables of a site, those of the analysis and the notes, as Parquet and, if `csv`, also as CSV.

    Files carried over from the previous catalog are left as they are.
    """
    data.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS.keys() - {"notes"}:
        if not (data / f"{name}.parquet").exists():
            shutil.copyfile(analysis / f"{name}.parquet", data / f"{name}.parquet")
    write_table(data, "notes", notes.columns())
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


def _publish_root(out: Path, templates: Path, slugs: Sequence[str]) -> None:
    """Renew the page that lists the catalogs in `slugs`, and delete files of an older root page."""
    manifests = [json.loads((out / slug / "data" / "manifest.json").read_text(encoding="utf-8")) for slug in slugs]
    with tempfile.TemporaryDirectory(prefix=".root-", dir=out) as folder:
        root = Path(folder)
        render_root(manifests, templates, root)
        # GitHub Pages would otherwise run Jekyll, which drops files whose names begin with an underscore.
        (root / ".nojekyll").touch()
        files = files_below(root)
        for old in listed(out / ROOT_LIST).keys() - files.keys():
            (out / old).unlink(missing_ok=True)
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).replace(out / file)
        write_json(out / ROOT_LIST, {"files": files})
