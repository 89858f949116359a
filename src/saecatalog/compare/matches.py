"""Matches the features of two SAEs by their scores on the same texts, and by their decoder rows.

Two catalogs, their shared texts and their decoders flow in; the columns of the table of matches flow out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from saecatalog.compare.matching import (
    DECIMALS,
    Best,
    Directions,
    Scores,
    best_partners,
    chance_levels,
    mutual,
    shuffled,
    similarity,
)
from saecatalog.compare.published import Side, n_active
from saecatalog.compare.tables import LEAST_TEXTS

Decoders = tuple[Directions, Directions] | None
"""The decoder rows of both SAEs, if they can be compared."""

Both = tuple[Side, Side]


def match_features(
    sides: Both, texts: list[str], decoders: Decoders, tick: Callable[[str], object]
) -> tuple[dict[str, Any], int]:
    """The table of matches, and the number of pairs that the same rule finds if the texts of one side are shuffled.

    Without texts, no feature has a match; `tick` is called before each step, with its name.
    """
    scores = [side.scores(texts) for side in sides]
    actives = [n_active(part) for part in scores]
    compared = [_comparable(Scores(part), active) for part, active in zip(scores, actives, strict=True)]
    first, second = (Scores(part[:, which]) for part, which in zip(scores, compared, strict=True))
    tick("activations")
    best = best_partners(first, second)
    exact = (similarity(first, second, best[0].partner), similarity(second, first, best[1].partner))
    tick("shuffled texts")
    null = best_partners(first, second, shuffled(texts))
    chance = [chance_levels(actives[k][compared[k]], null[k].similarity) for k in (0, 1)]
    frames = [_empty(side) for side in sides]
    for k, frame in enumerate(frames):
        rows = compared[k]
        frame["n_texts_active"] = actives[k]
        frame.loc[rows, "match"] = compared[1 - k][best[k].partner]
        frame.loc[rows, "correlation"] = exact[k].astype(np.float32)
        frame.loc[rows, "chance"] = chance[k]
    tick("decoder rows")
    _add_decoders(frames, decoders)
    for frame, other in (frames, frames[::-1]):
        _judge(frame, other)
    table = pd.concat(frames, ignore_index=True)
    by_chance = _pairs(null[0], null[1], chance[0], chance[1])
    return {str(name): table[name].to_numpy() for name in table}, int(by_chance.sum())


def _comparable(scores: Scores, active: Int64[np.ndarray, "feature"]) -> Int64[np.ndarray, "few"]:
    """The features that fire on enough texts and do not score the same on all, which leaves nothing to correlate."""
    often = np.flatnonzero(active >= LEAST_TEXTS)
    if not len(often):
        return often
    chosen = scores.matrix[:, often]
    low, high = (chosen.min(axis=0).toarray().ravel(), chosen.max(axis=0).toarray().ravel())
    return np.asarray(often[low < high])


def _empty(side: Side) -> pd.DataFrame:
    """One side's rows before anything is compared."""
    named = side.features[["feature", "label", "page"]].reset_index(drop=True)
    none = np.full(side.d_sae, np.nan, np.float32)
    return named.assign(catalog=side.slug, specialist=side.specialist_of, match=-1, correlation=none, chance=none)


def _add_decoders(frames: list[pd.DataFrame], decoders: Decoders) -> None:
    """Add the cosine of each match, and the nearest decoder row of the other SAE."""
    if decoders is None:
        for frame in frames:
            frame["match_cosine"] = frame["nearest_cosine"] = np.float32(np.nan)
            frame["nearest"] = -1
        return
    nearest = best_partners(*decoders)
    for frame, best, rows, others in zip(frames, nearest, decoders, decoders[::-1], strict=True):
        frame["match_cosine"] = similarity(rows, others, frame["match"].to_numpy()).astype(np.float32)
        frame["nearest"] = best.partner
        frame["nearest_cosine"] = similarity(rows, others, best.partner).astype(np.float32)


def _judge(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    """Add whether each feature is its match's own match, and its status."""
    there = frame["match"].to_numpy()
    both = mutual(there, other["match"].to_numpy())
    above = _above(frame)
    # An index of -1 takes the last row; such features are not mutual.
    matched = both & above & _above(other)[there]
    conditions = [frame["n_texts_active"].to_numpy() == 0, there < 0, matched, above]
    frame["mutual"] = both
    frame["status"] = np.select(conditions, ["silent", "rare", "matched", "one way"], "alone")


def _above(frame: pd.DataFrame) -> Bool[np.ndarray, "feature"]:
    """Whether each feature's correlation exceeds that of chance, compared with the same rounding."""
    return np.round(frame["correlation"].to_numpy(), DECIMALS) > frame["chance"].to_numpy()


def _pairs(there: Best, back: Best, level: np.ndarray, level_back: np.ndarray) -> Bool[np.ndarray, "feature"]:
    """Whether each feature and its best partner are each other's best, above chance on both sides."""
    found = mutual(there.partner, back.partner) & (there.similarity > level)
    partner = there.partner[found]
    found[found] = back.similarity[partner] > level_back[partner]
    return found
