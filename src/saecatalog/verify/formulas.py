"""The figures of the analyses, computed in the slowest and most obvious way: loops over dense arrays, exact fractions.

Nothing is imported from the rest of the package.
"""

import hashlib
import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float, Float32
from scipy import stats

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

Item = TypeVar("Item")

# The corpus


def corpus_hash(texts: list[tuple[str, str, str, bool]]) -> str:
    """SHA-256 over id, category and content of every text in order, each as a JSON list in ASCII.

    The list ends with `true` if names of special tokens in the text are special tokens.
    """
    parts = [[*names, *([True] if special else [])] for *names, special in texts]
    return hashlib.sha256("".join(json.dumps(part) for part in parts).encode()).hexdigest()


def content_digest(content: str) -> str:
    """The part of a text's id that depends on its content."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:10]


@dataclass
class Case:
    """A corpus with its dense activations; every list has one entry per text."""

    text_ids: list[str]
    categories: list[str]
    tokens: list[list[int]]
    activations: list[Float32[np.ndarray, "token feature"]]
    norms: list[Float[np.ndarray, "token"]]
    """Norm of what the SAE reads."""
    squared_errors: list[Float[np.ndarray, "token"]]
    """Squared norm of (residual - reconstruction)."""

    @property
    def d_sae(self) -> int:
        return int(self.activations[0].shape[1])


# Functions that take a case expect it without massive positions; `keep` says which positions are included


def norm_limit(median: float, multiple: float) -> float:
    """The documented limit: the multiple of the median, rounded up to the next eighth of an octave."""
    edge = -200 * 8
    while 2.0 ** (edge / 8) < median * multiple:
        edge += 1
    return float(2.0 ** (edge / 8))


def active_values(case: Case, feature: int) -> list[tuple[int, int, float]]:
    """(text, position, activation) of every active token, in the order of the corpus."""
    return [
        (t, int(i), float(rows[i, feature]))
        for t, rows in enumerate(case.activations)
        for i in np.flatnonzero(rows[:, feature] > 0)
    ]


def auroc(inside: list[float], outside: list[float]) -> float:
    """The share of pairs that inside wins; a tie counts half."""
    rest = np.array(outside, float)
    won = sum(np.count_nonzero(rest < a) + np.count_nonzero(rest == a) / 2 for a in inside)
    return won / (len(inside) * len(outside)) if inside and outside else 0.5


def auroc_range(inside: list[float], outside: list[float], same: float) -> tuple[float, float]:
    """The smallest and the largest AUROC if scores whose relative difference is at most `same` may swap.

    Two scores of exactly 0 are a tie.
    """
    if not inside or not outside:
        return 0.5, 0.5
    rest, pairs = np.array(outside, float), len(inside) * len(outside)
    won, open_ = 0.0, 0.0
    for a in inside:
        near = np.abs(rest - a) <= same * a
        won += float(np.count_nonzero((rest < a) & ~near)) if a else np.count_nonzero(rest == 0) / 2
        open_ += float(np.count_nonzero(near)) if a else 0.0
    return won / pairs, (won + open_) / pairs


def auroc_interval(inside: list[tuple[float, str]], outside: list[tuple[float, str]]) -> tuple[float, float]:
    """95 % interval of an AUROC from pairs of a score and the text's source: Wilson with Obuchowski's (1997) variance.

    The number of texts in Wilson's formula is the one that gives this variance, at most what separated texts give. It
    is scaled down for few sources by the quantiles of the normal and of the t distribution.
    """
    units = [{source for _, source in side} for side in (inside, outside)]
    n_in, n_out, n = len(units[0]), len(units[1]), len(units[0] | units[1])
    if min(n_in, n_out) < 2:
        return 0.0, 1.0
    a, b = sorted(score for score, _ in inside), sorted(score for score, _ in outside)
    area = auroc(a, b)
    mine, others = (dict.fromkeys(units[0] | units[1], 0.0) for _ in range(2))
    for score, source in inside:
        mine[source] += (bisect_left(b, score) + bisect_right(b, score)) / 2 / len(b) - area
    for score, source in outside:
        others[source] += 1 - (bisect_left(a, score) + bisect_right(a, score)) / 2 / len(a) - area
    variance = n_in / (n_in - 1) * math.fsum(x * x for x in mine.values()) / len(a) ** 2
    variance += n_out / (n_out - 1) * math.fsum(x * x for x in others.values()) / len(b) ** 2
    variance += 2 * n / (n - 1) * math.fsum(mine[s] * others[s] for s in mine) / (len(a) * len(b))
    worth = len(a) * len(b) / (1 + (len(a) + len(b) - 2) / 4)
    if 0 < area < 1 and variance > 0:
        worth = min(worth, area * (1 - area) / variance)
    worth *= float((stats.norm.ppf(0.975) / stats.t.ppf(0.975, min(n_in, n_out) - 1)) ** 2)
    return wilson(area * worth, worth)


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson (1927): the shares p with |k/n - p| = z sqrt(p (1-p) / n), roots of a quadratic."""
    z = 1.959963984540054
    a, b, c = 1 + z * z / n, -(2 * k / n + z * z / n), (k / n) ** 2
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def benjamini_hochberg(p: list[float], times: list[int] | None = None) -> list[float]:
    """For each test, the smallest false discovery rate at which it is significant; `times` counts equal tests."""
    times = times or [1] * len(p)
    q, smallest, rank = [0.0] * len(p), 1.0, sum(times)
    n_tests = rank
    for i in sorted(range(len(p)), key=lambda i: p[i], reverse=True):
        smallest = min(smallest, p[i] * n_tests / rank)
        q[i], rank = smallest, rank - times[i]
    return q


