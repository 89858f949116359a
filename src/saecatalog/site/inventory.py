"""The contents of a site's folder: its catalogs, the files of each, and what they were built from.

In: the folder. Out: its files, read in one walk, and what the catalogs' file lists say about them. This module loads
nothing that renders pages, so a build with nothing to do ends at once.

Each catalog's list has a checksum of every other file of the catalog. The list at the root has those of the root's own
files and of the catalogs' lists, so that the whole site hangs from one file.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from saecatalog.errors import CatalogError
from saecatalog.stage_keys import digest
from saecatalog.threads import in_order

FILE_LIST = "data/files.json"
"""In each catalog: the SHA-256 of each of its other files, and the keys of the build that wrote them."""

ROOT_LIST = ".saecatalog.json"
"""At the site's root: the SHA-256 of the files there and of each catalog's list, and the key of the root's files."""

MANIFEST = "data/manifest.json"
"""In each catalog and each comparison: what it was made from."""

COMPARE = "compare"
"""At the site's root: the folder of the comparisons of two catalogs."""

TEMPORARY = ".saecatalog-tmp"
"""At the site's root: the unfinished work of the builds that write to it, see `saecatalog.workspace`."""

TOLERATED = {".git", ".gitignore", ".gitattributes", ".github", "CNAME", ".DS_Store"}
"""Files that people keep in a site's folder for publishing; they are never touched."""

AT_ONCE = 10_000_000
"""Nanoseconds between two times of a file that one call sets; in a copy that keeps the times they are far apart."""

BATCH = 200
"""Files that a thread reads before it hands over their checksums."""


class File(NamedTuple):
    """What a walk knows about a file without reading it; times are in nanoseconds."""

    size: int
    """In bytes."""
    modified: int
    changed: int
    """When its content, name or links last changed, which nobody can set back; always later for a symbolic link."""


Files = Mapping[str, File]
"""The files below a folder, by their paths relative to it."""

Sums = dict[str, str | None]
"""SHA-256 of files, in hexadecimal, by path; None if it is not known, or if there is no file."""


@dataclass(frozen=True)
class Keys:
    """Hashes of a build's inputs: `all` of them, each template, and the `rest` without templates and notes.

    `root` is that of what the site's root page is made with, apart from the catalogs' manifests.
    """

    all: str
    rest: str
    root: str
    templates: dict[str, str]


def files_below(folder: Path) -> dict[str, File]:
    """Every file below a folder, in order."""
    return {path: _file(entry) for path, entry in sorted(_walk(str(folder)), key=_path) if entry.is_file()}


def names_below(folder: Path) -> list[str]:
    """The paths of the same files, in order: asking for the times of tens of thousands of files takes as long again."""
    return sorted(path for path, entry in _walk(str(folder)) if entry.is_file())


def no_files_below(folder: Path) -> list[str]:
    """Links to folders and to nothing, pipes, sockets and devices below a folder, in order. A build makes none."""
    return sorted(path for path, entry in _walk(str(folder)) if not entry.is_file())


