"""Checks of features that fire together: every published pair of a sampled feature, and that no pair is missing."""

from itertools import product

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse

from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import SINGLE, Checker
from saecatalog.verify.sae import cosines

Counted = Int64[np.ndarray, "feature"]

PARTNERS = 10
SUPPORT = {"token": 5, "text": 3}
"""As the table's description says: each feature's ten partners, with at least so many tokens or texts in common."""

CLUSTER_PHI = 0.5


def check_pairs(e: Evidence) -> None:
    """Counts and measures of every pair of a sampled feature, on tokens and on texts."""
    table = e.published["coactivation"]
    sample = set(e.sample)
    at = e.report.at("coactivation")
    at.holds(bool((table["feature_a"] < table["feature_b"]).all()), "feature_a", "a pair is not in order")
    at.holds(not table.duplicated(["feature_a", "feature_b", "level"]).any(), "feature_a", "a pair is listed twice")
    at.holds(set(table["level"]) <= set(SUPPORT), "level", "a level is neither token nor text")
    for level, support in SUPPORT.items():
        rows = rows_of(table[table["level"] == level])
        mine = [row for row in rows if {row.feature_a, row.feature_b} & sample]
        counts = Counts(e, level, sorted({f for row in mine for f in (row.feature_a, row.feature_b)} | sample))
        for row in mine:
            _check_pair(e, e.report.at("coactivation", f"{level}, {row.feature_a} and {row.feature_b}"), row, counts)
        _check_partners(e, level, support, rows, counts)


class Counts:
    """On how many tokens or texts some features are active together with each feature: surely, and possibly.

    `both` has a matrix `[requested feature, feature]` for each of the two, `single` the counts of each feature alone.
    Nothing is undecided on texts, so there both have only one entry.
    """

    def __init__(self, e: Evidence, level: str, features: list[int]):
        self.place = {feature: place for place, feature in enumerate(features)}
        self.n = int(e.seen.counted.sum()) if level == "token" else len(e.text_ids)
        every = [e.seen.matrix(True), e.seen.matrix(False)] if level == "token" else [_text_matrix(e)]
        self.single = [np.asarray(m.sum(0)).ravel() for m in every]
        self.both = [(m[:, features].T @ m).toarray() for m in every]

    def of(self, a: int, b: int) -> tuple[int, int]:
        """The smallest and the largest possible number of shared tokens or texts; `a` must be a requested feature."""
        found = [int(both[self.place[a], b]) for both in self.both]
        return found[0], found[-1]

    def alone(self, a: int) -> tuple[int, int]:
        """The smallest and the largest possible number of tokens or texts on which a feature is active."""
        return int(self.single[0][a]), int(self.single[-1][a])

    def phi_range(self, a: int) -> tuple[Float64[np.ndarray, "feature"], Float64[np.ndarray, "feature"]]:
        """The smallest and the largest possible correlation of a feature with each feature."""
        counts = product(self.alone(a), self.single, [both[self.place[a]] for both in self.both])
        # Undecided tokens may change each of the three counts; between its bounds, phi changes steadily enough.
        phi = np.array([phi_of(n_a, n_b, both, self.n) for n_a, n_b, both in counts])
        return phi.min(0) - 1e-9, phi.max(0) + 1e-9


def phi_of(n_a: int, n_b: Counted, both: Counted, n: int) -> Float64[np.ndarray, "feature"]:
    """`formulas.phi` of one feature with each feature."""
    spread = float(n_a * (n - n_a)) * n_b * (n - n_b)
    return np.asarray(np.divide(n * both - n_a * n_b, np.sqrt(spread), out=np.zeros(len(n_b)), where=spread > 0))


def _text_matrix(e: Evidence) -> sparse.csr_matrix:
    """A matrix `[text, feature]`, 1 where the published score is above 0."""
    table = e.published["text_scores"]
    places = table["text"].map(e.place)
    known = places.notna().to_numpy()
    rows, columns = places[known].to_numpy(dtype=np.int64), table["feature"].to_numpy()[known]
    shape = (len(e.text_ids), e.seen.d_sae)
    return sparse.csr_matrix((np.ones(len(rows), np.int64), (rows, columns)), shape=shape)


