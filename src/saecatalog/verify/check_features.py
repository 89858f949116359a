"""Checks of features on tokens: counts for the whole dictionary, everything else for the sampled features."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import EXACT, SINGLE, Checker

TOKENS_OF_A_FEATURE = 10
"""As the table's description says: the ten tokens that carry most of each feature's activation."""

BIGRAM_GAIN = 0.1
"""As the column's description says: the F1 of a rule of two tokens exceeds the single token's by at least this."""

QUANTILES = {"q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q99": 0.99}


def check_counts(e: Evidence) -> None:
    """For every feature: how often it fires, on tokens and on texts, and its largest activation."""
    rows = rows_of(e.published["features"])
    e.report.at("features").lists("feature", [r.feature for r in rows], list(range(e.seen.d_sae)))
    surest, most = (_maxima(e, yes) for yes in (True, False))
    n_tokens = int(e.seen.counted.sum())
    for row in rows:
        at, f = e.report.at("features", f"feature {row.feature}"), row.feature
        at.same("n_tokens", row.n_tokens, n_tokens)
        at.within("n_active", row.n_active, int(e.seen.n_sure[f]), int(e.seen.n_possible[f]))
        _check_density(at, row)
        at.within("max", row.max, surest[f][0], most[f][0], e.tolerance.relative, most[f][1])
        _check_texts(e, at, row)


def _maxima(e: Evidence, surely: bool) -> list[tuple[float, float]]:
    """The largest activation of every feature and its rounding error, without or with undecided activations."""
    entries = e.seen.sure if surely else slice(None)
    largest, slack = np.zeros(e.seen.d_sae), np.zeros(e.seen.d_sae)
    np.maximum.at(largest, e.seen.features[entries], e.seen.values[entries])
    np.maximum.at(slack, e.seen.features[entries], e.seen.slack[entries])
    return list(zip(largest.tolist(), slack.tolist(), strict=True))


def _check_density(at: Checker, row: Row) -> None:
    """The density and its interval, from the published counts."""
    n = max(1, row.n_tokens)
    low, high = formulas.wilson(row.n_active, n)
    at.close("density", row.density, row.n_active / n, EXACT)
    at.close("density_low", row.density_low, low, EXACT, 1e-12)
    at.close("density_high", row.density_high, high, EXACT, 1e-12)
    at.close("silent_below", row.silent_below, math.nan if row.n_active else 3 / n, EXACT)


def _check_texts(e: Evidence, at: Checker, row: Row) -> None:
    """Counts of texts, and the strongest text, from the published scores."""
    scores = e.scores.of(row.feature)
    at.same("n_texts", row.n_texts, len(scores))
    at.same("n_texts_active", row.n_texts_active, int((scores > 0).sum()))
    at.same("n_texts_strong", row.n_texts_strong, int((scores > e.strong).sum()))
    at.same("top_text", row.top_text, e.text_ids[int(scores.argmax())] if scores.any() else "")
    if not row.n_active:
        at.same("label", row.label, "silent")


def sampled(e: Evidence, name: str) -> list[tuple[int, int, list[Row]]]:
    """Each sampled feature, its place in the sample, and its rows of a table."""
    table = e.published[name]
    rows: dict[int, list[Row]] = {feature: [] for feature in e.sample}
    for row in rows_of(table[table["feature"].isin(e.sample)]):
        rows[row.feature].append(row)
    return [(feature, place, rows[feature]) for place, feature in enumerate(e.sample)]


def check_values(e: Evidence) -> None:
    """The distribution of the active values of the sampled features."""
    for feature, place, rows in sampled(e, "features"):
        values = [v for _, _, v in formulas.active_values(e.case, place)]
        mean, spread = formulas.mean_and_spread(values)
        for row in rows:
            at, slack = e.report.at("features", f"feature {feature}"), e.slack[feature]
            at.close("mean_active", row.mean_active, mean, e.tolerance.relative, slack)
            at.close("std_active", row.std_active, spread, e.tolerance.relative, slack)
            for name, q in QUANTILES.items():
                at.close(name, getattr(row, name), formulas.quantile(values, q), e.tolerance.relative, slack)
            at.close("start_share", row.start_share, formulas.start_share(e.case, place), e.tolerance.relative, 1e-5)


def check_token_rules(e: Evidence) -> None:
    """The single token and the pair of consecutive tokens that predict each sampled feature best."""
    for feature, place, rows in sampled(e, "features"):
        by_token = formulas.token_figures(e.case, e.keep, place)
        for row in rows:
            at = e.report.at("features", f"feature {feature}")
            if not by_token:
                at.lists("token_rule", [row.token_rule, row.token_precision, row.token_recall], ["", 0, 0])
                at.lists("bigram_first", _bigram(row), ["", "", 0, 0])
                at.lists("token_f1", [row.token_f1, row.token_share], [0, 0])
                continue
            n_active = sum(f.n_active for f in by_token.values())
            best = by_token[formulas.best_token(by_token)]
            at.same("token_rule", row.token_rule, e.token(formulas.best_token(by_token)))
            at.close("token_precision", row.token_precision, best.n_active / best.n_occurrences)
            at.close("token_recall", row.token_recall, best.n_active / n_active)
            at.close("token_f1", row.token_f1, float(formulas.f1(best, n_active)))
            share = best.total / sum(f.total for f in by_token.values())
            at.close("token_share", row.token_share, share, e.tolerance.relative, SINGLE)
            _check_bigram(e, at, row, place, float(formulas.f1(best, n_active)))


def _bigram(row: Row) -> list[str | float]:
    return [row.bigram_first, row.bigram_second, row.bigram_precision, row.bigram_recall]


def _check_bigram(e: Evidence, at: Checker, row: Row, place: int, single: float) -> None:
    """The rule of two tokens; if several are equally good, any of them."""
    by_pair = formulas.pair_figures(e.case, e.keep, place)
    n_active = sum(f.n_active for f in by_pair.values())
    scores = {pair: float(formulas.f1(f, n_active)) for pair, f in by_pair.items()}
    gain = max(scores.values()) - single - BIGRAM_GAIN
    best = [pair for pair, score in scores.items() if score >= max(scores.values()) - EXACT]
    named = {_names(e, pair): by_pair[pair] for pair in best} if gain > -EXACT else {}
    if gain < EXACT:
        named["", ""] = formulas.TokenFigures(0, 1, 0.0)
    rule = row.bigram_first, row.bigram_second
    wanted = " or ".join(f"{first!r} {second!r}" for first, second in named)
    at.holds(rule in named, "bigram_first", f"published {rule[0]!r} {rule[1]!r}, recomputed {wanted}")
    if rule in named:
        at.close("bigram_precision", row.bigram_precision, named[rule].n_active / named[rule].n_occurrences)
        at.close("bigram_recall", row.bigram_recall, named[rule].n_active / n_active)


def _names(e: Evidence, pair: tuple[int | None, int]) -> tuple[str, str]:
    first, second = pair
    return "<start>" if first is None else e.token(first), e.token(second)


def check_tokens(e: Evidence) -> None:
    """The tokens that carry most of the sampled features' activation."""
    for feature, place, rows in sampled(e, "tokens"):
        by_token = formulas.token_figures(e.case, e.keep, place)
        total = sum(f.total for f in by_token.values())
        at = e.report.at("tokens", f"feature {feature}")
        shares = {token: f.total / total for token, f in by_token.items()}
        found = {row.token_id: row.share for row in rows}
        check_best(at, "token_id", found, shares, TOKENS_OF_A_FEATURE, e.tolerance.relative)
        at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
        for row in rows:
            mine = by_token.get(row.token_id, formulas.TokenFigures(0, 1, 0.0))
            at = e.report.at("tokens", f"feature {feature}, token {row.token_id}")
            at.same("token", row.token, e.token(row.token_id))
            at.same("n_active", row.n_active, mine.n_active)
            at.same("n_occurrences", row.n_occurrences, mine.n_occurrences)
            at.close("p_active", row.p_active, mine.n_active / mine.n_occurrences, EXACT)
            mean = mine.total / max(1, mine.n_active)
            at.close("mean_active", row.mean_active, mean, e.tolerance.relative, e.slack[feature])
            at.close("share", row.share, mine.total / total if total else 0, e.tolerance.relative, 1e-5)


