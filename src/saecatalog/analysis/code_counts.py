"""How often features are active on the codes of a family: active entries flow in, sums per code or range flow out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from scipy import sparse

from saecatalog.analysis.activations import order_within, runs
from saecatalog.analysis.readings import Family, Readings
from saecatalog.analysis.rules import FAMILIES, POSITIONS, STEMS, stem_bounds

DENSE_CODES = 80
"""A family with at most this many codes is counted in a dense array, which takes no sorting."""


@dataclass(frozen=True)
class Coded:
    """A family of a corpus and how often its codes occur."""

    family: Family
    codes: Int32[np.ndarray, "token"]
    """-1 if the token has none."""
    occurrences: Int64[np.ndarray, "2 code"]
    """Number of included tokens with each code: in the first half of the texts, and in all texts."""
    second: sparse.csr_matrix
    """`[code, text]`: the included tokens with each code in each text of the second half."""

    @classmethod
    def of(cls, family: Family, included: Bool[np.ndarray, "token"], texts: Int32[np.ndarray, "token"],
           second: Bool[np.ndarray, "text"]) -> "Coded":  # fmt: skip
        """Count a family; a family without names is that of positions."""
        codes = family.codes if family.names else np.minimum(family.codes, np.int32(POSITIONS))
        n_codes = len(family.names) or POSITIONS + 1
        counted = included & (codes >= 0)
        later = second[texts]
        counts = [np.bincount(codes[which], minlength=n_codes) for which in (counted & ~later, counted)]
        mine = counted & later
        ones = np.ones(int(mine.sum()), np.float64)
        by_text = sparse.csr_matrix((ones, (codes[mine], texts[mine])), shape=(n_codes, len(second)))
        return cls(family, codes, np.stack(counts), by_text)

    @property
    def n_codes(self) -> int:
        return int(self.occurrences.shape[1])

    @cached_property
    def stems(self) -> dict[int, tuple[Int64[np.ndarray, "code"], Int64[np.ndarray, "code"]]]:
        """`stem_bounds` of the family for each length that is tried."""
        return {length: stem_bounds(self.family, length) for length in STEMS}

    @cached_property
    def occurrences_before(self) -> Int64[np.ndarray, "2 code_plus_1"]:
        """The occurrences of all smaller codes."""
        return np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(self.occurrences, axis=1)], axis=1)


def code_all(
    readings: Readings,
    included: Bool[np.ndarray, "token"],
    texts: Int32[np.ndarray, "token"],
    second: Bool[np.ndarray, "text"],
) -> dict[str, Coded]:
    """Every family of a corpus, counted."""
    names = dict.fromkeys(FAMILIES.values())
    return {name: Coded.of(readings[name], included, texts, second) for name in names}


@dataclass(frozen=True)
class Entries:
    """Active entries of a block of features, feature by feature; tokens ascend within a feature."""

    columns: Int32[np.ndarray, "entry"]
    tokens: Int32[np.ndarray, "entry"]
    values: Float32[np.ndarray, "entry"]
    width: int
    """Number of features."""

    @cached_property
    def n_active(self) -> Int64[np.ndarray, "feature"]:
        return np.bincount(self.columns, minlength=self.width)

    @cached_property
    def totals(self) -> Float64[np.ndarray, "feature"]:
        """The sum of each feature's activations."""
        return np.bincount(self.columns, self.values.astype(np.float64), minlength=self.width)

    def chosen(self, which: Bool[np.ndarray, "entry"]) -> "Entries":
        """Some of the entries."""
        return Entries(self.columns[which], self.tokens[which], self.values[which], self.width)


@dataclass(frozen=True)
class Pairs:
    """Every pair of a feature and a code that it is active on, ordered by feature, then code."""

    columns: Int64[np.ndarray, "pair"]
    codes: Int64[np.ndarray, "pair"]
    n_active: Int64[np.ndarray, "pair"]
    totals: Float64[np.ndarray, "pair"]
    n_codes: int

    @cached_property
    def _keys(self) -> Int64[np.ndarray, "pair"]:
        return np.asarray(self.columns * (self.n_codes + 1) + self.codes)

    @cached_property
    def _before(self) -> tuple[Int64[np.ndarray, "pair_plus_1"], Float64[np.ndarray, "pair_plus_1"]]:
        return np.append(0, np.cumsum(self.n_active)), np.append(0.0, np.cumsum(self.totals))

    def within(
        self, low: Int64[np.ndarray, "feature"], high: Int64[np.ndarray, "feature"]
    ) -> tuple[Int64[np.ndarray, "feature"], Float64[np.ndarray, "feature"]]:
        """For each feature, its active entries with codes from `low` up to `high`, and their activation."""
        start = np.arange(len(low)) * (self.n_codes + 1)
        first, stop = np.searchsorted(self._keys, start + low), np.searchsorted(self._keys, start + high)
        n_active, totals = self._before
        return n_active[stop] - n_active[first], totals[stop] - totals[first]


def count_pairs(entries: Entries, coded: Coded) -> Pairs:
    """Count and sum the entries by feature and code."""
    code = coded.codes[entries.tokens]
    if coded.n_codes <= DENSE_CODES:
        return _count_dense(entries, code, coded.n_codes)
    known = code >= 0
    columns, code, values = entries.columns[known], code[known], entries.values[known]
    order = order_within(columns, code.view(np.uint32))
    code = code[order]
    # `columns` is unchanged, because it is the first key of the order.
    starts = runs(columns, code) if len(code) else np.empty(0, np.int64)
    n_active = np.diff(np.append(starts, len(code)))
    pair = np.repeat(np.arange(len(starts)), n_active)
    totals = np.bincount(pair, values[order].astype(np.float64), minlength=len(starts))
    return Pairs(columns[starts].astype(np.int64), code[starts].astype(np.int64), n_active, totals, coded.n_codes)


def _count_dense(entries: Entries, code: Int32[np.ndarray, "entry"], n_codes: int) -> Pairs:
    # Tokens without a code are counted in a column of their own, which is then left out.
    place = entries.columns * np.int64(n_codes + 1) + np.where(code < 0, n_codes, code)
    size = entries.width * (n_codes + 1)
    n_active = np.bincount(place, minlength=size).reshape(-1, n_codes + 1)[:, :n_codes]
    totals = np.bincount(place, entries.values.astype(np.float64), minlength=size).reshape(-1, n_codes + 1)
    columns, codes = np.nonzero(n_active)
    return Pairs(columns, codes, n_active[columns, codes], totals[columns, codes], n_codes)
