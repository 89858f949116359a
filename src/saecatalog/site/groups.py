"""A table's rows by key, grouped once: one stable sort, then every lookup is a slice.

In: a DataFrame and the column to group by. Out: lists of rows as plain Python values. Filtering a DataFrame for
each page would cost a pass over the whole table for each of 25,000 pages.
"""

from collections.abc import Hashable, Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd


class Row(SimpleNamespace):
    """One row of a table: its columns as attributes, numbers and strings as plain Python values."""


class Groups:
    """The rows of `frame` by the values of column `key`; within a key by `rank` where there is one, else in order."""

    def __init__(self, frame: pd.DataFrame, key: str):
        codes, names = pd.factorize(frame[key])
        rank = frame["rank"].to_numpy() if "rank" in frame else np.arange(len(frame))
        order = np.lexsort((rank, codes))
        self._bounds = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
        self._columns = {name: frame[name].to_numpy()[order] for name in frame.columns}
        self._place: dict[Hashable, int] = {name: i for i, name in enumerate(names.tolist())}

    def __getitem__(self, key: Hashable) -> list[Row]:
        """The rows of `key`; an empty list where it has none."""
        place = self._place.get(key)
        if place is None:
            return []
        part = slice(self._bounds[place], self._bounds[place + 1])
        columns = [values[part].tolist() for values in self._columns.values()]
        return [Row(**dict(zip(self._columns, values, strict=True))) for values in zip(*columns, strict=True)]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._place

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._place)


def rows(frame: pd.DataFrame) -> list[Row]:
    """All rows of a table in their order."""
    columns = [frame[name].to_numpy().tolist() for name in frame.columns]
    return [Row(**dict(zip(frame.columns, values, strict=True))) for values in zip(*columns, strict=True)]
