"""A published catalog: its folder flows in, its manifest, its tables and their problems flow out.

Nothing is assumed: a file may be missing, truncated, or from another version of the program.
"""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saecatalog.errors import CatalogError
from saecatalog.schemas import SCHEMAS, arrow_schema, same_type
from saecatalog.site.inventory import MANIFEST
from saecatalog.tables import in_pandas
from saecatalog.verify.report import Report

PARTS: dict[str, tuple[str, ...]] = {
    "model": ("name", "source", "d_model", "n_layers", "weights_sha256"),
    "sae": ("name", "architecture", "d_in", "d_sae", "hook", "prepend_bos", "weights_sha256"),
    "corpus": ("sha256", "texts", "tokens", "categories", "concepts"),
    "settings": ("text_score", "strong", "strong_threshold", "top", "outlier_multiple", "context", "dtype"),
    "health": ("norm_limit", "norm_median", "l0_mean", "l0_std", "explained_variance", "silent", "excluded_positions"),
    "counts": ("texts", "tokens", "features", "features_fired", "notable"),
}
"""What a manifest must contain so that its catalog can be recomputed."""


LATER: dict[str, dict[str, object]] = {
    "texts": {"title": "", "link": "", "special_tokens": False},
    "concept_texts": {"special_tokens": False},
}
"""Columns that a catalog of an earlier version lacks, and what they would hold."""

PART_OF = {
    "explanations": "explanations",
    "effects": "effects",
    "effect_contexts": "effects",
    "effect_tokens": "effects",
}
"""Tables that a catalog of an earlier version lacks, and the part of the manifest that it lacks with them."""

Manifest = dict[str, Any]
"""The manifest of a catalog, or a part of it: JSON has no narrower type."""


class Row(SimpleNamespace):
    """One row of a table: its columns as attributes, numbers and strings as plain Python values."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a table, in order."""
    columns = [frame[name].to_numpy().tolist() for name in frame.columns]
    return [Row(**dict(zip(frame.columns, values, strict=True))) for values in zip(*columns, strict=True)]


def parts_of(frame: pd.DataFrame, column: str) -> dict[Any, pd.DataFrame]:
    """The rows for each value of a column, in order; the keys are strings or numbers, like the column."""
    values = frame[column].to_numpy()
    places = pd.Series(np.arange(len(frame))).groupby(values, sort=False).indices
    return {key: frame.iloc[rows] for key, rows in places.items()}


class Published(Mapping[str, pd.DataFrame]):
    """One catalog: `published["features"]` is a table with exactly the columns of its schema, in their order.

    A table that is missing, unreadable or without one of its columns is not in the mapping; `problems` says why.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = _read_manifest(folder / MANIFEST)
        self.problems: dict[str, list[str]] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        for name in SCHEMAS:
            table = self._with_later(name, _read(folder / "data" / f"{name}.parquet"))
            if isinstance(table, str):
                self.problems[name] = [table]
            elif problems := _schema_problems(table, name):
                self.problems[name] = problems
            else:
                self._tables[name] = self._known(name, in_pandas(table.select(list(SCHEMAS[name]))))

    def _with_later(self, name: str, table: pa.Table | str) -> pa.Table | str:
        """A table with the columns that were not there yet when this catalog was built; the table itself may not be."""
        if name in PART_OF and PART_OF[name] not in self.manifest:
            return arrow_schema(name).empty_table()
        if isinstance(table, str) or "special_tokens" in self.settings:
            return table
        for column, value in LATER.get(name, {}).items():
            if column not in table.schema.names:
                cells = pa.array([value] * len(table), arrow_schema(name).field(column).type)
                table = table.append_column(column, cells)
        return table

    def _known(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """The table without rows about features outside the dictionary."""
        columns = [c for c in ("feature", "feature_a", "feature_b", "neighbour") if c in table]
        known = table[columns].isin(range(self.d_sae)).all(axis=1)
        for row in table.loc[~known, columns].to_numpy().tolist():
            self.problems.setdefault(name, []).append(f"a row is about feature {row}, outside the dictionary")
        return table[known].reset_index(drop=True)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def settings(self) -> Manifest:
        return dict(self.manifest["settings"])

    @property
    def d_sae(self) -> int:
        return int(self.manifest["sae"]["d_sae"])

    def report_problems(self, report: Report) -> None:
        """Report every table that cannot be checked."""
        for name, problems in self.problems.items():
            for problem in problems:
                report.at(name).holds(False, "", problem)


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        missing = [f"{part}.{key}" for part, keys in PARTS.items() for key in keys if key not in manifest[part]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CatalogError("The manifest cannot be read.", str(path), f"{type(error).__name__}: {error}") from None
    if missing:
        fix = "Another version of the program built this site; verify it with that version."
        raise CatalogError(f"The manifest lacks {', '.join(missing)}.", str(path), fix)
    return dict(manifest)


def _read(path: Path) -> pa.Table | str:
    """A table, or why there is none."""
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        return "the file is missing"
    except (pa.ArrowException, OSError) as error:
        return f"the file cannot be read ({str(error).splitlines()[0]})"


def _schema_problems(table: pa.Table, name: str) -> list[str]:
    """Columns that are missing, have another type, or have empty cells that are not allowed."""
    problems = []
    for wanted in arrow_schema(name):
        if wanted.name not in table.schema.names:
            problems.append(f"{name}.parquet has no column {wanted.name}")
        elif not same_type(table.schema.field(wanted.name).type, wanted.type):
            problems.append(f"column {wanted.name} is {table.schema.field(wanted.name).type}, not {wanted.type}")
        elif table[wanted.name].null_count and not pa.types.is_floating(wanted.type):
            problems.append(f"column {wanted.name} has empty cells")
    return problems


def choose_features(published: Published, n: int) -> list[int]:
    """The features to check in full, ascending; always the same ones for the same corpus.

    They include the strongest, the densest, a silent and the rarest feature. The rest are drawn from the features that
    fired, every second one from those with a page.
    """
    generator = random.Random(str(published.manifest["corpus"]["sha256"]))
    everything = list(range(published.d_sae))
    if "features" not in published:
        return sorted(generator.sample(everything, min(n, published.d_sae)))
    rows = sorted(rows_of(published["features"]), key=lambda row: int(row.feature))
    fired = [row for row in rows if row.n_active > 0]
    paged, others = [row.feature for row in fired if row.page], [row.feature for row in fired]
    generator.shuffle(paged)
    generator.shuffle(others)
    turns = [feature for pair in zip(paged, others, strict=False) for feature in pair]
    chosen = dict.fromkeys([*_landmarks(rows, fired), *turns, *others, *everything])
    return sorted(list(chosen)[:n])


def _landmarks(rows: list[Row], fired: list[Row]) -> list[int]:
    """The strongest, the densest, a silent and the rarest feature, if they exist."""
    silent = [row.feature for row in rows if row.n_active == 0][:1]
    if not fired:
        return silent
    strongest, densest = max(fired, key=lambda r: float(r.max)), max(fired, key=lambda r: int(r.n_active))
    rarest = min(fired, key=lambda r: int(r.n_active))
    return [strongest.feature, densest.feature, *silent, rarest.feature]
