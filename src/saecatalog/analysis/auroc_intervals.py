"""How sure an AUROC is: text scores and their sources flow in, an interval per category and feature flows out.

Texts cut from one file are alike, so they say less than as many texts from different files. The unit that counts is
therefore the source: a file, or the text itself where a category or the rest of the corpus comes from one file only and
nothing can be said about how files differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Num
from scipy import sparse, stats

from saecatalog.analysis.activations import order_within, runs
from saecatalog.analysis.statistics import Z95, wilson
from saecatalog.analysis.text_groups import Cells, TextGroups, columns_of

PART = 2_000_000
"""Pairs of an active text and a category that are looked at together."""

Ends = tuple[Float64[np.ndarray, "cell"], Float64[np.ndarray, "cell"]]


@dataclass(frozen=True)
class Sources:
    """Which texts come from one source."""

    groups: TextGroups
    member: Int64[np.ndarray, "text"]
    """Index of each text's source, from 0 without gaps."""

    @classmethod
    def of(cls, groups: TextGroups, files: list[str]) -> "Sources":
        """The files of the texts as sources; a text without one ("") is a source of its own."""
        keys = [("file", file) if file else ("text", str(place)) for place, file in enumerate(files)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return cls(groups, np.array([numbers[key] for key in keys], np.int64))

    @cached_property
    def texts(self) -> "Sources":
        """Every text as a source of its own."""
        return Sources(self.groups, np.arange(len(self.member)))

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """`[source, group]`: the texts of each source in each group."""
        ones = np.ones(len(self.member), np.int64)
        shape = (int(self.member.max(initial=-1)) + 1, len(self.groups.names))
        return sparse.coo_matrix((ones, (self.member, self.groups.member)), shape=shape).tocsr()

    @cached_property
    def _table(self) -> Int64[np.ndarray, "source group"] | None:
        """The counts as a dense array, which is read much faster; None if it would be large."""
        return np.asarray(self.counts.toarray()) if np.prod(self.counts.shape, dtype=np.int64) <= PART else None

    def counts_of(
        self, chosen: Int64[np.ndarray, "chosen"], groups: Int64[np.ndarray, "group"]
    ) -> Int64[np.ndarray, "chosen group"]:
        """The texts of some of the sources in some of the groups."""
        if self._table is not None:
            return self._table.take(chosen, axis=0).take(groups, axis=1)
        return np.asarray(self.counts[chosen][:, groups].toarray())

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "source"]:
        """The number of texts of each source."""
        return np.bincount(self.member)

    @cached_property
    def inside(self) -> Int64[np.ndarray, "group"]:
        """The number of sources with a text in each group."""
        return np.asarray(self.counts.getnnz(axis=0), np.int64)

    @cached_property
    def outside(self) -> Int64[np.ndarray, "group"]:
        """The number of sources with a text outside each group."""
        found = self.counts.tocoo()
        whole = found.col[found.data == self.sizes[found.row]]
        return np.asarray(len(self.sizes) - np.bincount(whole, minlength=len(self.groups.names)))

    @cached_property
    def comparable(self) -> Bool[np.ndarray, "group"]:
        """Whether a group and the rest have two sources each, so that differences between sources can be seen."""
        return (self.inside > 1) & (self.outside > 1)

    @cached_property
    def squares(self) -> Float64[np.ndarray, "3 group"]:
        """Sums over the sources of inside * inside, outside * outside and inside * outside, in numbers of texts."""
        found = self.counts.tocoo()
        n, size = found.data.astype(np.float64), self.sizes[found.row].astype(np.float64)
        mine, both = (np.bincount(found.col, x, self.counts.shape[1]) for x in (n * n, n * size))
        return np.array([mine, (self.sizes.astype(np.float64) ** 2).sum() - 2 * both + mine, both - mine])


