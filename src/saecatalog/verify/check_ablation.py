"""Checks of the effects by ablation: means from the published contexts, and contexts run again one at a time."""

from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float64

from saecatalog.verify.ablation import REACH, Context, contribution, control, divergence, log_probabilities
from saecatalog.verify.check_features import sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.model import direct_effects, values_at, windows_of
from saecatalog.verify.places import place_of
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import Checker

LEVEL, RESAMPLES, LEAST_TEXTS = 0.965, 2000, 8
"""The intervals, as docs/statistics.md describes them."""

CONTEXTS = 2
"""Contexts of each sampled feature that are run again; all of them for one feature."""

RELATIVE, ABSOLUTE = 0.02, 1e-4
"""Allowed difference of an effect, in nats: it is the difference of two predictions, each of which is rounded."""

MEANS = {
    "loss_change": ("loss_change", "loss_low", "loss_high"),
    "kl": ("kl", "kl_low", "kl_high"),
    "control_loss_change": ("control_loss_change", "control_loss_low", "control_loss_high"),
    "control_kl": ("control_kl", "control_kl_low", "control_kl_high"),
    "kl_excess": ("kl_excess", "kl_excess_low", "kl_excess_high"),
}


def check_effect_means(e: Evidence) -> None:
    """Means and counts of every group of the sampled features, and the intervals over all contexts."""
    contexts = e.published["effect_contexts"]
    contexts = contexts.assign(kl_excess=contexts["kl"] - contexts["control_kl"])
    settings = e.manifest.get("effects") or {}
    for feature, _, rows in sampled(e, "effects"):
        own = contexts[contexts["feature"] == feature]
        groups = [(kind, name) for kind in ("band", "category") for name in sorted(set(own[kind]))]
        groups = [("all", ""), *groups] if len(own) else []
        at = e.report.at("effects", f"feature {feature}")
        wanted = sorted(f"{kind} {name}" for kind, name in groups)
        at.lists("group", sorted(f"{row.group_kind} {row.group}" for row in rows), wanted)
        for row in rows:
            part = own if row.group_kind == "all" else own[own[row.group_kind] == row.group]
            at = e.report.at("effects", f"feature {feature}, {row.group_kind} {row.group}".rstrip())
            _check_means(at, row, part, int(settings["seed"]))


def _check_means(at: Checker, row: Row, part: pd.DataFrame, seed: int) -> None:
    at.same("n_contexts", row.n_contexts, len(part))
    at.same("n_next", row.n_next, int((part["next_token"] != "").sum()))
    at.same("n_texts", row.n_texts, len(set(part["text"])))
    at.same("n_control", row.n_control, int((part["control_feature"] >= 0).sum()))
    for name, columns in MEANS.items():
        there = part[part[name].notna()]
        values, texts = there[name].to_numpy(np.float64), there["text"].to_numpy()
        mean, low, high = (getattr(row, column) for column in columns)
        at.close(columns[0], mean, float(values.mean()) if len(values) else np.nan, 1e-9, 1e-12)
        if len(set(texts)) < LEAST_TEXTS:
            at.close(columns[1], low, np.nan)
            at.close(columns[2], high, np.nan)
        elif row.group_kind == "all":
            wanted = interval(values, texts, seed)
            at.close(columns[1], low, max(wanted[0], 0.0) if name.endswith("kl") else wanted[0], 1e-6, 1e-9)
            at.close(columns[2], high, wanted[1], 1e-6, 1e-9)
        else:
            at.holds(low <= mean <= high, columns[1], f"the mean {mean} is not between {low} and {high}")


