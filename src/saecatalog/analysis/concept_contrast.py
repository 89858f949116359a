"""Concepts against the rest of the corpus: text scores flow in, AUROC, its interval and a p-value flow out.

Each figure is one number per cell, a pair of a concept and a feature. The rivals of a concept are the texts of the
corpus, without those that are equal to one of its own. Only scores above 0 are stored, so what silent texts add to a
sum is a product of counts.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int64, Num, UInt64
from scipy import sparse

from saecatalog.analysis.activations import runs
from saecatalog.analysis.auroc_intervals import Ends, worth_of
from saecatalog.analysis.statistics import rank_sum_tail, wilson
from saecatalog.analysis.text_groups import Cells, columns_of


class Pools:
    """Scores above 0, each in one of several pools, for counting those below or equal to a score."""

    def __init__(self, pool: Int64[np.ndarray, "score"], scores: Float32[np.ndarray, "score"], n_pools: int):
        self._keys = np.sort(_keys(pool, scores))
        self.sizes = np.bincount(pool, minlength=n_pools)
        self._starts = np.cumsum(self.sizes) - self.sizes

    def compared(
        self, pool: Int64[np.ndarray, "entry"], scores: Float32[np.ndarray, "entry"]
    ) -> tuple[Int64[np.ndarray, "entry"], Int64[np.ndarray, "entry"]]:
        """For each score, how many scores of its pool are lower, and how many are equal."""
        keys = _keys(pool, scores)
        first, stop = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        return first - self._starts[pool], stop - first

    @property
    def ties(self) -> Float64[np.ndarray, "pool"]:
        """For each pool, the sum of t^3 - t over groups of t equal scores."""
        starts = runs(self._keys)
        sizes = np.diff(np.append(starts, len(self._keys)))
        pool = (self._keys[starts] >> np.uint64(32)).astype(np.int64)
        return np.bincount(pool, _ties(sizes), len(self.sizes))


class ConceptContrast:
    """The scores of each cell's concept against those of its rivals.

    `matrix` is `[text of a concept, feature]`, `sizes` the number of texts of each cell's concept, `corpus` is `[text,
    feature]`, and `common` is `[text of the corpus, concept]`: the texts that are no rivals of a concept.
    """

    def __init__(
        self,
        matrix: sparse.csc_matrix,
        sizes: Int64[np.ndarray, "cell"],
        cells: Cells,
        corpus: sparse.csc_matrix,
        common: sparse.csr_matrix,
    ):
        self._cells, self.sizes, self._corpus = cells, sizes, corpus
        self.n_rest = corpus.shape[0] - np.bincount(common.indices, minlength=common.shape[1])[cells.group]
        """The number of rivals."""
        every = Pools(columns_of(corpus), corpus.data, corpus.shape[1])
        place, scores = self._left_out = _no_rivals(cells, corpus, common)
        left_out = Pools(place, scores, len(cells))
        self._silent_rest = self.n_rest - every.sizes[cells.column] + left_out.sizes
        # For each score of a concept: the active rivals with a lower and with an equal score.
        mine, values = cells.of_entry, matrix.data
        counts = zip(every.compared(cells.column[mine], values), left_out.compared(mine, values), strict=True)
        below, self._equal = (of_all - of_left_out for of_all, of_left_out in counts)
        self._wins = self._silent_rest[mine] + below + self._equal / 2
        self._active, won = cells.sums(None, self._wins)
        self._silent = sizes - self._active
        # Mann and Whitney's U: each silent text ties with the silent rivals.
        self._won = won + self._silent * self._silent_rest / 2
        within, equal = Pools(mine, values, len(cells)).compared(mine, values)
        self._above, self._same = self._active[mine] - within - equal, equal
        # Ties among the rivals: those of the corpus, less what the texts that are no rivals add to them.
        counted, own = every.compared(cells.column[place], scores)[1], left_out.compared(place, scores)[1]
        lost = (_ties(counted) - _ties(counted - own)) / np.maximum(own, 1)
        self._rest_ties = every.ties[cells.column] - np.bincount(place, lost, len(cells))

    def strong_rest(self, threshold: float) -> Float64[np.ndarray, "cell"]:
        """The number of rivals with a score above the threshold."""
        place, scores = self._left_out
        strong = np.bincount(columns_of(self._corpus), self._corpus.data > threshold, self._corpus.shape[1])
        return np.asarray(strong[self._cells.column] - np.bincount(place, scores > threshold, len(self._cells)))

    @cached_property
    def auroc(self) -> Float64[np.ndarray, "cell"]:
        """The probability that a text of the concept scores above a rival, ties counting half; 0.5 without rivals."""
        pairs = self.sizes * self.n_rest
        return np.where(pairs > 0, self._won / np.maximum(pairs, 1), 0.5)

    @cached_property
    def ends(self) -> Ends:
        """Ends of the 95 % interval of the AUROC: that of `auroc_intervals`, with every text as its own source."""
        n_in, n_out = self.sizes.astype(np.float64), self.n_rest.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside, outside = self._squares
            variance = inside / (n_in * (n_in - 1)) + outside / (n_out * (n_out - 1))
        worth = worth_of(self.auroc, variance, n_in, n_out, np.minimum(n_in, n_out))
        return wilson(self.auroc * worth, worth)

    @property
    def _squares(self) -> tuple[Float64[np.ndarray, "cell"], Float64[np.ndarray, "cell"]]:
        """Sums of squared deviations from the AUROC: of the concept's texts and of the rivals (see `auroc_intervals`).

        A text wins against a share of the rivals, and a rival loses against a share of the texts. The number of texts a
        rival loses against, squared, is a sum over pairs of texts: both beat it if the weaker one does.
        """
        n_in, n_out, share = self.sizes, self.n_rest, self.auroc
        of_entry = self._cells.of_entry
        by_text = (self._wins / n_out[of_entry] - share[of_entry]) ** 2
        pairs = self._same * (self._wins - self._equal / 4) + 2 * self._above * self._wins
        inside, lost = self._cells.sums(by_text, pairs)
        inside += self._silent * (self._silent_rest / 2 / n_out - share) ** 2
        lost += self._silent * self._silent_rest * (self._silent / 4 + self._active)
        return inside, np.maximum(lost / n_in**2 - n_out * share**2, 0)

    @cached_property
    def p(self) -> Float64[np.ndarray, "cell"]:
        """The one-sided p-value of the AUROC: how often texts drawn at random would score as high as the concept's."""
        added = (_ties(self._equal + self._same) - _ties(self._equal)) / self._same
        (ties,) = self._cells.sums(added)
        active = self._active + self.n_rest - self._silent_rest
        return rank_sum_tail(self._won, self.sizes, self.sizes + self.n_rest, active, self._rest_ties + ties)


def _no_rivals(
    cells: Cells, corpus: sparse.csc_matrix, common: sparse.csr_matrix
) -> tuple[Int64[np.ndarray, "score"], Float32[np.ndarray, "score"]]:
    """The scores of the corpus that are no rivals of a cell's concept: the index of the cell, and the score."""
    # Each score of the corpus is repeated for every concept with this text, and finds the cell that it is taken from.
    concepts = common[corpus.indices]
    entry = np.repeat(np.arange(corpus.nnz), np.diff(concepts.indptr))
    width = corpus.shape[1]
    own, codes = cells.group * width + cells.column, concepts.indices * width + columns_of(corpus)[entry]
    place = np.searchsorted(own, codes)
    found = np.append(own, -1)[place] == codes
    return place[found], corpus.data[entry[found]]


def _ties(sizes: Num[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """What groups of equal scores of these sizes add to the tie term."""
    t = sizes.astype(np.float64)
    return np.asarray(t**3 - t)


def _keys(pools: Int64[np.ndarray, "n"], scores: Float32[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """Integers that are ordered by pool, then score: the bits of floats of 0 or more have the order of the floats."""
    return pools.astype(np.uint64) << np.uint64(32) | scores.view(np.uint32)
