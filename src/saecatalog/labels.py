"""Labels from a built catalog: a site's folder and a subject flow in, the labels of its features flow out."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.inventory import MANIFEST, catalogs, files_below
from saecatalog.subject_info import SubjectInfo
from saecatalog.tables import Tables


@dataclass(frozen=True)
class Labels:
    """The label of each feature, and the folder of the catalog that gave it."""

    folder: Path
    names: pd.Series
    """By feature; "" where the feature has none."""


def wanted_labels(named: Path | None, built: Path, info: SubjectInfo) -> Labels | None:
    """The labels of the site that the user names, or else of the one that is built, which may have none.

    Raises CatalogError if a catalog cannot be read, or if the named site has none of this model and SAE.
    """
    labels = find_labels(named or built, info)
    if named and labels is None:
        what = f"This folder has no catalog of {info.sae_name} on {info.model_name}."
        raise CatalogError(what, f"--site {named}", "Name the folder of a built site, or leave out --site.")
    return labels


def find_labels(site: Path, info: SubjectInfo) -> Labels | None:
    """The labels of the first catalog of a site that shows this model and SAE; None if there is none.

    Raises CatalogError if a catalog of the site cannot be read.
    """
    for slug in sorted(catalogs(files_below(site))) if site.is_dir() else ():
        folder = site / slug
        try:
            if _is_of(json.loads((folder / MANIFEST).read_text(encoding="utf-8")), info):
                frame = Tables(folder / "data").read("features", ["feature", "label"])
                return Labels(folder, frame.set_index("feature")["label"])
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
            what = f"The labels of this catalog cannot be read ({type(error).__name__}: {error})."
            raise CatalogError(what, str(folder), "Build it again, or name another --site.") from None
    return None


def _is_of(manifest: Manifest, info: SubjectInfo) -> bool:
    """Whether a catalog was built from this model and SAE; how it was run does not matter."""
    model, sae = manifest["model"], manifest["sae"]
    found = (model["weights_sha256"], sae["weights_sha256"], sae["hook"])
    return bool(found == (info.model_sha256, info.sae_sha256, info.hook))


def with_labels(frame: pd.DataFrame, labels: pd.Series | None) -> pd.DataFrame:
    """A table with the column `label` after `feature`, from the labels by feature; "" if there are none."""
    names = "" if labels is None else frame["feature"].map(labels).astype(object)
    labelled = frame.copy()
    labelled.insert(list(frame.columns).index("feature") + 1, "label", names)
    return labelled
