"""Checks of where features fire, from which any two are compared: recomputed activations and the SAE's own decoder."""

import numpy as np

from saecatalog.verify.evidence import Evidence

MOST = 8_000_000
"""As the table's description says: the most firings of all features together."""


def check_firings(e: Evidence) -> None:
    """The tokens and the directions of the sampled features, and which features are there."""
    table = e.published["firings"]
    counts = {f: len(tokens) for f, tokens in zip(table["feature"].tolist(), table["tokens"], strict=True)}
    at = e.report.at("firings")
    at.lists("feature", list(counts), _chosen(e))
    for feature, n in counts.items():
        e.report.at("firings", f"feature {feature}").same("tokens", n, e.n_active[feature])
    # The number of the first token of each text.
    starts = np.cumsum([0, *map(len, e.case.tokens)])
    for column, feature in enumerate(e.sample):
        if feature not in counts:
            continue
        row = table[table["feature"] == feature].iloc[0]
        at = e.report.at("firings", f"feature {feature}")
        active = [
            int(starts[t] + i)
            for t, rows in enumerate(e.case.activations)
            for i in np.flatnonzero(rows[:, column] > 0).tolist()
        ]
        at.lists("tokens", row["tokens"].tolist(), active)
        at.holds(_is_in_steps(row["direction"], e.runner.sae.w["W_dec"][feature]), "direction", "not its decoder row")


def _is_in_steps(steps: np.ndarray, row: np.ndarray) -> bool:
    """Whether whole numbers are a decoder row in steps of a 127th of its largest component, rounded either way."""
    largest = max(abs(float(value)) for value in row)
    exact = [127 * float(value) / largest if largest else 0.0 for value in row]
    return len(steps) == len(exact) and all(
        abs(step - value) <= 0.501 for step, value in zip(steps.tolist(), exact, strict=True)
    )


def _chosen(e: Evidence) -> list[int]:
    """The features that the table is to have: those with a page, notable ones first, as long as they fit."""
    table = e.published["features"]
    rows = zip(*(table[name].tolist() for name in ("feature", "n_active", "page", "notable")), strict=True)
    order = sorted((not notable, feature, n) for feature, n, page, notable in rows if page)
    found, total = [], 0
    for _, feature, n in order:
        total += n
        if total > MOST:
            break
        found.append(feature)
    return sorted(found)
