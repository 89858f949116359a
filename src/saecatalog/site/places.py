"""Where a catalog stands in a site: the folder for one that is built, and the one that a user means by a name.

In: the files of a site, and a manifest or a user's words. Out: the catalog's folder, relative to the site.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError, nearest
from saecatalog.names import slug as file_name
from saecatalog.site.inventory import COMPARE, MANIFEST, catalogs, read_mapping
from saecatalog.stage_keys import digest


def place_of(out: Path, files: Iterable[str], manifest: Mapping[str, Any]) -> str:
    """The folder of a catalog in a site: the one that holds it already, or else one that is free.

    A catalog is known by the names of its model, SAE and corpus; or by their weights and the corpus, because a folder
    has other names in other working folders. A second corpus, or another SAE whose folder has the same name, does not
    take the place of the first.
    """
    standing = {slug: read_mapping(out / slug / MANIFEST) for slug in catalogs(files)}
    # A model may have any name, but this folder is that of the comparisons.
    names, first = _names(manifest), re.sub(rf"^{COMPARE}(?=/)", f"{COMPARE}-model", str(manifest["slug"]))
    # Manifests of earlier versions do not name the corpus.
    known = [
        slug
        for slug, other in standing.items()
        if _names(other) in (names, (*names[:2], "")) or _weights(other) == _weights(manifest) != ()
    ]
    known.sort(key=lambda slug: slug != first)
    named = f"{first}-{file_name(names[-1])}"
    free = (slug for slug in (first, named, f"{named}-{digest(names)[:8]}") if slug not in standing)
    return known[0] if known else next(free)


def _names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What a catalog is known by. Empty for a manifest that cannot be read, so that it is no other catalog's."""
    parts = (("model", "name"), ("sae", "name"), ("corpus", "name"))
    if not all(isinstance(manifest.get(part), Mapping) for part, _ in parts):
        return ()
    # The same folder can be written as `runs/a` and as `./runs/a`.
    return tuple(re.sub(r"^\./|(?<=/)\./|/+$", "", str(manifest[part].get(name, ""))) for part, name in parts)


def _weights(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The hashes of model and SAE with the ends of their names, and the corpus. Empty if one of them is missing."""
    parts = (("model", "weights_sha256"), ("sae", "weights_sha256"), ("sae", "settings_hash"))
    if not _names(manifest) or not all(manifest[part].get(name) for part, name in parts):
        return ()
    model, sae, corpus = _names(manifest)
    ends = (name.rpartition("/")[2] for name in (model, sae))
    return (*ends, corpus, *(str(manifest[part][name]) for part, name in parts))


def catalog_named(site: Path, files: Iterable[str], word: str) -> str:
    """The catalog of a site that a user means: by its folder in the site, by a path to that folder, or by a beginning.

    Raises CatalogError, with similar names, if there is none or more than one.
    """
    known, wanted = catalogs(files), word.replace("\\", "/").strip("/")
    if wanted in known:
        return wanted
    inside = _inside(site, word)
    if inside in known:
        return inside
    found = [slug for slug in known if slug.startswith(wanted)] if wanted else []
    if len(found) == 1:
        return found[0]
    if found:
        raise CatalogError(f"More than one catalog begins with '{word}'.", str(site), f"Name one: {', '.join(found)}.")
    hint = nearest(wanted, known) or f"Its catalogs: {', '.join(known) or 'none'}."
    raise CatalogError(f"The site has no catalog '{word}'.", str(site), hint)


def _inside(site: Path, word: str) -> str:
    """A path that leads into the site, relative to the site; "" for any other."""
    path, root = Path(word).resolve(), site.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
