"""Writes comparisons into a site: its folder and the names of catalogs flow in, a page with its tables is added.

The site is changed as a build changes it, completely or not at all, and only if it holds nothing that this program did
not write.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from saecatalog.cache import Cache
from saecatalog.compare import tables
from saecatalog.compare.comparison import compare
from saecatalog.compare.page import PAGE, render
from saecatalog.compare.published import Side
from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.manifest import Manifest
from saecatalog.progress import Progress, notice
from saecatalog.site.comparisons import drop_outdated, find_outdated, folder_of, made_from
from saecatalog.site.inventory import (
    FILE_LIST,
    MANIFEST,
    Files,
    catalogs,
    check_out,
    checksums,
    edited,
    files_below,
    seal,
)
from saecatalog.site.output_folder import output_folder, put
from saecatalog.site.places import catalog_named
from saecatalog.site.publish import manifest_of, publish_root, specialists_of, turn
from saecatalog.site.root_keys import root_made_with, template_digests
from saecatalog.site.templates import check_templates
from saecatalog.workspace import Workspace

STEPS = 4
"""The most steps of a comparison."""


@dataclass(frozen=True)
class Made:
    """A comparison that was written into a site."""

    page: Path
    manifest: Manifest
    counts: Mapping[str, int]
    """Features by status; those of the first catalog, if there are two SAEs."""

    def lines(self) -> list[str]:
        """What was found, and the page to open."""
        first, second = self.manifest["catalogs"]
        found = ", ".join(f"{number:,} {status}" for status, number in self.counts.items())
        texts = f"{self.manifest['shared_texts']:,} shared texts"
        return [f"{first} and {second}: {texts}; features of the first: {found}", f"  {self.page}"]


@dataclass(frozen=True)
class _Place:
    """A site while comparisons are added to it."""

    site: Path
    templates: Path
    files: Files
    workspace: Workspace
    cache: Cache
    progress: Progress


def compare_two(site: Path, names: Sequence[str], templates: Path, cache: Path, progress: Progress) -> Iterator[Made]:
    """Compare two catalogs of a site, in the order of their layers, whatever the order of the names.

    Raises CatalogError, with the site unchanged, if a name fits no catalog, or if the two cannot be compared.
    """
    with _opened(site, templates, cache, progress) as place:
        slugs = [catalog_named(site, place.files, name) for name in names]
        one, other = (Side(slug, site / slug) for slug in slugs)
        yield _add(place, _in_order(one, other))


def compare_all(site: Path, templates: Path, cache: Path, progress: Progress) -> Iterator[Made]:
    """Compare every two catalogs of one model; two that cannot be compared are named and left out.

    Raises CatalogError if there are no two catalogs of one model.
    """
    with _opened(site, templates, cache, progress) as place:
        pairs = [_in_order(*pair) for pair in combinations(_readable(place), 2)]
        models = [[side.manifest["model"]["weights_sha256"] for side in pair] for pair in pairs]
        wanted = [pair for pair, (one, other) in zip(pairs, models, strict=True) if one == other]
        if not wanted:
            what, fix = "The site has no two catalogs of one model.", "Build another catalog into the same --out."
            raise CatalogError(what, str(site), fix)
        for pair in wanted:
            try:
                yield _add(place, pair)
            except CatalogError as error:
                notice(f"not compared: {error}")


@contextmanager
def _opened(site: Path, templates: Path, cache: Path, progress: Progress) -> Iterator[_Place]:
    check_templates(templates)
    if not site.is_dir():
        raise CatalogError("There is no such site folder.", str(site), "Give the folder of a built site with --site.")
    with output_folder(site) as workspace, Cache(cache) as opened:
        yield _Place(site, templates, check_out(site), workspace, opened, progress)


def _readable(place: _Place) -> Iterator[Side]:
    """The catalogs of the site, without those whose manifest is of an earlier version; these are named."""
    for slug in catalogs(place.files):
        side = Side(slug, place.site / slug)
        try:
            _ = side.manifest
        except CatalogError as error:
            notice(f"not compared: {error}")
        else:
            yield side


def _in_order(one: Side, other: Side) -> tuple[Side, Side]:
    """Two catalogs, the lower layer first. Raises CatalogError if a manifest cannot be read."""
    first, second = sorted((one, other), key=_order)
    return first, second


def _order(side: Side) -> tuple[object, ...]:
    layer = side.manifest["sae"].get("layer")
    return layer is None, layer or 0, side.slug


def _add(place: _Place, sides: tuple[Side, Side]) -> Made:
    """Compare two catalogs and put the page into the site."""
    site = place.site
    for side in sides:
        if changed := edited(site, place.files, side.slug):
            what, fix = "A file of a catalog was changed since it was built.", "Build that catalog again."
            raise CatalogError(what, str(site / changed), fix)
    # The root page needs them: what is wrong with any is found before something is written.
    manifests = {slug: manifest_of(site / slug) for slug in catalogs(place.files)}
    specialists = {slug: specialists_of(site / slug) for slug in manifests}
    slugs = [side.slug for side in sides]
    with place.progress.bar("compare", STEPS) as bar:

        def tick(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        found = compare(sides, place.cache, tick)
    manifest = {**found.manifest, "made_from": [made_from(site, slug) for slug in slugs]}
    folder = place.workspace.folder("comparison")
    tables.write(folder / "data", found.tables)
    write_json(folder / MANIFEST, manifest)
    (folder / PAGE).write_bytes(render(manifest, folder / "data", place.templates))
    templates = template_digests(place.templates)
    write_json(folder / FILE_LIST, {"templates": templates, "files": checksums(folder, files_below(folder))})
    target = site / folder_of(slugs)
    put(folder, target, turn)
    place.workspace.remove("comparison")
    seal(target)
    gone = find_outdated(site)
    key, root = root_made_with(templates), place.workspace.folder("root")
    written = [folder_of(slugs)]
    publish_root(site, place.templates, manifests, specialists, written, key, place.files, root, gone)
    drop_outdated(site, place.workspace, gone)
    table = found.tables.get("matches") or found.tables["changes"]
    # The rows of the first catalog come first.
    return Made(target / PAGE, manifest, Counter(list(table["status"])[: sides[0].d_sae]))
