"""Checks that a catalog shows the effects that its tables hold: a site's files flow in, every problem flows out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from saecatalog.site.inventory import MANIFEST, read_mapping

SECTION = "effect"
"""The id of the section of a feature's page that shows its effect."""


def effect_problems(
    site: Path, catalog: str, files: Mapping[str, int], ids: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    """The problems of one catalog whose tables can be read; `ids` has the ids of each page."""
    stated = read_mapping(site / catalog / MANIFEST).get("effects")
    overview, table = f"{catalog}/effects/index.html", f"{catalog}/data/effects.parquet"
    if stated and overview not in files:
        yield f"{overview}: missing, though the catalog was built with effects"
    elif overview in files and not stated:
        yield f"{overview}: the catalog was built without effects"
    measured = set(_measured(site / table))
    wanted = _number_of(stated)
    if wanted is not None and len(measured) != wanted:
        yield f"{table}: has {len(measured)} features, but {catalog}/{MANIFEST} states {wanted}"
    for feature in sorted(measured):
        page = f"{catalog}/features/{feature}.html"
        if page in ids and SECTION not in ids[page]:
            yield f"{page}: does not show the effect of the feature, which {table} has"


def _number_of(stated: Any) -> int | None:
    """How many features have effects by the manifest; None if it does not say."""
    number = stated.get("features", 0) if isinstance(stated, dict) else None if stated else 0
    return number if isinstance(number, int) else None


def _measured(table: Path) -> list[int]:
    rows = pq.read_table(table, columns=["feature", "group_kind"]).to_pydict()
    return [feature for feature, kind in zip(rows["feature"], rows["group_kind"], strict=True) if kind == "all"]
