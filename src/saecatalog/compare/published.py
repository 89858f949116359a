"""What a comparison reads of a published catalog: its manifest, its features, and their scores on chosen texts.

The folder of a catalog in a site flows in, frames and a sparse matrix flow out.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int64
from scipy import sparse

from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.catalog import ROW_PAGE
from saecatalog.site.inventory import FILE_LIST, listed
from saecatalog.site.reading import read_manifest, reading
from saecatalog.tables import Tables

FEATURE_COLUMNS = ["feature", "label", "page", "n_active", "density", "density_low", "density_high", "max"]

NEEDED = (
    ("title",),
    *(("model", name) for name in ("name", "weights_sha256")),
    *(("sae", name) for name in ("name", "d_sae", "d_out", "hook", "hook_out", "weights_sha256")),
    *(("corpus", name) for name in ("name", "categories")),
    *(("settings", name) for name in ("text_score", "strong_threshold")),
    *(("health", name) for name in ("silent", "l0_mean", "explained_variance")),
    *(("counts", name) for name in ("texts", "tokens", "features")),
)
"""What a comparison reads of a manifest, and shows."""


@dataclass(frozen=True)
class Side:
    """One of the two catalogs."""

    slug: str
    """Its folder in the site."""
    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder, NEEDED)

    @property
    def d_sae(self) -> int:
        return int(self.manifest["sae"]["d_sae"])

    @cached_property
    def tables(self) -> Tables:
        return Tables(self.folder / "data")

    @cached_property
    def features(self) -> pd.DataFrame:
        """One row per feature of the dictionary, by feature."""
        with reading(self.folder):
            return self.tables.read("features", FEATURE_COLUMNS).set_index("feature", drop=False)

    @cached_property
    def texts(self) -> list[str]:
        """The ids of the texts. An id is made of the category and the content, so equal ids are equal texts."""
        with reading(self.folder):
            found: list[str] = self.tables.read("texts", ["text"])["text"].tolist()
        return found

    @cached_property
    def has_row_page(self) -> bool:
        """Whether it has the page of features without one of their own; catalogs of earlier versions do not."""
        return ROW_PAGE in listed(self.folder / FILE_LIST)

    @property
    def writes_to_stream(self) -> bool:
        """Whether the SAE writes to the residual stream: only then do its features have effects on the logits."""
        with reading(self.folder):
            return int(pq.read_metadata(self.folder / "data/logits.parquet").num_rows) > 0

    def scores(self, texts: list[str]) -> sparse.csc_matrix:
        """The scores `[text, feature]` on some texts, which it is to have; the others are left out."""
        path = self.folder / "data/text_scores.parquet"
        with reading(self.folder):
            table = pq.read_table(path, columns=["text", "feature", "score"], read_dictionary=["text"])
        rows = pc.index_in(table["text"], value_set=pa.array(texts, pa.string()))
        table = table.append_column("row", rows).filter(pc.is_valid(rows))
        row, feature, score = (table[name].to_numpy() for name in ("row", "feature", "score"))
        return sparse.csc_matrix((score, (row, feature)), shape=(len(texts), self.d_sae))

    @cached_property
    def specialists(self) -> pd.DataFrame:
        """The rows of specialists: category, feature and balanced_score, which is above 0."""
        with reading(self.folder):
            frame = self.tables.read("categories", ["category", "feature", "balanced_score"])
        return frame[frame["balanced_score"] > 0]

    @cached_property
    def specialist_of(self) -> list[str]:
        """For each feature, the category with its largest balanced_score above 0; "" if there is none."""
        # Equal scores are rare; the category that comes first in the table then counts.
        best = self.specialists.sort_values("balanced_score", ascending=False, kind="stable").drop_duplicates("feature")
        found = dict(zip(best["feature"].tolist(), best["category"].tolist(), strict=True))
        return [found.get(feature, "") for feature in range(self.d_sae)]


def shared_texts(first: Side, second: Side) -> list[str]:
    """The ids of the texts that both catalogs show, in order."""
    return sorted(set(first.texts) & set(second.texts))


def n_active(scores: sparse.csc_matrix) -> Int64[np.ndarray, "feature"]:
    """On how many of the texts each feature has a score above 0."""
    return np.asarray(np.diff(scores.indptr), np.int64)


def check_comparable(first: Side, second: Side) -> None:
    """Raise CatalogError if the two are one catalog, or not of one model, or score texts in different ways."""
    where = f"{first.slug} and {second.slug}"
    models = [side.manifest["model"] for side in (first, second)]
    if first.slug == second.slug:
        raise CatalogError("A catalog cannot be compared with itself.", first.slug, "Name two catalogs.")
    if models[0]["weights_sha256"] != models[1]["weights_sha256"]:
        names = " and ".join(str(model["name"]) for model in models)
        fix = "Only catalogs of one model can be compared."
        raise CatalogError(f"The two catalogs show different models ({names}).", where, fix)
    kinds = [side.manifest["settings"]["text_score"] for side in (first, second)]
    if kinds[0] != kinds[1]:
        what = f"The two catalogs score texts differently ({kinds[0]} and {kinds[1]})."
        raise CatalogError(what, where, "Build one of them again with the other's --text-score.")
