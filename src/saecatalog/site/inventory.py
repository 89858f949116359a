"""What stands in a site's folder: which catalogs, which files of each, and what they were built from.

In: the folder. Out: its files, read in one walk, and what the catalogs' own lists say of them. Nothing here renders, so
that a build with nothing to do is over at once.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError

FILE_LIST = "data/files.json"
"""In each catalog: the files it consists of with their sizes, and the keys of the build that wrote them."""

ROOT_LIST = ".saecatalog.json"
"""At the site's root: the files there that belong to no catalog, with their sizes."""

TOLERATED = {".git", ".gitignore", ".gitattributes", ".github", "CNAME", ".DS_Store"}
"""What people keep in a site's folder for publishing; never touched."""

Files = Mapping[str, int]
"""The files below a folder by their paths in it, with their sizes in bytes."""


@dataclass(frozen=True)
class Keys:
    """Hashes of what a build is made of: `all` of it, each template, and the `rest` without templates and notes."""

    all: str
    rest: str
    templates: dict[str, str]


def files_below(folder: Path) -> dict[str, int]:
    """Every file below a folder, in order, and its size."""
    return dict(sorted(_walk(str(folder), "")))


def _walk(folder: str, inside: str) -> Iterator[tuple[str, int]]:
    # A path object for each of tens of thousands of files would take seconds.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{inside}{entry.name}/")
            elif entry.is_file():
                yield inside + entry.name, entry.stat().st_size


def check_out(out: Path) -> Files:
    """The files of the output folder.

    Raises CatalogError where it is a file or holds something this program did not write.
    """
    if out.exists() and not out.is_dir():
        raise CatalogError("The output folder is a file.", str(out), "Give another --out, or move the file away.")
    files = files_below(out) if out.exists() else {}
    foreign = sorted(_foreign(out, files))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise CatalogError(
            "The output folder holds something that this program did not write.",
            f"{out}: {', '.join(foreign[:3])}{more}",
            "Move it away, or give another --out; nothing was changed.",
        )
    return files


def _foreign(out: Path, files: Files) -> Iterator[str]:
    """Files of the output folder that neither the root's list nor a catalog's list names."""
    known = set(listed(out / ROOT_LIST)) | {ROOT_LIST}
    for slug in catalogs(files):
        known |= {f"{slug}/{file}" for file in listed(out / slug / FILE_LIST)}
        known.add(f"{slug}/{FILE_LIST}")
    return (file for file in files if file not in known and file.partition("/")[0] not in TOLERATED)


def listed(path: Path) -> Files:
    """The files that a list names; none where it cannot be read."""
    files: Files = read_list(path).get("files", {})
    return files


def read_list(path: Path) -> dict[str, Any]:
    """A list as it was written, `files` with their sizes; empty where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = found.get("files") if isinstance(found, dict) else None
    # Lists without sizes were written before 0.1.0: what they name is this program's, and is made anew.
    known = dict.fromkeys(files) if isinstance(files, list) else files
    return {**found, "files": known} if isinstance(known, dict) else {}


def catalogs(files: Files) -> list[str]:
    """The folders of the catalogs in a site, relative to it."""
    return sorted(file.removesuffix(f"/{FILE_LIST}") for file in files if file.endswith(f"/{FILE_LIST}"))


def is_current(out: Path, files: Files, slug: str, key: str) -> bool:
    """True where the catalog stands there as it was built with this key; `files` are those of the output folder."""
    found = read_list(out / slug / FILE_LIST)
    return (
        found.get("key") == key and _as_built(found, files, slug) and listed(out / ROOT_LIST).items() <= files.items()
    )


def to_carry_over(out: Path, files: Files, slug: str, keys: Keys) -> tuple[list[str], set[str]]:
    """The files of the catalog that stands there and the templates that have changed since.

    There are no files where one of them is missing or has another size, or where more than notes and templates has
    changed.
    """
    found = read_list(out / slug / FILE_LIST)
    if found.get("rest_key") != keys.rest or not _as_built(found, files, slug):
        return [], set()
    changed = set(keys.templates.items()) ^ set(found.get("templates", {}).items())
    return list(found["files"]), {name for name, _ in changed}


def _as_built(found: Mapping[str, Any], files: Files, slug: str) -> bool:
    """Whether every file of a catalog's list is there and has its size: who edited a page by hand sees it made anew."""
    return all(files.get(f"{slug}/{file}") == size for file, size in found.get("files", {}).items())
