"""The results of the checks: published and recomputed figures flow in, counts and mismatches flow out.

Every check selects a place (`report.at("features", "feature 12")`) and compares it column by column, so that a mismatch
always names its table, its place and its column.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Number = float | int | None
Value = Number | str
EXACT = 1e-9
"""Allowed relative difference of two float64 figures that are computed in the same way from the same numbers."""

SINGLE = 1e-6
"""The same if one of them is stored as float32 or rounded to six digits."""


@dataclass(frozen=True)
class Disagreement:
    """One mismatch: a figure that differs from the published one."""

    table: str
    """File in the catalog's data folder, or the page."""
    where: str
    """The feature, text, category ... that it is about; empty for the whole file."""
    column: str
    published: str
    """The published figure; empty if `recomputed` is a sentence that says what is wrong."""
    recomputed: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.table, self.where, self.column) if part)
        if not self.published:
            return f"{place}: {self.recomputed}"
        return f"{place}: published {self.published}, recomputed {self.recomputed}"


@dataclass
class Report:
    """Counts the figures checked and collects the mismatches."""

    checked: int = 0
    found: list[Disagreement] = field(default_factory=list)

    def at(self, table: str, where: str = "") -> "Checker":
        """A checker for one place of a table."""
        return Checker(self, f"{table}.parquet" if "." not in table else table, where)

    def every(self, good: np.ndarray, tell: Callable[[int], Disagreement]) -> None:
        """Check many figures at once; `tell` returns the mismatch of one that is not good."""
        self.checked += len(good)
        self.found += [tell(int(i)) for i in np.flatnonzero(~good)]


@dataclass(frozen=True)
class Checker:
    """Compares the figures of one place, such as a feature or a text, and reports mismatches."""

    report: Report
    table: str
    where: str

    def same(self, column: str, published: Value, recomputed: Value) -> None:
        """The two must be equal."""
        self._add(column, published == recomputed, show(published), show(recomputed))

    def close(self, column: str, published: Number, recomputed: float, rtol: float = SINGLE, atol: float = 0.0) -> None:
        """The two must be equal except for rounding; a missing figure equals nothing."""
        good = published is not None and is_close(float(published), float(recomputed), rtol, atol)
        self._add(column, good, show(published), show(recomputed))

    def within(
        self, column: str, published: Number, low: float, high: float, rtol: float = 0.0, atol: float = 0.0
    ) -> None:
        """The published figure must be between two values, except for rounding."""
        slack = rtol * max(abs(low), abs(high)) + atol
        good = published is not None and low - slack <= published <= high + slack
        wanted = show(low) if low == high else f"between {show(low)} and {show(high)}"
        self._add(column, good, show(published), wanted)

    def lists(self, column: str, published: Sequence[Value], recomputed: Sequence[Value]) -> None:
        """Two lists must be equal, entry by entry."""
        self._add(column, list(published) == list(recomputed), show_list(published), show_list(recomputed))

    def holds(self, good: bool, column: str, problem: str) -> None:
        """A property must hold; `problem` says what is wrong if it does not."""
        self._add(column, good, "", problem)

    def _add(self, column: str, good: bool, published: str, recomputed: str) -> None:
        self.report.checked += 1
        if not good:
            self.report.found.append(Disagreement(self.table, self.where, column, published, recomputed))


def is_close(a: float, b: float, rtol: float, atol: float = 0.0) -> bool:
    """Whether two figures are equal except for rounding. Infinity equals itself, and NaN equals NaN."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= rtol * max(abs(a), abs(b)) + atol


def show(value: Value) -> str:
    """A figure as shown in a line of the report."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "nothing"
    if isinstance(value, str):
        return repr(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def show_list(values: Sequence[Value]) -> str:
    """The beginning of a list."""
    first = ", ".join(show(v) for v in list(values)[:12])
    return f"[{first}{', ...' if len(values) > 12 else ''}]"
