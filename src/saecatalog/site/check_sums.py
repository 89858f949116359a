"""Compares the files of a site with the checksums that its builds published.

In: the folder of a site and the checksums of its files as they are. Out: one line for each file that was changed, is
missing or was added, in order. It does not find a change by someone who also rewrote the checksums: `verify` does.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from saecatalog.site.inventory import FILE_LIST, ROOT_LIST, Sums, hidden, listed, parts

CHANGED, MISSING, FOREIGN = "changed since it was built", "missing", "not part of the site"
NOT_COMPARED = "; the catalog's other files were not compared"
NO_SUMS = "has no checksums of the site's files; build the site again, so that changes made by hand can be found"


def changes(site: Path, found: Sums, others: Iterable[str]) -> Iterator[str]:
    """Every difference between the files as they are and as they were built.

    `found` are the files of the whole site; `others` are links, pipes and the like, which no build makes.
    """
    root = listed(site / ROOT_LIST)
    lists = {path for path in root if path.endswith(f"/{FILE_LIST}")}
    if not any(root.values()):
        yield _without_root_list(site, found)
        return
    known, untold = {ROOT_LIST, *root}, []
    for path, sum_ in root.items():
        problem = _difference(path, sum_, found)
        if path in lists:
            catalog = path.removesuffix(FILE_LIST)
            sums = {catalog + file: of_file for file, of_file in listed(site / path).items()}
            if problem or not sums or None in sums.values():
                untold.append(catalog)
                problem = (problem or f"{path}: {NO_SUMS}") + NOT_COMPARED
            else:
                known |= sums.keys()
                yield from filter(None, (_difference(file, of_file, found) for file, of_file in sums.items()))
        if problem:
            yield problem
    for catalog in parts(found):
        if f"{catalog}/{FILE_LIST}" not in known:
            untold.append(f"{catalog}/")
            yield f"{catalog}/{FILE_LIST}: {FOREIGN}{NOT_COMPARED}"
    there = (*found, *others)
    yield from _foreign([path for path in there if path not in known and not path.startswith(tuple(untold))])


def _difference(path: str, sum_: str | None, found: Sums) -> str:
    """What is wrong with a file; "" if nothing is."""
    if path not in found:
        return f"{path}: {MISSING}"
    return "" if found[path] == sum_ else f"{path}: {CHANGED}"


def _without_root_list(site: Path, found: Sums) -> str:
    """What to say if the list at the root names no checksum: it was removed or broken, or is of an older version."""
    if any(any(listed(site / catalog / FILE_LIST).values()) for catalog in parts(found)):
        return f"{ROOT_LIST}: {CHANGED if ROOT_LIST in found else MISSING}; no file was compared"
    return f"{ROOT_LIST}: {NO_SUMS}"


def _foreign(paths: list[str]) -> Iterator[str]:
    """A line for each file that no list names; one for all files of a hidden folder, as a stopped build leaves."""
    for path in dict.fromkeys(map(_topmost, paths)):
        yield f"{path}: {FOREIGN}"


def _topmost(path: str) -> str:
    """The first hidden folder of a path; the path itself if there is none."""
    parts = path.split("/")
    depth = next((n for n, part in enumerate(parts, 1) if hidden(part)), len(parts))
    return "/".join(parts[:depth])
