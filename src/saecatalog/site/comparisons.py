"""The comparisons in a site: which there are, what each was made from, and whether that still holds.

In: the folder of a site. Out: the comparisons' manifests, and the reasons why some are outdated. A comparison names the
checksums of the tables that it was made from; those of the catalogs are in their lists, so nothing has to be read.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from saecatalog.manifest import without_paths
from saecatalog.progress import notice
from saecatalog.site.inventory import COMPARE, FILE_LIST, MANIFEST, Sums, comparisons, files_below, listed, read_mapping
from saecatalog.stage_keys import digest
from saecatalog.workspace import Workspace

READ = ("features", "text_scores", "texts", "categories", "logits")
"""The tables of a catalog that a comparison depends on."""

SHOWN = ("title", "model", "sae", "corpus", "settings", "health", "counts")
"""The parts of a catalog's manifest that a comparison repeats."""

Manifest = dict[str, Any]


def folder_of(slugs: Iterable[str]) -> str:
    """The folder of the comparison of two catalogs, relative to the site; no other two have the same."""
    pair = list(slugs)
    name = "--".join(slug.replace("/", ".") for slug in pair)
    if name.replace(".", "/").split("--") != pair:
        # Other catalogs could give this name, but never one with a third part.
        name += f"--{digest(pair)}"
    return f"{COMPARE}/{name}"


def comparisons_of(site: Path) -> dict[str, Manifest]:
    """The manifest of every comparison in a site, by its folder; empty for one that cannot be read."""
    if not (site / COMPARE).is_dir():
        return {}
    folders = comparisons(f"{COMPARE}/{file}" for file in files_below(site / COMPARE))
    return {folder: read_mapping(site / folder / MANIFEST) for folder in folders}


def made_from(site: Path, slug: str) -> Sums:
    """The checksums of a catalog's tables that a comparison depends on, by their names, as its build listed them."""
    sums = listed(site / slug / FILE_LIST)
    return {name: sums.get(f"data/{name}.parquet") for name in READ}


def shown(manifest: Manifest) -> Manifest:
    """What a comparison repeats of a catalog's manifest, without paths of the machine that built it."""
    named = without_paths(manifest)
    return {part: named.get(part) for part in SHOWN}


def outdated(site: Path, comparison: Manifest) -> str:
    """Why a comparison does not fit the catalogs of the site; "" if it does."""
    try:
        for slug, sums, facts in zip(comparison["catalogs"], comparison["made_from"], comparison["facts"], strict=True):
            manifest = read_mapping(site / slug / MANIFEST)
            if not manifest:
                return f"there is no catalog {slug}"
            if made_from(site, slug) != sums or shown(manifest) != facts:
                return f"{slug} was built again since"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "its manifest cannot be read"
    return ""


def drop(site: Path, workspace: Workspace, folders: Iterable[str]) -> None:
    """Remove comparisons from a site, each at once."""
    for folder in folders:
        workspace.discard(site / folder)
    if (site / COMPARE).is_dir() and not any((site / COMPARE).iterdir()):
        (site / COMPARE).rmdir()


def find_outdated(site: Path) -> dict[str, str]:
    """The folders of comparisons that no longer fit the catalogs, and why."""
    reasons = {folder: outdated(site, manifest) for folder, manifest in comparisons_of(site).items()}
    return {folder: why for folder, why in reasons.items() if why}


def drop_outdated(site: Path, workspace: Workspace, found: Mapping[str, str]) -> None:
    """Remove the comparisons that `find_outdated` found, and say so. The root page is no longer to link to them."""
    drop(site, workspace, found)
    for folder, why in found.items():
        notice(f"removed the comparison {folder}, because {why}; 'compare' makes it again")