def check_best(
    at: Checker, column: str, shown: Mapping[int, float], values: Mapping[int, float], k: int, slack: float
) -> None:
    """Check that the entries shown are the k largest, in order; the smaller number wins a tie.

    Two values that differ by at most `slack` may change places.
    """
    order = list(shown)
    wanted = sorted(values, key=lambda i: (-values[i], i))[:k]
    mine = [values.get(i, -math.inf) for i in order]
    falling = all(a >= b - slack for a, b in pairwise(mine))
    ties = all(a < b for (a, x), (b, y) in pairwise(shown.items()) if x == y)
    at.holds(len(order) == len(wanted), column, f"{len(order)} entries published, {len(wanted)} recomputed")
    at.holds(falling and ties, column, f"published in the order {order}, recomputed {wanted}")
    for entry, value in zip(order, mine, strict=True):
        at.holds(value > -math.inf, column, f"{entry} should not be listed")
    lowest = min(mine, default=-math.inf)
    for entry in wanted:
        at.holds(entry in shown or values[entry] <= lowest + slack, column, f"{entry} is missing")


def check_histograms(e: Evidence) -> None:
    """The number of a sampled feature's values in each bin."""
    for feature, place, rows in sampled(e, "histograms"):
        at, slack = e.report.at("histograms", f"feature {feature}"), e.slack[feature]
        values = [v for _, _, v in formulas.active_values(e.case, place)]
        at.holds(len(rows) == bool(values), "feature", f"{len(rows)} histograms for {len(values)} active values")
        for row in rows[:1]:
            edges = [float(x) for x in row.edges]
            largest = max(values, default=0.0)
            at.close("edges", edges[0], 0.0)
            at.close("edges", edges[-1], largest, e.tolerance.relative, slack)
            at.holds(edges == sorted(set(edges)), "edges", "the edges do not ascend")
            check_bins(at, row.counts, values, edges, slack + e.tolerance.relative * largest)


