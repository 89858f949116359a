"""Opens published catalogs: a folder flows in; the folders of its catalogs, or a manifest with known parts, flow out.

A catalog may be damaged or of an earlier version. Its tables are read inside `reading`, so that this is one error that
names the catalog.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.inventory import MANIFEST, catalogs, files_below, parts

AGAIN = "It is damaged, or built by an earlier version: build it again."


def find_catalogs(site: Path) -> list[Path]:
    """The catalogs of a site, or the one whose folder was given; raises CatalogError if there is none."""
    if not site.is_dir():
        raise CatalogError("The site folder does not exist.", str(site), "Use the folder of a built site.")
    files = files_below(site)
    if "site" in parts(f"site/{file}" for file in files):
        return [site]
    found = [site / slug for slug in catalogs(files)]
    if not found:
        raise CatalogError(
            "This folder contains no catalog.", f"{site}: no {MANIFEST} below it", "Use the folder of a built site."
        )
    return found


def read_manifest(catalog: Path, needed: Iterable[tuple[str, ...]]) -> Manifest:
    """The manifest of a catalog; `needed` are the paths of keys in it that the caller reads.

    Raises CatalogError if it cannot be read or lacks one of them.
    """
    path = catalog / MANIFEST
    try:
        manifest: Manifest = json.loads(path.read_text(encoding="utf-8"))
        for keys in needed:
            value = manifest
            for key in keys:
                value = value[key]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        what = f"The manifest of this catalog cannot be read ({type(error).__name__}: {error})."
        raise CatalogError(what, str(path), AGAIN) from None
    return manifest


@contextmanager
def reading(catalog: Path) -> Iterator[None]:
    """Turn the errors of a missing or damaged table, and of a missing column, into a CatalogError."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        why = (str(error).splitlines() or [""])[0]
        what = f"A table of this catalog cannot be read ({type(error).__name__}: {why})."
        raise CatalogError(what, str(catalog / "data"), AGAIN) from None
