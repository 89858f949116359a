"""Takes a catalog away from a site: the folder of the site and a name flow in, and the site without the catalog stays.

The comparisons with the catalog go too. First the root page stops naming them, then the folders disappear, each in one
step: at every moment, every link of the root page leads to a catalog. If it is broken off, the same command ends it.
"""

from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.site.comparisons import comparisons_of, drop
from saecatalog.site.inventory import catalogs, check_out, edited
from saecatalog.site.output_folder import output_folder
from saecatalog.site.places import catalog_named
from saecatalog.site.publish import manifest_of, publish_root, specialists_of
from saecatalog.site.root_keys import root_made_with, template_digests


def remove_catalog(site: Path, name: str, templates: Path) -> list[str]:
    """Remove a catalog and its comparisons; returns the folders that were removed.

    Raises CatalogError, with nothing changed, if there is no such catalog, if it is the last one, or if a file of it
    was changed by hand.
    """
    if not site.is_dir():
        raise CatalogError("There is no such site folder.", str(site), "Give the folder of a built site with --site.")
    with output_folder(site) as workspace:
        files = check_out(site)
        slug = catalog_named(site, files, name)
        stays = [other for other in catalogs(files) if other != slug]
        if not stays:
            what = "This is the site's only catalog, and a site has at least one."
            raise CatalogError(what, str(site / slug), f"To remove all of it, delete the folder {site}.")
        if changed := edited(site, files, slug):
            fix = "Move that file away or build the catalog again; nothing was removed."
            raise CatalogError("A file of the catalog was changed since it was built.", str(site / changed), fix)
        gone = [folder for folder, found in comparisons_of(site).items() if slug in (found.get("catalogs") or ())]
        manifests = {other: manifest_of(site / other) for other in stays}
        specialists = {other: specialists_of(site / other) for other in stays}
        key = root_made_with(template_digests(templates))
        publish_root(site, templates, manifests, specialists, [], key, files, workspace.folder("root"), gone)
        drop(site, workspace, gone)
        workspace.discard(site / slug)
        _remove_empty((site / slug).parent, site)
    return [slug, *gone]


def _remove_empty(folder: Path, site: Path) -> None:
    """Remove a folder of the site, and those above it, if nothing is in them."""
    while folder != site and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