def check_bins(at: Checker, counts: Sequence[int], values: list[float], edges: list[float], slack: float) -> None:
    """The counts of a histogram, each as exact as its edges."""
    at.same("counts", int(sum(counts)), len(values))
    at.same("counts", len(counts), len(edges) - 1)
    for number, (low, high) in enumerate(formulas.bin_counts(values, edges, slack)):
        if number < len(counts):
            at.within(f"counts[{number}]", int(counts[number]), low, high)


def check_top_contexts(e: Evidence) -> None:
    """The strongest token of each text for the sampled features; near-duplicates are counted and left out."""
    for feature, place, rows in sampled(e, "contexts"):
        at, top = e.report.at("contexts", f"feature {feature}"), [r for r in rows if r.band == "top"]
        peaks = _peaks(e, feature, place)
        at.lists("rank", [r.rank for r in top], list(range(len(top))))
        placed = [(-r.activation, e.place.get(r.text, -1)) for r in top]
        at.holds(placed == sorted(placed), "activation", "the examples are not in order")
        at.holds(len({r.text for r in rows}) == len(rows), "text", "a text is listed twice")
        shown = [_around(e, r) for r in top]
        at.holds(len(set(shown)) == len(shown), "similar_hidden", "two examples have the same nine tokens")
        for row, around in zip(top, shown, strict=True):
            at = e.report.at("contexts", f"feature {feature}, top {row.rank}")
            _check_peak(e, at, row, peaks)
            low, high = _alike(e, peaks, around)
            at.within("similar_hidden", row.similar_hidden, max(0, low - 1), max(0, high - 1))
        _check_none_missing(e, feature, top, set(shown), peaks)


