"""The pages of a catalog against its own data: they are made again, and every file must come out the same.

Only the program that wrote a page can make it again, so this is done where the site names the program at work here.
"""

import hashlib
import tempfile
from collections.abc import Collection
from pathlib import Path

import pandas as pd
from jinja2 import TemplateError

import saecatalog
from saecatalog.manifest import program_commit
from saecatalog.progress import Progress
from saecatalog.schemas import SCHEMAS
from saecatalog.site.render import render_catalog
from saecatalog.tables import Tables
from saecatalog.verify.published import Published, rows_of
from saecatalog.verify.report import Report

TEMPLATES = Path("templates")
MALFORMED = (KeyError, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, TemplateError)
"""What rendering stumbles over where the data contradicts itself."""


def why_not(published: Published) -> str:
    """Why the pages of this catalog cannot be made again here; empty where they can."""
    wrote = published.manifest.get("program", {})
    if wrote.get("version") != saecatalog.__version__:
        return f"the site was written by version {wrote.get('version')}, this is {saecatalog.__version__}"
    commit, mine = str(wrote.get("commit", "")), program_commit()
    if commit and mine and commit != mine:
        return f"the site was written at commit {commit[:12]}, this is {mine[:12]}"
    if not TEMPLATES.is_dir():
        return "there is no folder of page templates here"
    return "" if len(published) == len(SCHEMAS) else "its data is not complete"


def check_pages(published: Published, report: Report, progress: Progress) -> int:
    """Make the pages again and compare every file; returns how many were compared."""
    manifest = {name: value for name, value in published.manifest.items() if name != "pages"}
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder)
        try:
            render_catalog(Tables(published.folder / "data"), manifest, TEMPLATES, again, progress.open)
            images = _images(published["notes"])
        except MALFORMED as error:
            problem = f"the pages cannot be made from this data ({type(error).__name__}: {error})"
            report.at("index.html").holds(False, "", problem)
            return 0
        return _compare_pages(published.folder, again, images, report) + _check_images(published.folder, images, report)


def _images(notes: pd.DataFrame) -> dict[str, str]:
    """The SHA-256 of every image of the notes by its path in the catalog."""
    rows = rows_of(notes)
    return {f"notes/{image}": sha for row in rows for image, sha in zip(row.images, row.images_sha256, strict=True)}


def _check_images(site: Path, images: dict[str, str], report: Report) -> int:
    """The images of the notes, which cannot be made again, against their hashes; returns how many were compared."""
    for path, sha in images.items():
        found = hashlib.sha256((site / path).read_bytes()).hexdigest() if (site / path).is_file() else ""
        report.at(path).holds(found == sha, "", "differs from its data" if found else "missing, though a note shows it")
    return len(images)


def _compare_pages(site: Path, again: Path, images: Collection[str], report: Report) -> int:
    """Every file of the catalog but its data and the images of the notes."""
    found, wanted = _files(site) - set(images), _files(again)
    for path in sorted(found | wanted):
        at = report.at(path)
        if path not in found:
            at.holds(False, "", "missing, though the data calls for it")
        elif path not in wanted:
            at.holds(False, "", "nothing in the data calls for this file")
        elif (site / path).read_bytes() != (again / path).read_bytes():
            at.holds(False, "", "differs from its data")
    return len(found & wanted)


def _files(folder: Path) -> set[str]:
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix() for path in paths if path.parts[0] != "data"}
