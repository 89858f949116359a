"""Where each feature fires, for comparing any two: activations and decoder rows flow in, one row per feature flows out.

All firings of a large corpus would be too much for a site, so the features are chosen up to a limit: those with a page,
the notable ones first.
"""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float32, Int8, Int64

from saecatalog.analysis.activations import Activations
from saecatalog.constants import FIRINGS_MAX
from saecatalog.tables import Columns, Lists

STEPS = 127
"""Steps from 0 to a decoder row's largest component."""


def choose_compared(
    n_active: Int64[np.ndarray, "d_sae"], notable: Collection[int], paged: Collection[int], most: int = FIRINGS_MAX
) -> list[int]:
    """The features that can be compared, ascending: notable ones, then others, while they fire at most `most` times."""
    order = [*sorted(set(notable) & set(paged)), *sorted(set(paged) - set(notable))]
    fits = np.cumsum(n_active[order]) <= most
    return sorted(feature for feature, kept in zip(order, fits.tolist(), strict=True) if kept)


def firing_rows(
    activations: Activations, decoder: Float32[np.ndarray, "d_sae d_out"], features: Sequence[int]
) -> Columns:
    """The tokens on which each of these features is active, ascending, and its decoder row in steps."""
    found = [activations.column(feature)[0] for feature in features]
    rows = in_steps(decoder[list(features)])
    return {
        "feature": np.array(features, np.int32),
        "tokens": _lists(found, np.int32),
        "direction": _lists(list(rows), np.int8),
    }


def in_steps(rows: Float32[np.ndarray, "feature d_out"]) -> Int8[np.ndarray, "feature d_out"]:
    """Each row in whole steps, so that its largest component has STEPS of them; a row of zeros stays one."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    return np.rint(rows / np.where(largest > 0, largest, 1) * STEPS).astype(np.int8)


def _lists(parts: Sequence[np.ndarray], kind: type) -> Lists:
    offsets = np.cumsum([0, *map(len, parts)])
    return Lists(np.concatenate([np.zeros(0, kind), *parts]).astype(kind), offsets)
