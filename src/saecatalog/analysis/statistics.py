"""Formulas shared by several analyses, each for many features at once."""

import numpy as np
from jaxtyping import Float32, Float64, Int64, Num
from scipy import sparse, special, stats

from saecatalog.analysis.activations import order_within, runs

PART = 4_000_000
"""Values that `quantile` reads at a time."""

Z95 = float(stats.norm.ppf(0.975))


def wilson(
    k: Num[np.ndarray, "..."], n: Num[np.ndarray, "..."] | int
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """Ends of the 95 % Wilson score interval of k successes in n trials (Wilson 1927); 0 and 1 if n is 0."""
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        p, z2 = k / n, Z95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    # The ends are set exactly at k = 0 and k = n, where rounding would give something like 1e-17 instead of 0.
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0))
    return low, np.where((k == n) | (n == 0), 1.0, np.minimum(centre + half, 1))


def difference_interval(
    k: Num[np.ndarray, "n"],
    n: Num[np.ndarray, "n"],
    k_other: Num[np.ndarray, "n"],
    n_other: Num[np.ndarray, "n"],
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """k / n minus k_other / n_other, with the ends of its 95 % interval (Newcombe 1998, method 10).

    A rate of no trials is 0, with an interval from 0 to 1.
    """
    (a, a_low, a_high), (b, b_low, b_high) = (
        (np.asarray(hits / np.maximum(trials, 1), np.float64), *wilson(hits, trials))
        for hits, trials in ((k, n), (k_other, n_other))
    )
    low = a - b - np.sqrt((a - a_low) ** 2 + (b_high - b) ** 2)
    return a - b, low, a - b + np.sqrt((a_high - a) ** 2 + (b - b_low) ** 2)


def quantile(values: Float32[np.ndarray, "n"], q: float) -> float:
    """`np.quantile` of non-negative values, without a sorted copy, which may not fit into memory.

    Returns 0 if there are no values.
    """
    if not len(values):
        return 0.0
    place = q * (len(values) - 1)
    below = int(place)
    low, high = (_at_place(values, at) for at in (below, min(below + 1, len(values) - 1)))
    return float(np.quantile(np.array([low, high], np.float32), place - below))


def _at_place(values: Float32[np.ndarray, "n"], place: int) -> float:
    """The value that a sorted copy would hold at index `place`."""
    # A radix selection. The bits of non-negative floats, read as integers, have the same order as the floats. The first
    # pass counts the upper 16 bits and finds those of the value. The second pass counts the lower 16 bits of the values
    # with these upper bits.
    bits = values.view(np.uint32)
    found = 0
    for shift in (16, 0):
        counts = np.zeros(2**16, np.int64)
        for start in range(0, len(bits), PART):
            part = bits[start : start + PART] >> shift
            if not shift:
                part = part[part >> 16 == found >> 16] & 0xFFFF
            counts += np.bincount(part, minlength=2**16)
        ends = np.cumsum(counts)
        step = int(np.searchsorted(ends, place, side="right"))
        place -= int(ends[step] - counts[step])
        found |= step << shift
    return float(np.array(found, np.uint32).view(np.float32))


def column_ranks(scores: sparse.csc_matrix) -> tuple[sparse.csc_matrix, Float64[np.ndarray, "feature"]]:
    """Mid-ranks (from 1) of every column's entries among all rows, zeros included, and the tie term of each column.

    The tie term is the sum of t^3 - t over groups of t equal values. `scores` is `[text, feature]`; its entries must be
    above 0, in single precision. The zeros of a column are not stored; they tie below the entries, at rank
    (zeros + 1) / 2.
    """
    n, width = scores.shape
    counts = np.diff(scores.indptr)
    column = np.repeat(np.arange(width), counts)
    order = order_within(column, np.asarray(scores.data, np.float32).view(np.uint32))
    # Each run is a group of equal values of one column. `below` counts the rows with a lower score: the column's zeros
    # and its earlier entries.
    start = runs(column, scores.data[order])
    size = np.diff(np.append(start, len(order)))
    below = (n - counts - scores.indptr[:-1])[column[start]] + start
    ranks = np.empty(len(order))
    ranks[order] = np.repeat(below + (size + 1) / 2, size)
    zeros = (n - counts).astype(np.float64)
    size = size.astype(np.float64)
    ties = zeros**3 - zeros + np.bincount(column[start], size**3 - size, minlength=width)
    return sparse.csc_matrix((ranks, scores.indices, scores.indptr), shape=scores.shape), ties


def rank_sum_test(
    rank_sums: Float64[np.ndarray, "..."],
    n_inside: Int64[np.ndarray, "..."],
    n: int,
    ties: Float64[np.ndarray, "..."],
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """AUROC and two-sided Mann-Whitney p of groups against the rest, from the groups' rank sums.

    The arrays are broadcast; `ties` is the tie term of each feature, as `column_ranks` gives it. The p-value is the
    normal approximation with tie and continuity correction (as `scipy.stats.mannwhitneyu` with `method="asymptotic"`).
    If either side is empty or all values tie, AUROC is 0.5 and p is 1.
    """
    n_outside = n - n_inside
    # Mann and Whitney's U: the number of pairs (inside, outside) that inside wins; ties count half.
    u = rank_sums - n_inside * (n_inside + 1) / 2
    pairs = (n_inside * n_outside).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = np.where(pairs > 0, u / pairs, 0.5)
        variance = pairs / 12 * ((n + 1) - ties / (n * (n - 1)))
        z = (np.maximum(u, pairs - u) - pairs / 2 - 0.5) / np.sqrt(variance)
    p = np.clip(2 * stats.norm.sf(z), 0, 1)
    return auroc, np.where((variance > 0) & (pairs > 0), p, 1.0)


def rank_sum_tail(
    u: Float64[np.ndarray, "n"],
    n_inside: Int64[np.ndarray, "n"],
    n: Int64[np.ndarray, "n"],
    n_active: Float64[np.ndarray, "n"],
    ties: Float64[np.ndarray, "n"],
) -> Float64[np.ndarray, "n"]:
    """One-sided p-value of Mann and Whitney's U: how often texts drawn at random would win as often as those inside.

    Of `n` texts, `n_inside` are inside and `n_active` have a score above 0; `ties` is the sum of t^3 - t over groups of
    t equal scores above 0. How many of the active texts are inside is hypergeometric, and exact. Given that number, the
    order of the active texts has the normal approximation of `rank_sum_test`. If few texts are active, U is so skewed
    that this approximation alone would give p-values thousands of times too small.
    """
    n_active = n_active.astype(np.int64)
    fewest, most = np.maximum(0, n_active - (n - n_inside)), np.minimum(n_inside, n_active)
    p, log_factorial = np.zeros(len(u)), special.gammaln(np.arange(int(n.max(initial=0)) + 1) + 1)
    for part in np.array_split(np.arange(len(u)), 1 + int((most - fewest + 1).sum()) // PART):
        steps = (most - fewest + 1)[part]
        place = np.repeat(np.arange(len(part)), steps)
        j = fewest[part][place] + np.arange(len(place)) - np.repeat(np.cumsum(steps) - steps, steps)
        m, total, active, tied, won = (a[part][place] for a in (n_inside, n, n_active, ties, u))
        silent_outside = total - active - (m - j)
        chance = np.exp(
            _log_choose(log_factorial, active, j)
            + _log_choose(log_factorial, total - active, m - j)
            - _log_choose(log_factorial, total, m)
        )
        mean = (m + j) * silent_outside / 2 + j * (active - j) / 2
        variance = j * (active - j) / 12 * (active + 1 - tied / np.maximum(active * (active - 1), 1))
        # Without variance, U is the mean or not; U is a multiple of one half.
        spread = np.sqrt(np.maximum(variance, 0))
        z = np.where(spread > 0, (won - 0.5 - mean) / np.where(spread > 0, spread, 1), np.inf)
        z = np.where((spread == 0) & (mean > won - 0.25), -np.inf, z)
        p[part] = np.bincount(place, chance * special.ndtr(-z), len(part))
    return np.clip(p, 0, 1)


def _log_choose(
    log_factorial: Float64[np.ndarray, "n"], n: Int64[np.ndarray, "case"], k: Int64[np.ndarray, "case"]
) -> Float64[np.ndarray, "case"]:
    """The logarithm of n over k."""
    return np.asarray(log_factorial[n] - log_factorial[k] - log_factorial[n - k])


def benjamini_hochberg(
    p: Float64[np.ndarray, "test"], counts: Int64[np.ndarray, "test"] | None = None
) -> Float64[np.ndarray, "test"]:
    """q-values over all given tests (Benjamini & Hochberg 1995); `counts` says how many tests had each p, default one.

    scipy's `false_discovery_control` gives the same for p-values that are each repeated `counts` times.
    """
    order = np.argsort(p)
    up_to = np.cumsum(np.ones(len(p), np.int64) if counts is None else counts[order])
    # p times the number of tests over the number of tests with a p up to it; then no q above that of a larger p.
    scaled = p[order] * (up_to[-1:] / up_to)
    q = np.empty(len(p))
    q[order] = np.clip(np.minimum.accumulate(scaled[::-1])[::-1], 0, 1)
    return q
