"""Checks of a catalog's pages against its data: they are rendered again, and every file must be identical.

Only the program version that wrote a page can render it again, so this is done only if the site names this version.
"""

import hashlib
import tempfile
from collections.abc import Collection
from pathlib import Path

import pandas as pd
from jinja2 import TemplateError

import saecatalog
from saecatalog.live.bundle import part_of
from saecatalog.manifest import program_commit
from saecatalog.progress import Progress
from saecatalog.resources import resource
from saecatalog.schemas import SCHEMAS
from saecatalog.site.check_live import read_manifest
from saecatalog.site.inventory import FILE_LIST, read_list
from saecatalog.site.render import render_catalog
from saecatalog.site.root_keys import template_digests
from saecatalog.tables import Tables
from saecatalog.verify.published import Published, rows_of
from saecatalog.verify.report import Report

MALFORMED = (KeyError, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, TemplateError)
"""The errors that rendering raises if the data contradicts itself."""


def why_not(published: Published) -> str:
    """Why the pages of this catalog cannot be rendered again here; empty if they can."""
    wrote = published.manifest.get("program", {})
    if wrote.get("version") != saecatalog.__version__:
        return f"the site was written by version {wrote.get('version')}, but this is version {saecatalog.__version__}"
    commit, mine = str(wrote.get("commit", "")), program_commit()
    if commit and mine and commit != mine:
        return f"the site was written at commit {commit[:12]}, but this is commit {mine[:12]}"
    own = template_digests(resource("templates"))
    if read_list(published.folder / FILE_LIST).get("templates", own) != own:
        return "the site was made with other page templates than the program's own"
    return "" if len(published) == len(SCHEMAS) else "its data is incomplete"


def check_pages(published: Published, report: Report, progress: Progress) -> list[str]:
    """Render the pages again and compare every file; returns the files that were compared."""
    manifest = {name: value for name, value in published.manifest.items() if name != "pages"}
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder)
        try:
            render_catalog(Tables(published.folder / "data"), manifest, resource("templates"), again, progress.open)
            images = _images(published["notes"])
        except MALFORMED as error:
            problem = f"the pages cannot be rendered from this data ({type(error).__name__}: {error})"
            report.at("index.html").holds(False, "", problem)
            return []
        set_aside = {*images, *_live_files(published.folder)}
        compared = _compare_pages(published.folder, again, set_aside, report)
    return [*compared, *_check_images(published.folder, images, report)]


def _images(notes: pd.DataFrame) -> dict[str, str]:
    """The SHA-256 of every image of the notes by its path in the catalog."""
    rows = rows_of(notes)
    return {f"notes/{image}": sha for row in rows for image, sha in zip(row.images, row.images_sha256, strict=True)}


def _check_images(site: Path, images: dict[str, str], report: Report) -> list[str]:
    """Compare the images of the notes with their hashes; returns the images that were compared."""
    for path, sha in images.items():
        found = hashlib.sha256((site / path).read_bytes()).hexdigest() if (site / path).is_file() else ""
        report.at(path).holds(
            found == sha, "", "differs from its data" if found else "missing, although a note shows it"
        )
    return list(images)


def _live_files(site: Path) -> list[str]:
    """What the live part runs, which checks of its own compare: its manifest, and the parts that this lists."""
    try:
        bundle = read_manifest(site / "live/manifest.js")
        return ["live/manifest.js", *(f"live/{part_of(bundle, name).file}" for name in bundle["parts"])]
    except (OSError, *MALFORMED):
        return []


def _compare_pages(site: Path, again: Path, set_aside: Collection[str], report: Report) -> list[str]:
    """Compare every file of the catalog except its data and those set aside; returns those compared."""
    found, wanted = _files(site) - set(set_aside), _files(again)
    for path in sorted(found | wanted):
        at = report.at(path)
        if path not in found:
            at.holds(False, "", "missing, although the data requires it")
        elif path not in wanted:
            at.holds(False, "", "nothing in the data requires this file")
        elif (site / path).read_bytes() != (again / path).read_bytes():
            at.holds(False, "", "differs from its data")
    return sorted(found & wanted)


def _files(folder: Path) -> set[str]:
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix() for path in paths if path.parts[0] != "data"}
