"""Matching pursuit: rows and a dictionary flow in, their activations flow out, some of them undecided.

Nothing is imported from the rest of the package but the rest of this reference. Each step takes the decoder row most
like what is left of the input, and subtracts it. Where two are equally like it within rounding, or it is too close to
call whether the pursuit ends, both ways are followed: an activation is certain if it occurs on every path of its row.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from saecatalog.verify.encoded import Encoded

MAX_PATHS = 64
"""Most paths of one row that are followed; in float32, few rows have more than one."""


@dataclass(frozen=True)
class Pursuit:
    """What is to be encoded, and how."""

    w_dec: Float64[np.ndarray, "d_sae d_in"]
    inputs: Float64[np.ndarray, "row d_in"]
    reach: Float64[np.ndarray, "row 1"]
    """Size of each row before the decoder's bias was subtracted; rounding errors are proportional to it."""
    undecided: float
    """The difference, as a share of the sizes of two numbers, within which either may be the larger elsewhere."""
    config: dict[str, Any]


@dataclass(frozen=True)
class Paths:
    """The ways in which the pursuits of all rows may have gone, each an entry; the likely one of a row comes first."""

    row: Int64[np.ndarray, "path"]
    residual: Float64[np.ndarray, "path d_in"]
    activations: Float64[np.ndarray, "path d_sae"]
    done: Bool[np.ndarray, "path"]
    growth: Float64[np.ndarray, "path"]
    """By how much the steps so far may have enlarged a rounding error; 1 if all decoder rows have the length 1."""

    def take(self, places: Int64[np.ndarray, "place"]) -> "Paths":
        """The paths at these places, which may repeat."""
        return Paths(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


def pursue(p: Pursuit) -> Encoded:
    """Encode the rows."""
    n, (d_sae, d_in) = len(p.inputs), p.w_dec.shape
    paths = Paths(np.arange(n), p.inputs, np.zeros((n, d_sae)), np.zeros(n, bool), np.ones(n))
    for _ in range(p.config["max_iterations"] or d_in):
        if paths.done.all():
            break
        paths = _step(p, paths)
        # The place of each path among those of its row.
        turn = np.arange(len(paths.row)) - np.searchsorted(paths.row, paths.row)
        paths = paths.take(np.flatnonzero(turn < MAX_PATHS))
    return _summary(p, paths)


def _step(p: Pursuit, paths: Paths) -> Paths:
    """One more decoder row for every path that is not done."""
    lengths = np.linalg.norm(p.w_dec, axis=1)
    scores = np.maximum(paths.residual @ p.w_dec.T, 0)
    scores[paths.done] = 0
    unit = p.undecided * paths.growth * p.reach[paths.row, 0]
    best = scores.argmax(1)
    top = scores[np.arange(len(best)), best]
    near = top[:, None] - scores <= unit[:, None] * (lengths[best][:, None] + lengths)
    near[(top == 0) | paths.done] = False
    near[np.arange(len(best)), best] = True
    # The likely choice first; `nonzero` goes through the features in their order.
    place, chosen = np.nonzero(near)
    order = np.lexsort((chosen != best[place], place))
    place, chosen = place[order], chosen[order]
    before, value = paths.take(place), scores[place, chosen]
    activations = before.activations.copy()
    activations[np.arange(len(place)), chosen] += value
    same = ((activations != 0) == (before.activations != 0)).all(1)
    after = replace(
        before,
        residual=before.residual - value[:, None] * p.w_dec[chosen],
        activations=activations,
        growth=before.growth * np.where(before.done, 1, np.maximum(1, np.abs(1 - lengths[chosen] ** 2))),
        done=before.done | (same & bool(p.config["stop_on_duplicate_support"])),
    )
    return _stopped(p, after)


def _stopped(p: Pursuit, paths: Paths) -> Paths:
    """Paths whose residual is small enough are done; those where it is too close to call go both ways."""
    threshold = float(p.config["residual_threshold"])
    if threshold <= 0:
        return paths
    size = np.linalg.norm(paths.residual, axis=1)
    unit = p.undecided * paths.growth * p.reach[paths.row, 0]
    open_ = ~paths.done & (np.abs(size - threshold) <= unit)
    ended = replace(paths, done=paths.done | (size < threshold))
    other = replace(ended.take(np.flatnonzero(open_)), done=~ended.done[open_])
    return _joined(ended, other)


def _joined(a: Paths, b: Paths) -> Paths:
    """The paths of each row, those of `a` first."""
    both = Paths(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in a.__dataclass_fields__))
    return both.take(np.argsort(both.row, kind="stable"))


def _summary(p: Pursuit, paths: Paths) -> Encoded:
    """The likely path of each row, and what the others say about its activations."""
    starts = np.flatnonzero(np.diff(paths.row, prepend=-1))
    likely = paths.activations[starts]
    if not len(starts):
        return Encoded(likely, likely, likely + 1)
    least = np.minimum.reduceat(paths.activations, starts)
    most = np.maximum.reduceat(paths.activations, starts)
    growth = np.maximum.reduceat(paths.growth, starts)[:, None]
    sizes = p.reach * growth * np.linalg.norm(p.w_dec, axis=1)
    # A size of 0 has no rounding.
    sizes = np.maximum(sizes, np.finfo(float).tiny)
    margins = np.where(likely > 0, likely / sizes, -1.0)
    # Some paths have it and some do not: undecided, on the side of the likely path.
    open_ = (least == 0) & (most > 0)
    margins[open_] = np.where(likely[open_] > 0, p.undecided, -p.undecided) / 2
    if p.undecided:
        # The paths may also differ in its value.
        sizes = np.maximum(sizes, np.where(most > 0, (most - least) / p.undecided, 0))
    return Encoded(np.where(likely > 0, likely, most), margins, sizes)
