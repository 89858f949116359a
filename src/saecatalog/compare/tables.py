"""The tables of a comparison: every column with its Arrow type and its meaning, and how they are written and read.

Columns flow in, Parquet files in the comparison's folder `data` flow out, and frames flow out of these again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saecatalog.schemas import Schema, described
from saecatalog.tables import in_pandas

LEAST_TEXTS = 5
"""A feature is compared with those of the other catalog if it fires on at least this many of the shared texts."""

_CATALOG = (pa.string(), "Folder of the catalog in the site.")
_FEATURE = (pa.int32(), "Index of the feature in its SAE's dictionary.")
_LABEL = (pa.string(), "Its automatic label in that catalog.")
_PAGE = (pa.string(), "Its page, relative to that catalog's folder; empty if it has none.")
_SPECIALIST = (pa.string(), "The category with its largest balanced_score, if that is above 0; else empty.")

TABLES: dict[str, tuple[str, str]] = {
    "matches": ("Matches", "One row per feature of either catalog: its best match in the other one."),
    "coverage": ("Categories", "How each catalog covers its categories: one row per catalog and category."),
    "changes": ("Changes", "One row per feature of the SAE: its figures on both corpora."),
}  # fmt: skip
"""The title of each table and what it contains."""

SCHEMAS: dict[str, Schema] = {
    "matches": {
        "catalog": _CATALOG,
        "feature": _FEATURE,
        "label": _LABEL,
        "page": _PAGE,
        "n_texts_active": (pa.int32(), "Shared texts on which the feature fires."),
        "status": (pa.string(), f"'matched': the two features are each other's best match, and the correlation is above chance on both sides. 'one way': the best match is above chance, but it has a better one. 'alone': no match above chance. 'rare': not compared, because it fires on fewer than {LEAST_TEXTS} of the shared texts or scores the same on all. 'silent': it fires on none."),
        "match": (pa.int32(), "The feature of the other catalog whose scores on the shared texts correlate most with this one's; -1 if not compared. The smaller index breaks ties."),
        "correlation": (pa.float32(), "Pearson correlation of the text scores of the two; empty if not compared."),
        "chance": (pa.float32(), "The best correlation that 95 % of this catalog's features that fire about as often do not exceed when the texts of one catalog are shuffled; empty if not compared."),
        "mutual": (pa.bool_(), "Whether the match's own best match is this feature."),
        "match_cosine": (pa.float32(), "Cosine of the decoder rows of the feature and its match; empty if not compared or if the decoders cannot be compared."),
        "nearest": (pa.int32(), "The feature of the other catalog whose decoder row is nearest by cosine; -1 if the decoders cannot be compared."),
        "nearest_cosine": (pa.float32(), "That cosine; empty if the decoders cannot be compared."),
        "specialist": _SPECIALIST,
    },
    "coverage": {
        "catalog": _CATALOG,
        "category": (pa.string(), "Category of the catalog's texts."),
        "n_texts": (pa.int32(), "Texts in the category."),
        "specialists": (pa.int32(), "Features with a balanced_score above 0 for the category."),
        "shared": (pa.int32(), "Those of them whose match, or, if both catalogs show one SAE, the feature itself, is a specialist of this category in the other catalog too."),
    },
    "changes": {
        "feature": _FEATURE,
        "label_first": (pa.string(), "Its automatic label in the first catalog."),
        "label_second": (pa.string(), "Its automatic label in the second catalog."),
        "page_first": (pa.string(), "Its page, relative to the first catalog's folder; empty if it has none."),
        "page_second": (pa.string(), "Its page, relative to the second catalog's folder; empty if it has none."),
        "status": (pa.string(), "'both': it fires on both corpora. 'only first', 'only second': on one. 'silent': on neither."),
        "density_first": (pa.float64(), "Share of the first corpus's tokens on which it is active."),
        "density_second": (pa.float64(), "Share of the second corpus's tokens on which it is active."),
        "ratio": (pa.float64(), "density_second / density_first; empty unless it fires on both."),
        "apart": (pa.bool_(), "Whether the 95 % Wilson intervals of the two densities do not overlap."),
        "max_first": (pa.float32(), "Largest activation on the first corpus."),
        "max_second": (pa.float32(), "Largest activation on the second corpus."),
        "specialist_first": (pa.string(), "The category of the first corpus with its largest balanced_score, if that is above 0; else empty."),
        "specialist_second": (pa.string(), "The same for the second corpus."),
    },
}  # fmt: skip

MATCH_STATUSES = ("matched", "one way", "alone", "rare", "silent")
CHANGE_STATUSES = ("both", "only first", "only second", "silent")

KINDS: dict[str, tuple[str, ...]] = {"features": ("matches", "coverage"), "corpora": ("changes", "coverage")}
"""The tables of a comparison of two SAEs, and of one SAE on two corpora."""


def write(data: Path, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the tables of a comparison into a folder."""
    data.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        schema = described(SCHEMAS[name])
        # NaN stays NaN, as in the other tables.
        arrays = [pa.array(columns[field.name], field.type, from_pandas=False) for field in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), data / f"{name}.parquet", compression="zstd")


def read(data: Path, kind: str) -> dict[str, pd.DataFrame]:
    """The tables of a comparison of this kind."""
    return {name: in_pandas(pq.read_table(data / f"{name}.parquet")) for name in KINDS[kind]}