def silent_p(active: list[float], n_inside: int, n: int) -> float:
    """Mann-Whitney p of `n_inside` silent texts against the rest of `n` texts, whose scores above 0 are `active`."""
    pairs = n_inside * (n - n_inside)
    # A silent text ties with every silent text outside and loses to every other one.
    won = n_inside * (n - len(active) - n_inside) / 2
    ties = sum(t**3 - t for t in [n - len(active), *Counter(active).values()])
    variance = pairs / 12 * (n + 1 - ties / (n * (n - 1)))
    z = (pairs / 2 - won - 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(z / math.sqrt(2)))


def drawn_at_random(inside: list[float], outside: list[float]) -> float:
    """How often as many texts drawn at random win as many pairs as `inside` does: one-sided Mann-Whitney.

    For each number of active texts that may be drawn, its exact chance, times the normal approximation of how often
    their order gives as many wins.
    """
    won = auroc(inside, outside) * len(inside) * len(outside) if outside else 0.0
    active, m, n = [s for s in [*inside, *outside] if s > 0], len(inside), len(inside) + len(outside)
    k = len(active)
    tied, total = sum(t**3 - t for t in Counter(active).values()), 0.0
    for j in range(max(0, m - (n - k)), min(m, k) + 1):
        chance = Fraction(math.comb(k, j) * math.comb(n - k, m - j), math.comb(n, m))
        silent_rivals = n - k - (m - j)
        mean = j * silent_rivals + (m - j) * silent_rivals / 2 + j * (k - j) / 2
        variance = j * (k - j) / 12 * (k + 1 - (tied / (k * (k - 1)) if k > 1 else 0))
        if variance > 0:
            total += float(chance) * math.erfc((won - 0.5 - mean) / math.sqrt(2 * variance)) / 2
        elif round(2 * mean) >= round(2 * won):
            total += float(chance)
    return min(1.0, total)


def difference_of_rates(k: int, n: int, k_other: int, n_other: int) -> tuple[float, float, float]:
    """k / n - k_other / n_other and the ends of its interval: the tenth method of Newcombe (1998)."""
    (a, a_low, a_high), (b, b_low, b_high) = (
        (hits / trials, *wilson(hits, trials)) if trials else (0.0, 0.0, 1.0)
        for hits, trials in ((k, n), (k_other, n_other))
    )
    return a - b, a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def surroundings(case: Case, text: int, position: int, near: int = 4) -> tuple[int | None, ...]:
    """The token and its neighbours in the text; None beyond the ends of the text."""
    ids = case.tokens[text]
    return tuple(ids[i] if 0 <= i < len(ids) else None for i in range(position - near, position + near + 1))


BANDS = ("q75-100", "q50-75", "q25-50", "q0-25")
"""The quarters of a feature's active tokens, the strongest first."""


def band_of(rank: int, n: int) -> str:
    """The band of the token with this rank, 0 the strongest, among `n` active ones.

    Counted from the weakest, the lower, middle and upper quartiles are at 1/4, 2/4 and 3/4 of n - 1, between two tokens
    or on one, which then belongs to the stronger band.
    """
    from_weakest = n - 1 - rank
    return BANDS[3 - sum(4 * from_weakest >= quarters * (n - 1) for quarters in (1, 2, 3))]


@dataclass(frozen=True)
class TokenFigures:
    """The figures of a feature on one token id."""

    n_active: int
    n_occurrences: int
    total: float


def token_figures(case: Case, keep: list[list[bool]], feature: int) -> dict[int, TokenFigures]:
    """The figures of each token id on which the feature is active."""
    occurrences: dict[int, int] = {}
    values: dict[int, list[float]] = {}
    for ids, kept, rows in zip(case.tokens, keep, case.activations, strict=True):
        for token, counted, row in zip(ids, kept, rows, strict=True):
            occurrences[token] = occurrences.get(token, 0) + counted
            if row[feature] > 0:
                values.setdefault(token, []).append(float(row[feature]))
    return {token: TokenFigures(len(v), occurrences[token], sum(v)) for token, v in values.items()}


def best_token(figures: dict[int, TokenFigures]) -> int:
    """The token id with the largest F1, the smallest id in a tie; computed with exact fractions."""
    n_active = sum(f.n_active for f in figures.values())
    return min(figures, key=lambda i: (-f1(figures[i], n_active), i))