def _check_pair(e: Evidence, at: Checker, row: Row, counts: Counts) -> None:
    """One pair: counts from the recomputed activations, measures from the published counts."""
    at.within("n_a", row.n_a, *counts.alone(row.feature_a))
    at.within("n_b", row.n_b, *counts.alone(row.feature_b))
    at.within("n_both", row.n_both, *counts.of(row.feature_a, row.feature_b))
    at.close("jaccard", row.jaccard, row.n_both / max(1, row.n_a + row.n_b - row.n_both))
    at.close("lift", row.lift, row.n_both * counts.n / max(1, row.n_a * row.n_b))
    at.close("phi", row.phi, formulas.phi(row.n_a, row.n_b, row.n_both, counts.n), SINGLE, 1e-7)
    decoder = e.runner.sae.w["W_dec"]
    cosine = cosines(decoder[row.feature_a], decoder[[row.feature_b]])[0]
    at.close("decoder_cosine", row.decoder_cosine, float(cosine), e.tolerance.relative, 1e-6)


def _check_partners(e: Evidence, level: str, support: int, rows: list[Row], counts: Counts) -> None:
    """Every best partner of a sampled feature is listed, and every listed pair is among the best of one of the two.

    Undecided activations change phi a little, so partners that nearly tie with the last one may differ.
    """
    found = {(row.feature_a, row.feature_b) for row in rows}
    asked = {f: _best(counts, f, support) for f in counts.place}
    for feature in e.sample:
        at, (must, _) = e.report.at("coactivation", f"{level}, feature {feature}"), asked[feature]
        for other in sorted(must):
            pair = (min(feature, other), max(feature, other))
            at.holds(pair in found, "feature_b", f"the pair with {other} is missing")
    for a, b in sorted(found):
        if {a, b} & set(e.sample):
            good = b in asked[a][1] or a in asked[b][1]
            e.report.at("coactivation", f"{level}, {a} and {b}").holds(good, "phi", "neither is among the other's best")


def _best(counts: Counts, feature: int, support: int) -> tuple[set[int], set[int]]:
    """The features that are surely among a feature's best partners, and those that possibly are."""
    low, high = counts.phi_range(feature)
    both = [b[counts.place[feature]] for b in counts.both]
    others = np.arange(len(low)) != feature
    surely, possibly = others & (both[0] >= support) & (low > 0), others & (both[-1] >= support) & (high > 0)
    rivals, company = np.sort(high[possibly])[::-1], np.sort(low[surely])[::-1]
    # A partner is surely among the best ten if at most nine others can be better, and surely not if ten surely are.
    must = surely & (low > (rivals[PARTNERS] if len(rivals) > PARTNERS else 0))
    may = possibly & (high >= (company[PARTNERS - 1] if len(company) >= PARTNERS else 0))
    return {int(f) for f in np.flatnonzero(must)}, {int(f) for f in np.flatnonzero(may)}


def check_clusters(e: Evidence) -> None:
    """The groups of features that are connected through published pairs."""
    n = int(e.seen.counted.sum())
    table = e.published["coactivation"]
    rows = rows_of(table[table["level"] == "token"])
    strong = [r for r in rows if formulas.phi(r.n_a, r.n_b, r.n_both, n) >= CLUSTER_PHI]
    wanted = formulas.clusters([(r.feature_a, r.feature_b) for r in strong])
    found: dict[int, list[int]] = {}
    for row in rows_of(e.published["clusters"]):
        found.setdefault(row.cluster, []).append(row.feature)
    e.report.at("clusters").lists("cluster", sorted(found), list(range(len(wanted))))
    for number, members in enumerate(wanted):
        e.report.at("clusters", f"cluster {number}").lists("feature", sorted(found.get(number, [])), members)