def interval(values: Float64[np.ndarray, "context"], texts: np.ndarray, seed: int) -> tuple[float, float]:
    """The ends of the studentised bootstrap interval of a mean: texts are drawn again and again."""
    sums, sizes = (
        np.array([f(values[texts == name]) for name in sorted(set(texts))], np.float64) for f in (np.sum, len)
    )
    n = len(sums)
    mean, error = _mean_and_error(sums, sizes)
    if error == 0:
        return float(mean), float(mean)
    counts = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    # Each row of counts is one resample, of as many texts as there are.
    drawn = np.repeat(np.tile(np.arange(n), RESAMPLES), counts.ravel()).reshape(RESAMPLES, n)
    again, spread = _mean_and_error(sums[drawn], sizes[drawn])
    good = spread > 1e-9 * error
    ratios = (again[good] - mean) / spread[good]
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(mean - high * error), float(mean - low * error)


def _mean_and_error(
    sums: Float64[np.ndarray, "*resample text"], sizes: Float64[np.ndarray, "*resample text"]
) -> tuple[Float64[np.ndarray, "*resample"], Float64[np.ndarray, "*resample"]]:
    """A ratio of sums over texts and its standard error."""
    n, size = sums.shape[-1], sizes.sum(-1, keepdims=True)
    mean = sums.sum(-1, keepdims=True) / size
    square = ((sums - mean * sizes) ** 2).sum(-1, keepdims=True) * n / (n - 1)
    return mean[..., 0], (np.sqrt(square) / size)[..., 0]


def check_ablations(e: Evidence) -> None:
    """Contexts run again: the strongest effects of each sampled feature, and every context of one feature."""
    hook = e.runner.hooks[-1]
    # Where the values at a hook are made from those of a module, nothing can be subtracted from them here.
    runnable = not place_of(e.runner.model, hook.source).change and hook.source == hook.name
    whole = next((feature for feature, _, rows in sampled(e, "effect_contexts") if rows), None)
    for feature, _, rows in sampled(e, "effect_contexts"):
        at = e.report.at("effect_contexts", f"feature {feature}")
        at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
        falls = all(a.kl >= b.kl for a, b in pairwise(rows))
        at.holds(falls, "kl", "the contexts are not in the order of their effect")
        for row in rows:
            _check_place(e, feature, row)
        if runnable:
            chosen = rows if feature == whole else rows[:CONTEXTS]
            changes = [_check_context(e, feature, row) for row in chosen]
            if feature == whole and changes:
                _check_tokens(e, feature, np.mean(changes, axis=0))


def _check_place(e: Evidence, feature: int, row: Row) -> None:
    """What needs no model: text, category, token, next token, and that feature and control are active there."""
    at = e.report.at("effect_contexts", f"feature {feature}, rank {row.rank}")
    place = e.place.get(row.text)
    known = place is not None and 0 <= row.position < len(e.seen.ids(place))
    at.holds(known, "position", f"there is no token {row.position} of text {row.text}")
    if place is None or not known:
        return
    ids, token = e.seen.ids(place), int(e.seen.offsets[place]) + row.position
    entries = slice(int(e.seen.indptr[token]), int(e.seen.indptr[token + 1]))
    active = dict(zip(e.seen.features[entries].tolist(), e.seen.values[entries].tolist(), strict=True))
    at.same("category", row.category, e.categories[place])
    at.same("token", row.token, e.token(ids[row.position]))
    at.same("next_token", row.next_token, e.token(ids[row.position + 1]) if row.position + 1 < len(ids) else "")
    at.close("activation", row.activation, active.get(feature, 0.0), 1e-3, 1e-4)
    if row.control_feature >= 0:
        good = row.control_feature in active and row.control_feature != feature
        at.holds(good, "control_feature", f"feature {row.control_feature} is not active there, or is the same one")