def _walk(folder: str, inside: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything but folders; links are not followed, and unfinished work at the site's root is left out."""
    # A path object for each of tens of thousands of files would take seconds.
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield inside + entry.name, entry
            elif inside or entry.name != TEMPORARY:
                yield from _walk(entry.path, f"{inside}{entry.name}/")


def _path(found: tuple[str, os.DirEntry[str]]) -> str:
    return found[0]


def _file(entry: os.DirEntry[str]) -> File:
    stat = entry.stat()
    # Who changes the target of a symbolic link leaves no trace in the link.
    changed = sys.maxsize if entry.is_symlink() else max(stat.st_mtime_ns, stat.st_ctime_ns)
    return File(stat.st_size, stat.st_mtime_ns, changed)


def sha256(path: str | Path) -> str | None:
    """The SHA-256 of a file; None if it cannot be read or is no file."""
    if not os.path.isfile(path):
        return None
    try:
        # Unbuffered, because most files are read in one piece.
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    # A list may have names that no file can have.
    except (OSError, ValueError):
        return None


def checksums(folder: Path, names: Iterable[str]) -> Sums:
    """The checksums of some files of a folder."""
    listed = list(names)
    batches = [listed[start : start + BATCH] for start in range(0, len(listed), BATCH)]
    if len(batches) < 2:
        return {name: sha256(f"{folder}/{name}") for name in listed}
    found = in_order(lambda batch: [sha256(f"{folder}/{name}") for name in batch], batches)
    return dict(zip(listed, (one for batch in found for one in batch), strict=True))


def check_out(out: Path) -> Files:
    """The files of the output folder.

    Raises CatalogError if it contains something that this program did not write.
    """
    if not out.exists():
        return {}
    files = files_below(out)
    foreign = sorted(unlisted(out, files, no_files_below(out)))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise CatalogError(
            "The output folder contains something that this program did not write.",
            f"{out}: {', '.join(foreign[:3])}{more}",
            "Move it away, or give another --out; nothing was changed.",
        )
    return files


def unlisted(out: Path, files: Collection[str], others: Iterable[str]) -> Iterator[str]:
    """Files, and others that are none, of the output folder that neither the root's list nor a catalog's list names."""
    known = set(listed(out / ROOT_LIST)) | {ROOT_LIST}
    for slug in parts(files):
        known |= {f"{slug}/{file}" for file in listed(out / slug / FILE_LIST)}
        known.add(f"{slug}/{FILE_LIST}")
    return (path for path in (*files, *others) if path not in known and path.partition("/")[0] not in TOLERATED)


def listed(path: Path) -> Sums:
    """The files in a list; none if it cannot be read."""
    files: Sums = read_list(path).get("files", {})
    return files


def read_list(path: Path) -> dict[str, Any]:
    """A list as it was written, with the checksums of its `files`; empty if it cannot be read."""
    found = read_mapping(path)
    files = found.get("files")
    if not isinstance(files, dict | list):
        return {}
    # Lists of names, or of sizes, were written by older versions: the files are this program's, of unknown content.
    known = files.items() if isinstance(files, dict) else ((name, None) for name in files)
    return {**found, "files": {name: sum_ if isinstance(sum_, str) else None for name, sum_ in known if _inside(name)}}


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if it cannot be read or is something else."""
    try:
        # A pipe would never end.
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _inside(name: object) -> bool:
    """Whether a name in a list is the path of a file below its folder. The list of a site may be of any origin."""
    return isinstance(name, str) and {"", ".", ".."}.isdisjoint(re.split(r"[/\\]", name))


_MARK = re.compile(r"(.+)/(?:data/(?:files\.json|manifest\.json|[^/]+\.parquet)|features/[0-9]+\.html)")
"""What only the folder of a catalog or of a comparison holds; any one of these files will do, so that a folder with
damage is still found. Hidden folders are unfinished, or not of the site."""


def catalogs(files: Iterable[str]) -> list[str]:
    """The folders of the catalogs in a site, relative to it. This is the only definition: all commands use it."""
    return [folder for folder in parts(files) if part_kind(folder) == "catalog"]


def comparisons(files: Iterable[str]) -> list[str]:
    """The folders of the comparisons of two catalogs in a site, relative to it."""
    return [folder for folder in parts(files) if part_kind(folder) == "comparison"]


def parts(files: Iterable[str]) -> list[str]:
    """The folders of the catalogs and of the comparisons in a site, relative to it; each has a list of its files."""
    return sorted({match[1] for file in files if (match := _MARK.fullmatch(file)) and not hidden(match[1])})


def part_kind(folder: str) -> str:
    """What a part of a site is: a catalog or a comparison."""
    return "comparison" if folder.startswith(f"{COMPARE}/") else "catalog"


def hidden(path: str) -> bool:
    """Whether a part of a path begins with a dot."""
    return path.startswith(".") or "/." in path


def is_current(out: Path, files: Files, slug: str, keys: Keys) -> bool:
    """Whether the catalog and the root are there as they were built with these keys.

    `files` are those of the output folder.
    """
    found = read_list(out / slug / FILE_LIST)
    return found.get("key") == keys.all and _root_is_current(out, files, slug, keys) and _as_built(out, files, slug)


def _root_is_current(out: Path, files: Files, slug: str, keys: Keys) -> bool:
    """Whether the root's files are there as they were built for these catalogs."""
    root = read_list(out / ROOT_LIST)
    sums = root.get("files", {})
    own = root_files(sums)
    same = bool(own) and checksums(out, own) == {file: sums[file] for file in own}
    return same and root.get("key") == root_key(out, {*parts(files), slug}, keys.root)


def root_files(names: Iterable[str]) -> list[str]:
    """The files in the root's list that belong to no catalog."""
    return [file for file in names if not file.endswith(f"/{FILE_LIST}")]


def root_key(out: Path, folders: Iterable[str], key: str) -> str:
    """The key of the root's files: what they are made with, and the site's catalogs and comparisons."""
    names = [f"{folder}/{name}" for folder in sorted(folders) for name in (MANIFEST, FILE_LIST)]
    return digest(key, checksums(out, names))


def to_carry_over(out: Path, files: Files, slug: str, keys: Keys) -> tuple[Sums, set[str]]:
    """The files of the existing catalog, and the templates that have changed since it was built.

    There are no files if one of them is missing or was changed, or if more than notes and templates has changed.
    """
    found = read_list(out / slug / FILE_LIST)
    if found.get("rest_key") != keys.rest or not _as_built(out, files, slug):
        return {}, set()
    changed = set(keys.templates.items()) ^ set(found.get("templates", {}).items())
    return found["files"], {name for name, _ in changed}


def _as_built(out: Path, files: Files, slug: str) -> bool:
    """Whether every file of a catalog's list is there with its content; a page edited by hand is written again.

    The list itself must be as the root's list says.
    """
    path = f"{slug}/{FILE_LIST}"
    sums = listed(out / path)
    if not sums or sha256(out / path) != listed(out / ROOT_LIST).get(path, ""):
        return False
    there = {name: files[at] for name in sums if (at := f"{slug}/{name}") in files}
    if len(there) < len(sums) or None in sums.values():
        return False
    doubtful = _doubtful(out / slug, there)
    return checksums(out / slug, doubtful).items() <= sums.items()


def edited(out: Path, files: Files, slug: str) -> str:
    """The first file of a catalog that is not as its build left it, relative to the site; "" if all are.

    The root's list need not name the catalog: it does not if removing the catalog was broken off.
    """
    path = f"{slug}/{FILE_LIST}"
    if _as_built(out, files, slug):
        return ""
    sums, of_list = listed(out / path), listed(out / ROOT_LIST).get(path)
    found = checksums(out / slug, sums)
    changed = next((f"{slug}/{file}" for file in sums if found[file] != sums[file]), "")
    return changed or ("" if sums and of_list in (None, sha256(out / path)) else path)


def _doubtful(catalog: Path, files: Files) -> list[str]:
    """The files of a catalog that may have changed since its list was written, which was last.

    Reading all of them would take longer than the rest of a build with nothing to do. The time of the last change of a
    file's content, name or links cannot be set back, unlike that of its modification. That of its folder tells whether
    a folder was put in the place of another.
    """
    written = os.stat(catalog / FILE_LIST)
    # In a copy that keeps the times of modification, the order of the files is that of the copying.
    since = written.st_ctime_ns if abs(written.st_ctime_ns - written.st_mtime_ns) < AT_ONCE else 0
    folders = {folder for name in files for folder in _folders(name.rpartition("/")[0])}
    moved = {folder for folder in folders if os.stat(catalog / folder).st_ctime_ns >= since}
    return [
        name
        for name, file in files.items()
        if file.changed >= since or not moved.isdisjoint(_folders(name.rpartition("/")[0]))
    ]


@cache
def _folders(folder: str) -> tuple[str, ...]:
    """A folder and those above it, without the top one (`a/b` -> `a/b`, `a`)."""
    parts = folder.split("/") if folder else []
    return tuple("/".join(parts[:n]) for n in range(len(parts), 0, -1))


def seal(catalog: Path) -> Files:
    """Make the list of a finished catalog later than its files, so that these need not be read the next time.

    Removing an older catalog that shares files with this one counts as a change of the files, though not of their
    content. Nothing is done if a file was modified since. Returns the files as they were found.
    """
    files = files_below(catalog)
    if all(file.modified <= files[FILE_LIST].modified for file in files.values()):
        # The system's clock for files moves in steps of a few milliseconds.
        time.sleep(AT_ONCE / 1e9)
        os.utime(catalog / FILE_LIST)
    return files