Peaks = dict[int, tuple[float, list[int]]]
"""For each text on which a feature fires: its largest activation, and the positions that may have it."""


def _peaks(e: Evidence, feature: int, place: int) -> Peaks:
    peaks = {}
    for t, rows in enumerate(e.case.activations):
        column = rows[:, place]
        largest = float(column.max(initial=0))
        if largest > 0:
            near = column >= largest * (1 - e.tolerance.relative) - e.slack[feature]
            peaks[t] = largest, [int(i) for i in np.flatnonzero(near & (column > 0))]
    return peaks


Tokens = tuple[int | None, ...]


def _around(e: Evidence, row: Row) -> Tokens:
    """The nine tokens around an example."""
    t = e.place.get(row.text)
    return () if t is None else formulas.surroundings(e.case, t, row.position)


def _check_peak(e: Evidence, at: Checker, row: Row, peaks: Peaks) -> None:
    largest, positions = peaks.get(e.place.get(row.text, -1), (0.0, []))
    at.holds(row.position in positions, "position", f"published {row.position}, recomputed {positions or 'silent'}")
    at.close("activation", row.activation, largest, e.tolerance.relative, e.slack[row.feature])


def _alike(e: Evidence, peaks: Peaks, around: Tokens) -> tuple[int, int]:
    """In how many texts the peak surely has these tokens around it, and in how many it possibly has."""
    found = [[formulas.surroundings(e.case, t, i) == around for i in places] for t, (_, places) in peaks.items()]
    return sum(all(same) for same in found), sum(any(same) for same in found)


def _check_none_missing(e: Evidence, feature: int, top: list[Row], shown: set[Tokens], peaks: Peaks) -> None:
    """Except for near-duplicates, no text with a stronger peak than the last example's is left out."""
    at, room = e.report.at("contexts", f"feature {feature}"), int(e.settings["top"])
    at.holds(len(top) <= room, "rank", f"{len(top)} examples, but the limit is {room}")
    last = top[-1].activation if len(top) >= room else 0.0
    texts = {row.text for row in top}
    for t, (largest, places) in peaks.items():
        slack = e.slack[feature] + e.tolerance.relative * largest
        hidden = any(formulas.surroundings(e.case, t, i) in shown for i in places)
        good = e.text_ids[t] in texts or hidden or largest <= last + slack
        at.holds(good, "text", f"{e.text_ids[t]} is missing; it has {largest:.6g} at {places}")


def check_bands(e: Evidence) -> None:
    """Examples are in the band of ranks that they are listed under."""
    for feature, place, rows in sampled(e, "contexts"):
        values = np.array([v for _, _, v in formulas.active_values(e.case, place)])
        ranks = [formulas.band_of(rank, len(values)) for rank in range(len(values))]
        for band in formulas.BANDS:
            mine = [row for row in rows if row.band == band]
            at = e.report.at("contexts", f"feature {feature}, {band}")
            at.lists("rank", [r.rank for r in mine], list(range(len(mine))))
            strengths = [r.activation for r in mine]
            at.holds(strengths == sorted(strengths, reverse=True), "activation", "the examples are not in order")
            for row in mine:
                slack = e.slack[feature] + e.tolerance.relative * row.activation
                # Activations that are equal, exactly or after rounding, may be in either order.
                first, stop = (values > row.activation + slack).sum(), (values >= row.activation - slack).sum()
                at.holds(band in ranks[first:stop], "band", f"{row.activation:.6g} has rank {first} of {len(values)}")
        others = sorted({row.band for row in rows} - {"top", *formulas.BANDS})
        e.report.at("contexts", f"feature {feature}").lists("band", others, [])
