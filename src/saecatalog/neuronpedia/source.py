"""What an exchange with Neuronpedia starts from: a site's folder flows in, one catalog and its name there flow out.

Neuronpedia names an SAE by a model and a *source*, such as `gpt2-small` and `6-res-jb`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.inventory import MANIFEST
from saecatalog.tables import Tables
from saecatalog.verify.published import find_catalogs

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What Neuronpedia's names consist of; they are also names of folders."""


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

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn the errors of a missing or damaged table into a CatalogError."""
        try:
            yield
        except (pa.ArrowException, FileNotFoundError, KeyError) as error:
            why = str(error).splitlines()[0]
            what = f"The data of this catalog cannot be read ({why})."
            raise CatalogError(what, str(self.folder / "data"), "Build the site again.") from None


def open_catalog(site: Path) -> PublishedCatalog:
    """The catalog in a folder: that of a site with one catalog, or of the catalog itself.

    Raises CatalogError if there is none, if there are several, and for a manifest that cannot be read.
    """
    found = find_catalogs(site)
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise CatalogError("This site has several catalogs.", str(site), f"Give the folder of one: {names}.")
    path = found[0] / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        catalog = PublishedCatalog(found[0], Tables(found[0] / "data"), manifest)
        # All of the manifest that is read here and later.
        _ = (catalog.d_sae, manifest["sae"]["neuronpedia_id"], manifest["corpus"]["name"], manifest["title"])
        _ = (manifest["base_url"], manifest["slug"], manifest["counts"]["tokens"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        what = f"The manifest cannot be read ({type(error).__name__}: {error})."
        raise CatalogError(what, str(path), "Build the site again.") from None
    return catalog


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
