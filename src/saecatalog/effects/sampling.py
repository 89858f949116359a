"""Which contexts are run: the activations of a corpus flow in, a sample of each feature's active tokens flows out.

Each quarter of a feature's active tokens gives the same number, and within a quarter tokens are taken at equal steps in
the order of categories, so that the plain mean over a sample estimates the mean over all active tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped

from saecatalog.analysis.activations import Activations, strongest_first
from saecatalog.analysis.contexts import BANDS, band_bounds

QUARTERS = BANDS[1:]


@dataclass(frozen=True)
class Sample:
    """The sampled contexts, feature after feature; those of a feature are in the order of their tokens."""

    features: Int32[np.ndarray, "context"]
    tokens: Int32[np.ndarray, "context"]
    """The sampled token, in the numbering of the corpus."""
    bands: Int32[np.ndarray, "context"]
    """The quarter it was drawn from: index in QUARTERS."""
    activations: Float32[np.ndarray, "context"]
    controls: Int32[np.ndarray, "context"]
    """Another feature that is active at the token; -1 if there is none."""

    def __len__(self) -> int:
        return len(self.features)

    def part(self, rows: Int64[np.ndarray, "row"] | Bool[np.ndarray, "context"]) -> "Sample":
        """Some of the contexts."""
        return Sample(**{name: values[rows] for name, values in vars(self).items()})


def sample_contexts(
    activations: Activations,
    categories: Shaped[np.ndarray, "text"],
    features: Iterable[int],
    n: int,
    seed: int,
    silent: Bool[np.ndarray, "d_sae"],
) -> Sample:
    """At most `n` active tokens of each feature with their controls; all of them if there are no more than `n`.

    Each is from another text if the quarter has such a token left. `silent` features, whose decoder row is 0, are no
    controls. What is drawn for a feature depends on `seed` and on that feature alone.
    """
    parts = [_of_feature(activations, categories, feature, n, seed, silent) for feature in features]
    if not parts:
        none = np.empty(0, np.int32)
        return Sample(none, none, none, np.empty(0, np.float32), none)
    return Sample(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _of_feature(
    activations: Activations,
    categories: Shaped[np.ndarray, "text"],
    feature: int,
    n: int,
    seed: int,
    silent: Bool[np.ndarray, "d_sae"],
) -> Sample:
    generator = np.random.default_rng([seed, feature])
    tokens, values = activations.column(feature)
    ranked = strongest_first(np.zeros(len(tokens), np.int32), values)
    texts = activations.token_texts[tokens]
    used: set[int] = set()
    entries: list[int] = []
    bands: list[int] = []
    for band, (start, stop) in enumerate(pairwise(band_bounds(len(tokens)) if len(tokens) else [])):
        quota = n // len(QUARTERS) + (band < n % len(QUARTERS))
        members = _in_order(ranked[start:stop], texts, categories, generator)
        picked = _pick(members, texts, quota, generator.random(), used)
        entries += picked
        bands += [band] * len(picked)
    order = np.argsort(entries)
    chosen = np.array(entries, np.int64)[order]
    controls = [_control(activations, feature, int(token), generator, silent) for token in tokens[chosen]]
    return Sample(
        np.full(len(chosen), feature, np.int32),
        np.asarray(tokens[chosen], np.int32),
        np.array(bands, np.int32)[order],
        np.asarray(values[chosen], np.float32),
        np.array(controls, np.int32),
    )


def _in_order(
    members: Int64[np.ndarray, "member"],
    texts: Int32[np.ndarray, "entry"],
    categories: Shaped[np.ndarray, "text"],
    generator: np.random.Generator,
) -> Int64[np.ndarray, "member"]:
    """Entries by category, then text in a random order, then token."""
    among, place = np.unique(texts[members], return_inverse=True)
    shuffled = generator.permutation(len(among))
    names = np.unique(categories[among], return_inverse=True)[1]
    return np.asarray(members[np.lexsort((members, shuffled[place], names[place]))])


def _pick(
    members: Int64[np.ndarray, "member"],
    texts: Int32[np.ndarray, "entry"],
    quota: int,
    start: float,
    used: set[int],
) -> list[int]:
    """Up to `quota` members at equal steps from a random start in the first step; adds their texts to `used`.

    If the text of a member was used, the next member of another text takes its place, beyond the end the first ones;
    without any, the next member.
    """
    if len(members) <= quota:
        used.update(texts[members].tolist())
        return [int(entry) for entry in members]
    step = len(members) / quota
    taken: set[int] = set()
    for turn in range(quota):
        first = int((turn + start) * step)
        places = range(first, first + len(members))
        free = (place % len(members) for place in places if place % len(members) not in taken)
        place = next((p for p in free if int(texts[members[p]]) not in used), None)
        if place is None:
            place = next(p % len(members) for p in places if p % len(members) not in taken)
        taken.add(place)
        used.add(int(texts[members[place]]))
    return [int(members[place]) for place in sorted(taken)]


def _control(
    activations: Activations,
    feature: int,
    token: int,
    generator: np.random.Generator,
    silent: Bool[np.ndarray, "d_sae"],
) -> int:
    """Another feature active at a token, drawn at random; -1 if there is none."""
    matrix = activations.by_token
    active = matrix.indices[matrix.indptr[token] : matrix.indptr[token + 1]]
    others = active[(active != feature) & ~silent[active]]
    return int(generator.choice(others)) if len(others) else -1