def pair_figures(case: Case, keep: list[list[bool]], feature: int) -> dict[tuple[int | None, int], TokenFigures]:
    """The figures of each pair of consecutive tokens whose second token the feature is active on.

    The token before the first one of a text is None.
    """
    occurrences: dict[tuple[int | None, int], int] = {}
    values: dict[tuple[int | None, int], list[float]] = {}
    for ids, kept, rows in zip(case.tokens, keep, case.activations, strict=True):
        pairs: list[tuple[int | None, int]] = list(zip([None, *ids[:-1]], ids, strict=True))
        for pair, counted, value in zip(pairs, kept, rows[:, feature].tolist(), strict=True):
            occurrences[pair] = occurrences.get(pair, 0) + counted
            if value > 0:
                values.setdefault(pair, []).append(value)
    return {pair: TokenFigures(len(v), occurrences[pair], sum(v)) for pair, v in values.items()}


def f1(figures: TokenFigures, n_active: int) -> Fraction:
    """F1 of the rule "active on every one of these": 2 / (1 / precision + 1 / recall)."""
    return Fraction(2 * figures.n_active, figures.n_occurrences + n_active)


def start_share(case: Case, feature: int) -> float:
    """Share of the total activation that falls on the first token of a text."""
    total = math.fsum(value for _, _, value in active_values(case, feature))
    first = math.fsum(value for _, position, value in active_values(case, feature) if position == 0)
    return first / total if total else 0.0


def quantile(values: list[float], q: float) -> float:
    """A quantile, interpolated linearly between the sorted values; 0 if there are none."""
    if not values:
        return 0.0
    ordered, place = sorted(values), q * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of a population; 0 and 0 if it is empty."""
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def shape_of(values: list[float]) -> tuple[float, float, float]:
    """Standard deviation, skewness and excess kurtosis of a population."""
    mean, spread = mean_and_spread(values)
    if not spread:
        return 0.0, 0.0, 0.0
    scaled = [(v - mean) / spread for v in values]
    cubes, fourths = math.fsum(z**3 for z in scaled), math.fsum(z**4 for z in scaled)
    return spread, cubes / len(values), fourths / len(values) - 3


def bin_counts(values: list[float], edges: list[float], slack: float = 0.0) -> list[tuple[int, int]]:
    """For each bin, how many values are surely in it and how many possibly are, if edges are uncertain by `slack`.

    A bin contains its lower edge; the last one also contains its upper edge. No value is outside all bins.
    """
    v = np.array(values, float)
    counts = []
    for number, (low, high) in enumerate(pairwise(edges)):
        first, last = number == 0, number == len(edges) - 2
        surely = ((v >= low + slack) | first) & ((v < high - slack) | last)
        possibly = ((v >= low - slack) | first) & ((v < high + slack) | last)
        counts.append((int(surely.sum()), int(possibly.sum())))
    return counts


def halves(text_ids: list[str], categories: list[str]) -> list[str]:
    """The half of each text: the texts of a category, in the order of their ids, alternate between the halves."""
    half: dict[str, str] = {}
    for category in set(categories):
        members = sorted(i for i, c in zip(text_ids, categories, strict=True) if c == category)
        half |= {text: "second" if turn % 2 else "first" for turn, text in enumerate(members)}
    return [half[text] for text in text_ids]


def balanced_score(strong: dict[str, int], sizes: dict[str, int], category: str) -> Fraction:
    """Size of the category times (its strong rate minus the strong rates of all others), exactly."""
    rates = {c: Fraction(strong.get(c, 0), n) for c, n in sizes.items() if n}
    if category not in rates:
        return Fraction(0)
    return sizes[category] * (2 * rates[category] - sum(rates.values()))


def ratio(inside: Fraction | float, outside: Fraction | float) -> float:
    """The first rate divided by the second: infinite if only the second is 0, and 0 if the first is 0."""
    if not inside:
        return 0.0
    return float(inside / outside) if outside else math.inf


def strong_threshold(scores: list[float]) -> float:
    """The 90 % quantile of the scores above 0, rounded to two significant digits."""
    return float(f"{quantile(scores, 0.9):.2g}")


def phi(n_a: int, n_b: int, n_both: int, n: int) -> float:
    """Pearson's correlation of two boolean variables from their counts; 0 if either is constant."""
    spread = n_a * n_b * (n - n_a) * (n - n_b)
    return (n * n_both - n_a * n_b) / math.sqrt(spread) if spread else 0.0


def clusters(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The connected components of the graph of the pairs, largest first, then by their smallest member."""
    joined: dict[int, set[int]] = {}
    for a, b in pairs:
        joined.setdefault(a, set()).add(b)
        joined.setdefault(b, set()).add(a)
    groups, seen = [], set[int]()
    for start in joined:
        group, queue = set[int](), [start]
        while queue:
            feature = queue.pop()
            if feature not in seen:
                seen.add(feature)
                group.add(feature)
                queue += joined[feature]
        if group:
            groups.append(sorted(group))
    return sorted(groups, key=lambda g: (-len(g), g[0]))


def ranked(rows: list[Item], key: "Callable[[Item], SupportsRichComparison]", top: int) -> list[Item]:
    """The first `top` rows by a key."""
    return sorted(rows, key=key)[:top]