def _context(e: Evidence, feature: int, place: int, position: int) -> Context:
    """The window of a token up to it, and the feature's activations at the last tokens that it counts."""
    runner, ids = e.runner, e.seen.ids(place)
    start = 0
    for window in windows_of(ids, runner.context, runner.bos, runner.overlap):
        if position < start + len(window.counted):
            break
        start += len(window.counted)
    front = [*([] if runner.bos is None else [runner.bos]), *window.lead]
    inside = [*front, *window.counted[: position - start + 1]]
    found = values_at(runner.model, [runner.hooks[0].source], inside)[0]
    activations = np.zeros(len(inside))
    for back in range(min(REACH, position - start + 1)):
        token = int(e.seen.offsets[place]) + position - back
        entries = slice(int(e.seen.indptr[token]), int(e.seen.indptr[token + 1]))
        mine = e.seen.values[entries][e.seen.features[entries] == feature]
        activations[-1 - back] = mine[0] if len(mine) else 0.0
    return Context(inside, runner.hooks[0].values(runner.model, found), activations)


def _check_context(e: Evidence, feature: int, row: Row) -> Float64[np.ndarray, "d_vocab"]:
    """One context run again with the feature, without it and without the control; returns the change it makes."""
    runner, place = e.runner, e.place[row.text]
    context, hook = _context(e, feature, place, row.position), runner.hooks[-1]

    def run(removed: Float64[np.ndarray, "position d_out"]) -> Float64[np.ndarray, "d_vocab"]:
        return log_probabilities(runner.model, hook.source, context.ids, removed, hook.head)

    own = contribution(runner.sae, context.read, feature, context.activations)
    with_, without = run(np.zeros_like(own)), run(own)
    at = e.report.at("effect_contexts", f"feature {feature}, rank {row.rank}")
    at.close("kl", row.kl, divergence(with_, without), RELATIVE, ABSOLUTE)
    ids = e.seen.ids(place)
    following = ids[row.position + 1] if row.position + 1 < len(ids) else None
    if following is None:
        at.close("loss_change", row.loss_change, np.nan)
    else:
        at.close("loss_change", row.loss_change, float(with_[following] - without[following]), RELATIVE, 10 * ABSOLUTE)
        at.close("p_with", row.p_with, float(np.exp(with_[following])), RELATIVE, ABSOLUTE)
        at.close("p_without", row.p_without, float(np.exp(without[following])), RELATIVE, ABSOLUTE)
    if row.control_feature >= 0:
        other = run(control(runner.sae, context, feature, row.control_feature))
        at.close("control_kl", row.control_kl, divergence(with_, other), RELATIVE, ABSOLUTE)
    return np.asarray(with_ - without)


def _check_tokens(e: Evidence, feature: int, change: Float64[np.ndarray, "d_vocab"]) -> None:
    """The tokens that a feature raises and lowers most, and how far its direct effects agree with the changes."""
    table = e.published["effect_tokens"]
    rows = rows_of(table[table["feature"] == feature])
    direct = direct_effects(e.runner.model, e.runner.sae.w["W_dec"][feature]) if e.runner.writes_to_stream else None
    for direction, sign in (("raised", 1), ("lowered", -1)):
        own = [row for row in rows if row.direction == direction]
        best = np.sort(sign * change)[::-1]
        for rank, row in enumerate(own):
            at = e.report.at("effect_tokens", f"feature {feature}, {direction} {rank}")
            at.same("rank", row.rank, rank)
            at.same("token", row.token, e.token(row.token_id))
            at.close("change", sign * row.change, float(best[rank]), RELATIVE, 10 * ABSOLUTE)
            at.close("change", row.change, float(change[row.token_id]), RELATIVE, 10 * ABSOLUTE)
            wanted = np.nan if direct is None else float(direct[row.token_id])
            at.close("direct_logit", row.direct_logit, wanted, 1e-3, 1e-4)
    effects = e.published["effects"]
    for row in rows_of(effects[(effects["feature"] == feature) & (effects["group_kind"] == "all")]):
        wanted = np.nan if direct is None else float(np.corrcoef(change, direct)[0, 1])
        at = e.report.at("effects", f"feature {feature}, all")
        at.close("direct_correlation", row.direct_correlation, wanted, RELATIVE, 0.01)
