"""Checks of what tells two categories apart: every pair is compared anew, on dense arrays of the published scores."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float64
from scipy import stats

from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import EXACT

KEPT, MOST_PAIRS, SURE = 10, 190, 0.05
"""As the descriptions of the table say: the features kept for each category, the pairs compared, the largest q."""

ALIKE = 1e-8
"""Cosines that differ by less may come in either order."""


@dataclass(frozen=True)
class Tested:
    """Two categories, the first in order of names, with the figures of all features active on a text of either."""

    names: tuple[str, str]
    texts: tuple[list[int], list[int]]
    features: list[int]
    scores: Float64[np.ndarray, "text feature"]
    auroc: Float64[np.ndarray, "feature"]
    """Of the first category against the second."""
    p: Float64[np.ndarray, "feature"]

    def rows(self, name: str) -> list[tuple[float, float, int, int]]:
        """The features with larger scores in this category: minus AUROC, minus difference, feature, place; sorted."""
        first = name == self.names[0]
        auroc = self.auroc if first else 1 - self.auroc
        means = [self.scores[texts].mean(axis=0) for texts in self.texts]
        more = means[0] - means[1] if first else means[1] - means[0]
        found = zip((-auroc).tolist(), (-more).tolist(), self.features, range(len(self.features)), strict=True)
        return sorted(one for one in found if -one[0] > 0.5)


def check_category_pairs(e: Evidence) -> None:
    """The pairs compared, the features kept for each, and all their figures."""
    dense = np.array([e.scores.of(feature) for feature in e.scores.features]).reshape(-1, len(e.categories)).T
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(e.categories):
        members[name].append(place)
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows_of(e.published["category_pairs"]):
        found[row.category, row.other].append(row)
    pairs = _pairs(e, members, dense, found)
    tested = [_test(pair, members, e.scores.features, dense) for pair in pairs]
    q = formulas.benjamini_hochberg([p for one in tested for p in one.p.tolist()])
    start = 0
    for one in tested:
        mine = dict(zip(one.features, q[start : start + len(one.p)], strict=True))
        start += len(one.p)
        for name, other in (one.names, one.names[::-1]):
            _check_side(e, one, name, found.pop((name, other), []), mine)
    e.report.at("category_pairs").holds(not found, "category", f"{len(found)} pairs are not to be compared")


def _pairs(
    e: Evidence,
    members: dict[str, list[int]],
    dense: Float64[np.ndarray, "text feature"],
    found: Iterable[tuple[str, str]],
) -> list[tuple[str, str]]:
    """The pairs that are compared: all, or as published if those are the most alike."""
    every = list(combinations(sorted(members), 2))
    if len(every) <= MOST_PAIRS:
        return every
    means = {name: dense[texts].mean(axis=0) for name, texts in members.items()}
    unit = {name: mean / max(float(np.linalg.norm(mean)), 1e-300) for name, mean in means.items()}
    alike = {pair: float(unit[pair[0]] @ unit[pair[1]]) for pair in every}
    last = sorted(alike.values(), reverse=True)[MOST_PAIRS - 1]
    published = {tuple(sorted(pair)) for pair in found}
    at = e.report.at("category_pairs")
    for pair, cosine in alike.items():
        if abs(cosine - last) > ALIKE:
            at.same(f"{pair[0]} and {pair[1]} are compared", pair in published, cosine > last)
    return [pair for pair in every if pair in published]


def _test(
    names: tuple[str, str], members: dict[str, list[int]], features: list[int], dense: Float64[np.ndarray, "text n"]
) -> Tested:
    a, b = (members[name] for name in names)
    columns = np.flatnonzero((dense[a + b] > 0).any(axis=0))
    scores = dense[:, columns]
    auroc, p = np.full(len(columns), 0.5), np.ones(len(columns))
    varied = np.flatnonzero(scores[a + b].min(axis=0) != scores[a + b].max(axis=0))
    if len(varied):
        test = stats.mannwhitneyu(
            scores[a][:, varied], scores[b][:, varied], alternative="two-sided", method="asymptotic"
        )
        auroc[varied], p[varied] = test.statistic / (len(a) * len(b)), test.pvalue
    return Tested(names, (a, b), [features[column] for column in columns], scores, auroc, p)


def _check_side(e: Evidence, one: Tested, name: str, rows: list[Row], q: dict[int, float]) -> None:
    """The features kept for one of two categories, and their figures."""
    where = f"{name}, not {one.names[one.names[0] == name]}"
    wanted = one.rows(name)
    rows = sorted(rows, key=lambda row: row.rank)
    at = e.report.at("category_pairs", where)
    at.lists("rank", [row.rank for row in rows], list(range(min(KEPT, len(wanted)))))
    for row, best in zip(rows, wanted, strict=False):
        at = e.report.at("category_pairs", f"{where}, feature {row.feature}")
        mine = next((figures for figures in wanted if figures[2] == row.feature), None)
        at.holds(mine is not None, "feature", "its scores are no larger in this category")
        # Features of equal AUROC may come in either order if rounding decides between their means.
        at.close("auroc", row.auroc, -best[0], EXACT, 1e-12)
        if mine:
            _check_figures(e, one, name, row, mine[3], q[row.feature])


def _check_figures(e: Evidence, one: Tested, name: str, row: Row, column: int, q: float) -> None:
    at = e.report.at("category_pairs", f"{name}, not {row.other}, feature {row.feature}")
    texts = one.texts if name == one.names[0] else one.texts[::-1]
    sides = [one.scores[places, column].tolist() for places in texts]
    for end, scores in zip(("", "_other"), sides, strict=True):
        at.same(f"texts{end}", getattr(row, f"texts{end}"), len(scores))
        at.same(f"active{end}", getattr(row, f"active{end}"), sum(score > 0 for score in scores))
        at.same(f"strong{end}", getattr(row, f"strong{end}"), sum(score > e.strong for score in scores))
        at.close(f"mean{end}", getattr(row, f"mean{end}"), float(np.mean(scores)))
    at.close("auroc", row.auroc, formulas.auroc(*sides), EXACT)
    sources = [[e.sources[place] for place in places] for places in texts]
    if min(len(set(side)) for side in sources) < 2:
        sources = [[e.text_ids[place] for place in places] for places in texts]
    inside, outside = (list(zip(s, source, strict=True)) for s, source in zip(sides, sources, strict=True))
    low, high = formulas.auroc_interval(inside, outside)
    at.close("auroc_low", row.auroc_low, low, EXACT, 1e-12)
    at.close("auroc_high", row.auroc_high, high, EXACT, 1e-12)
    at.close("p_value", row.p_value, float(one.p[column]), 1e-6, 1e-300)
    at.close("q_value", row.q_value, q, 1e-6, 1e-300)
    at.same("clear", bool(row.clear), row.q_value <= SURE and row.auroc_low > 0.5)
