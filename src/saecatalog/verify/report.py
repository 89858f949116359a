"""What the checks found: published and recomputed figures flow in, counts and disagreements flow out.

Every check speaks of one place at a time (`report.at("features", "feature 12")`) and compares column by column, so
that a disagreement always names its table, its place and its column.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Number = float | int | None
Value = Number | str
EXACT = 1e-9
"""Relative difference of two float64 figures that are made in the same way from the same numbers."""

SINGLE = 1e-6
"""The same where one of them is kept as float32, or rounded to six digits."""


@dataclass(frozen=True)
class Disagreement:
    """One figure that did not come out as published."""

    table: str
    """File in the catalog's data folder, or the page."""
    where: str
    """The feature, text, category ... it is about; empty for the whole file."""
    column: str
    published: str
    """As published; empty where `recomputed` is a sentence that says what is wrong."""
    recomputed: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.table, self.where, self.column) if part)
        if not self.published:
            return f"{place}: {self.recomputed}"
        return f"{place}: published {self.published}, recomputed {self.recomputed}"


@dataclass
class Report:
    """Collects figures checked and disagreements found."""

    checked: int = 0
    found: list[Disagreement] = field(default_factory=list)

    def at(self, table: str, where: str = "") -> "Checker":
        """What compares figures at one place of a table."""
        return Checker(self, f"{table}.parquet" if "." not in table else table, where)

    def every(self, good: np.ndarray, tell: Callable[[int], Disagreement]) -> None:
        """Many figures at once; `tell` makes the disagreement of one that is not good."""
        self.checked += len(good)
        self.found += [tell(int(i)) for i in np.flatnonzero(~good)]


@dataclass(frozen=True)
class Checker:
    """Compares the figures of one place, such as a feature or a text, and reports what differs."""

    report: Report
    table: str
    where: str

    def same(self, column: str, published: Value, recomputed: Value) -> None:
        """The two must be equal."""
        self._add(column, published == recomputed, show(published), show(recomputed))

    def close(self, column: str, published: Number, recomputed: float, rtol: float = SINGLE, atol: float = 0.0) -> None:
        """The two must be equal but for rounding; an empty figure is equal to none."""
        good = published is not None and is_close(float(published), float(recomputed), rtol, atol)
        self._add(column, good, show(published), show(recomputed))

    def within(
        self, column: str, published: Number, low: float, high: float, rtol: float = 0.0, atol: float = 0.0
    ) -> None:
        """The published figure must lie between two, but for rounding."""
        slack = rtol * max(abs(low), abs(high)) + atol
        good = published is not None and low - slack <= published <= high + slack
        wanted = show(low) if low == high else f"between {show(low)} and {show(high)}"
        self._add(column, good, show(published), wanted)

    def lists(self, column: str, published: Sequence[Value], recomputed: Sequence[Value]) -> None:
        """Two lists must be equal, entry by entry."""
        self._add(column, list(published) == list(recomputed), show_list(published), show_list(recomputed))

    def holds(self, good: bool, column: str, problem: str) -> None:
        """A property that must hold; `problem` says what is wrong where it does not."""
        self._add(column, good, "", problem)

    def _add(self, column: str, good: bool, published: str, recomputed: str) -> None:
        self.report.checked += 1
        if not good:
            self.report.found.append(Disagreement(self.table, self.where, column, published, recomputed))


def is_close(a: float, b: float, rtol: float, atol: float = 0.0) -> bool:
    """Equal but for rounding; infinities are equal to themselves, and so are two empty figures."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= rtol * max(abs(a), abs(b)) + atol


def show(value: Value) -> str:
    """A figure as a line of the report shows it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "nothing"
    if isinstance(value, str):
        return repr(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def show_list(values: Sequence[Value]) -> str:
    """The beginning of a list."""
    first = ", ".join(show(v) for v in list(values)[:12])
    return f"[{first}{', ...' if len(values) > 12 else ''}]"