def auroc_intervals(
    matrix: sparse.csc_matrix, sources: Sources, cells: Cells, auroc: Float64[np.ndarray, "cell"]
) -> Ends:
    """Ends of the 95 % interval of each cell's AUROC; 0 and 1 if its group or the rest has a single text.

    `matrix` is `[text, feature]`. The variance is that of DeLong, DeLong & Clarke-Pearson (1988) for clustered data
    (Obuchowski 1997), with sources as clusters, or texts where `sources` are not comparable. From it follows how many
    independent texts would be as sure, and from that number Wilson's interval, as Korn & Graubard (1998) do in surveys:
    with few sources, the number is scaled by the squared ratio of the normal and the t quantile.

    At an AUROC near 0 or 1 that variance is near 0, however few the texts. So the number is at most what completely
    separated texts are worth by Hanley & McNeil (1982) in the form of Newcombe (2006).
    """
    sums, sizes = np.zeros((3, len(cells))), sources.groups.sizes
    by_column = np.argsort(cells.column, kind="stable")
    bounds = np.searchsorted(cells.column[by_column], np.arange(matrix.shape[1] + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        for (start, stop), scored in zip(pairwise(bounds.tolist()), scored_columns(matrix), strict=True):
            mine = by_column[start:stop]
            by_source = sources.comparable[cells.group[mine]]
            for units, chosen in ((sources, mine[by_source]), (sources.texts, mine[~by_source])):
                width = max(1, PART // max(1, len(scored.texts)))
                for at in range(0, len(chosen), width):
                    part = chosen[at : at + width]
                    groups = cells.group[part]
                    sums[:, part] = _sums(scored, units, groups, auroc[part], sizes[groups].astype(np.float64))
        worth = _worth(sums, matrix.shape[0], sources, cells.group, auroc)
    low, high = wilson(auroc * worth, worth)
    return low, high


@dataclass(frozen=True)
class Scored:
    """The texts on which one feature is active, by score."""

    texts: Int32[np.ndarray, "entry"]
    first: Int64[np.ndarray, "entry"]
    """Index of the first entry with the same score."""
    stop: Int64[np.ndarray, "entry"]
    """One past the last entry with the same score."""
    n_texts: int
    """All texts, silent ones included."""

    @property
    def silent(self) -> int:
        return self.n_texts - len(self.texts)


def scored_columns(matrix: sparse.csc_matrix) -> Iterator[Scored]:
    """The texts of every feature; `matrix` is `[text, feature]`, with entries above 0."""
    columns, indptr = columns_of(matrix), matrix.indptr
    order = order_within(columns, np.asarray(matrix.data, np.float32).view(np.uint32))
    texts = matrix.indices[order]
    # Entries with one score are a run; its ends are counted from the first entry of its feature.
    starts = runs(columns, matrix.data[order]) if len(order) else np.empty(0, np.int64)
    sizes, before = np.diff(np.append(starts, len(order))), indptr[columns].astype(np.int64)
    first, stop = np.repeat(starts, sizes) - before, np.repeat(starts + sizes, sizes) - before
    for a, b in pairwise(indptr.tolist()):
        yield Scored(texts[a:b], first[a:b], stop[a:b], matrix.shape[0])


def _worth(
    sums: Float64[np.ndarray, "3 cell"],
    n_texts: int,
    sources: Sources,
    groups: Int64[np.ndarray, "cell"],
    auroc: Float64[np.ndarray, "cell"],
) -> Float64[np.ndarray, "cell"]:
    """The number of independent texts that would give the AUROC of each cell the same variance; `sums` as `_sums`."""
    size = sources.groups.sizes[groups].astype(np.float64)
    rest = n_texts - size
    n_in, n_out, n = (
        np.where(sources.comparable, of_sources, of_texts)[groups]
        for of_sources, of_texts in (
            (sources.inside, sources.texts.inside),
            (sources.outside, sources.texts.outside),
            (len(sources.sizes), n_texts),
        )
    )
    within, without, between = sums
    variance = within / size**2 * n_in / (n_in - 1) + without / rest**2 * n_out / (n_out - 1)
    variance += 2 * between / (size * rest) * n / (n - 1)
    return worth_of(auroc, variance, size, rest, np.minimum(n_in, n_out))


def worth_of(
    auroc: Float64[np.ndarray, "n"],
    variance: Float64[np.ndarray, "n"],
    size: Float64[np.ndarray, "n"],
    rest: Float64[np.ndarray, "n"],
    fewest: Num[np.ndarray, "n"],
) -> Float64[np.ndarray, "n"]:
    """The number of independent texts as sure as an AUROC of this variance, for Wilson's interval.

    `size` and `rest` are the numbers of texts inside and outside, `fewest` that of the sources on the side with fewer.
    The number is 0 if that side has a single one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where every text inside beats every text outside, or none, there is no variance to go by.
        seen = (variance > 0) & (auroc > 0) & (auroc < 1)
        found = np.where(seen, auroc * (1 - auroc) / variance, np.inf)
    most = size * rest / (1 + (size + rest - 2) / 4)
    scale = (Z95 / stats.t.ppf(0.975, np.maximum(fewest - 1, 1))) ** 2
    return np.where(fewest > 1, np.minimum(found, most) * scale, 0.0)


def _sums(
    scored: Scored,
    sources: Sources,
    groups: Int64[np.ndarray, "group"],
    auroc: Float64[np.ndarray, "group"],
    size: Float64[np.ndarray, "group"],
) -> Float64[np.ndarray, "3 group"]:
    """Sums over all sources of their squared deviations inside, outside, and of the products of both.

    A text inside deviates by the share of the texts outside that it beats (ties count half) minus the AUROC; a text
    outside by the share of the texts inside that beat it minus the AUROC. A source deviates by the sum of its texts.
    """
    rest = scored.n_texts - size
    own = sources.groups.member[scored.texts][:, None] == groups
    ahead = np.concatenate([np.zeros((1, len(groups))), np.cumsum(own, axis=0)])
    silent = size - ahead[-1]
    # How many texts of the group score lower than each entry, and how many of all texts; ties count half.
    below = silent + (ahead[scored.first] + ahead[scored.stop]) / 2
    below_all = scored.silent + (scored.first + scored.stop) / 2
    beats, beaten = (below_all[:, None] - below) / rest, 1 - below / size
    silent_beats, silent_beaten = (scored.silent - silent) / 2 / rest, 1 - silent / 2 / size
    # Deviations of active texts from those of silent ones, summed by source; then every text is counted as silent.
    member = sources.member[scored.texts]
    order = np.argsort(member, kind="stable")
    starts = runs(member[order])
    active = member[order][starts]
    n_inside = sources.counts_of(active, groups)
    n_outside = sources.sizes[active][:, None] - n_inside
    a, b = silent_beats - auroc, silent_beaten - auroc
    inside = _by_source(np.where(own, beats - silent_beats, 0), order, starts) + n_inside * a
    outside = _by_source(np.where(own, 0, beaten - silent_beaten), order, starts) + n_outside * b
    # Sources without an active text are what is left of the sums over all of them.
    left = sources.squares[:, groups] - [
        (n_inside**2).sum(0), (n_outside**2).sum(0), (n_inside * n_outside).sum(0)
    ]  # fmt: skip
    seen = np.array([(inside**2).sum(0), (outside**2).sum(0), (inside * outside).sum(0)])
    return np.asarray(seen + left * [a * a, b * b, a * b])


def _by_source(
    values: Float64[np.ndarray, "entry group"], order: Int64[np.ndarray, "entry"], starts: Int64[np.ndarray, "source"]
) -> Float64[np.ndarray, "source group"]:
    """The sums of the rows of each source."""
    return np.asarray(np.add.reduceat(values[order], starts, axis=0)) if len(starts) else values
