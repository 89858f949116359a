"""A table's rows by key, grouped once: after one stable sort, every lookup is a slice.

In: a DataFrame and the column to group by. Out: lists of rows as plain Python values. Filtering a DataFrame for each
page would need a pass over the whole table for each of 25,000 pages.
"""

from array import array
from collections import namedtuple
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

Row = Any
"""One row of a table: a named tuple of its columns, numbers and strings as plain Python values."""


class Groups:
    """The rows of `frame` by the values of column `key`; within a key by `rank` if there is one, else in order."""

    def __init__(self, frame: pd.DataFrame, key: str):
        codes, names = pd.factorize(frame[key])
        rank = frame["rank"].to_numpy() if "rank" in frame else np.arange(len(frame))
        order = np.lexsort((rank, codes))
        self._bounds = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
        # Converting to plain values once is several times faster than for each key in turn.
        self._columns = [frame[name].to_numpy()[order].tolist() for name in frame.columns]
        self._make = _maker(tuple(frame.columns))
        self._place: dict[Hashable, int] = {name: i for i, name in enumerate(names.tolist())}

    def __getitem__(self, key: Hashable) -> list[Row]:
        """The rows of `key`; an empty list if it has none."""
        return self.first(key, None)

    def first(self, key: Hashable, most: int | None) -> list[Row]:
        """The first rows of `key`, at most `most`."""
        place = self._place.get(key)
        if place is None:
            return []
        start, end = self._bounds[place], self._bounds[place + 1]
        part = slice(start, end if most is None else min(end, start + most))
        return list(map(self._make, zip(*[values[part] for values in self._columns], strict=True)))

    def __contains__(self, key: Hashable) -> bool:
        return key in self._place

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._place)


class Records(Mapping[Any, Row]):
    """The rows of a table by a column without repeated values; a row is made when it is first needed.

    A list of whole numbers becomes an `array`, so that the data for each token of a long text stays small.
    """

    def __init__(self, frame: pd.DataFrame, key: str):
        # As plain values, the figures of a million features would take some gigabytes.
        self._columns = [frame[name].to_numpy() for name in frame.columns]
        self._make = _maker(tuple(frame.columns))
        self._place: dict[Any, int] = {value: i for i, value in enumerate(frame[key].tolist())}
        self._rows: dict[Any, Row] = {}

    def __getitem__(self, key: Any) -> Row:
        row = self._rows.get(key)
        if row is None:
            place = self._place[key]
            row = self._rows[key] = self._make([_plain(column[place]) for column in self._columns])
        return row

    def __contains__(self, key: object) -> bool:
        return key in self._place

    def __iter__(self) -> Iterator[Any]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)


def _plain(cell: Any) -> Any:
    """A cell as a plain Python value; a list as whole numbers."""
    if isinstance(cell, np.ndarray):
        return array("i", cell.astype(np.int32).tobytes())
    return cell.item() if isinstance(cell, np.generic) else cell


def rows(frame: pd.DataFrame) -> list[Row]:
    """All rows of a table in their order."""
    columns = [frame[name].to_numpy().tolist() for name in frame.columns]
    return list(map(_maker(tuple(frame.columns)), zip(*columns, strict=True)))


def blocks(keys: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The keys in their order, `size` at a time."""
    return (keys[at : at + size] for at in range(0, len(keys), size))


@cache
def _maker(columns: tuple[str, ...]) -> Any:
    """The function that makes a row from its values, in the order of the columns."""
    row_class: Any = namedtuple  # its columns are known at run time only, which mypy does not take
    return row_class("Row", columns)._make
