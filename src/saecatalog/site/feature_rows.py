"""The rows of some features in the tables that grow with the dictionary, for lookup by feature.

In: `Tables` and the features. Out: lists of rows. Pages are made for some thousand features at a time, so that a
process never has the rows of a whole dictionary in memory.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pandas as pd

from saecatalog.site.records import Groups
from saecatalog.tables import Tables

PAIR_COLUMNS = ("n_both", "phi", "decoder_cosine")
"""What a feature's page shows for another feature that fires on the same tokens."""


class FeatureRows:
    """The rows of some features; each table is read and grouped by feature on first use."""

    def __init__(self, tables: Tables, features: Iterable[int]):
        self._tables, self._features = tables, list(features)
        self._groups: dict[tuple[str, tuple[str, ...] | None], Groups] = {}

    def of(self, table: str, columns: tuple[str, ...] | None = None) -> Groups:
        """The rows of a table by feature, with all columns or only these, which must include `feature`."""
        if (table, columns) not in self._groups:
            self._groups[table, columns] = Groups(self._tables.read(table, columns, self._features), "feature")
        return self._groups[table, columns]

    @cached_property
    def partners(self) -> Groups:
        """For each feature, those that fire on the same tokens, by decreasing phi: `other` and `PAIR_COLUMNS`."""
        columns = ("level", "feature_a", "feature_b", *PAIR_COLUMNS)
        pairs = self._tables.read("coactivation", columns, self._features)
        pairs = pairs[pairs["level"] == "token"]
        a, b = pairs["feature_a"].to_numpy(), pairs["feature_b"].to_numpy()
        figures = {name: np.tile(pairs[name].to_numpy(), 2) for name in PAIR_COLUMNS}
        both = pd.DataFrame({"feature": np.concatenate([a, b]), "other": np.concatenate([b, a]), **figures})
        return Groups(both.sort_values(["phi", "other"], ascending=[False, True]), "feature")
