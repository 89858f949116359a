"""What an exchange with Neuronpedia starts from: a site's folder flows in, one catalog and its name there flow out.

Neuronpedia names an SAE by a model and a *source*, such as `gpt2-small` and `6-res-jb`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.reading import find_catalogs, read_manifest
from saecatalog.tables import Tables

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What Neuronpedia's names consist of; they are also names of folders."""

NEEDED = (
    ("sae", "d_sae"),
    ("sae", "neuronpedia_id"),
    ("corpus", "name"),
    ("counts", "tokens"),
    ("title",),
    ("base_url",),
    ("slug",),
)
"""What is read of a manifest, here and later."""


@dataclass(frozen=True)
class Source:
    """An SAE by its name on Neuronpedia."""

    model: str
    id: str

    def __str__(self) -> str:
        return f"{self.model}/{self.id}"

    @property
    def set_name(self) -> str | None:
        """The source set, such as `res-jb`: the id without the layer and without the suffix of one SAE of several."""
        return self.id.partition("-")[2].partition("__")[0] or None

    def page(self, feature: int) -> str:
        """The address of a feature."""
        return f"https://www.neuronpedia.org/{self}/{feature}"


@dataclass(frozen=True)
class PublishedCatalog:
    """One catalog of a built site."""

    folder: Path
    tables: Tables
    manifest: Manifest

    @property
    def d_sae(self) -> int:
        return int(self.manifest["sae"]["d_sae"])


def open_catalog(site: Path) -> PublishedCatalog:
    """The catalog in a folder: that of a site with one catalog, or of the catalog itself.

    Raises CatalogError if there is none, if there are several, and for a manifest that cannot be read.
    """
    found = find_catalogs(site)
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise CatalogError("This site has several catalogs.", str(site), f"Give the folder of one: {names}.")
    return PublishedCatalog(found[0], Tables(found[0] / "data"), read_manifest(found[0], NEEDED))


def source_of(catalog: PublishedCatalog, model: str | None, source: str | None) -> Source:
    """The name of a catalog's SAE on Neuronpedia: as given, or that of its manifest.

    Raises CatalogError if it has none there and none is given, and for a name that Neuronpedia would not take.
    """
    known = str(catalog.manifest["sae"]["neuronpedia_id"] or "").partition("/")
    found = Source(model or known[0], source or known[2])
    for flag, name in (("--model-id", found.model), ("--source-id", found.id)):
        if not name:
            what = "This SAE has no Neuronpedia id, so it needs the names of a model and a source."
            raise CatalogError(what, str(catalog.folder), "Add --model-id and --source-id (gpt2-small and 6-res-jb).")
        if not NAME.fullmatch(name):
            fix = "Use letters, digits, '.', '_' and '-'."
            raise CatalogError("This is not a name that Neuronpedia takes.", f"{flag} {name}", fix)
    return found
