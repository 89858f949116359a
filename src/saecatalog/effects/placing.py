"""Sampled contexts in their windows: a sample and the windows of a corpus flow in, blocks of windows flow out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from saecatalog.analysis.activations import Activations
from saecatalog.constants import EFFECT_REACH
from saecatalog.effects.blocks import Block
from saecatalog.effects.sampling import Sample
from saecatalog.texts.windows import Window


@dataclass(frozen=True)
class Placed:
    """The contexts of a sample in the order of the sample, and the windows they are in."""

    windows: list[Window]
    """The windows with a context, by length: those of a block then fill batches, which have windows of one length."""
    where: Int64[np.ndarray, "context"]
    """The window of each context: index in `windows`."""
    depths: Int64[np.ndarray, "context"]
    """How many positions of its window are before the sampled token, BOS included."""
    activations: Float32[np.ndarray, "context reach"]
    next_ids: Int64[np.ndarray, "context"]

    def blocks(self, number: int, sample: Sample, most: int) -> Iterator[Block]:
        """The windows with their contexts, in runs of at most `most` positions or of one window.

        `number` is that of the sample.
        """
        return (self._block(number, sample, run) for run in self._runs(most))

    def _runs(self, most: int) -> Iterator[range]:
        first, total = 0, 0
        for place, window in enumerate(self.windows):
            # One for BOS, whether there is one or not.
            if total + window.run + 1 > most and place > first:
                yield range(first, place)
                first, total = place, 0
            total += window.run + 1
        if self.windows:
            yield range(first, len(self.windows))

    def _block(self, number: int, sample: Sample, run: range) -> Block:
        rows = np.flatnonzero((self.where >= run.start) & (self.where < run.stop))
        parts = (self.where - run.start, self.depths, sample.features, sample.controls, self.activations, self.next_ids)
        return Block(number, rows, self.windows[run.start : run.stop], *(part[rows] for part in parts))


def place_contexts(activations: Activations, sample: Sample, windows: list[Window], extra: int) -> Placed:
    """Find the windows of a sample's contexts; `extra` positions are before the tokens of a window (BOS)."""
    starts = np.array([window.start for window in windows], np.int64)
    leads = np.array([window.lead for window in windows], np.int64)
    tokens = sample.tokens.astype(np.int64)
    used, where = np.unique(np.searchsorted(starts, tokens, side="right") - 1, return_inverse=True)
    by_length = np.argsort([windows[place].run for place in used.tolist()], kind="stable")
    used, where = used[by_length], np.argsort(by_length, kind="stable")[where]
    begins = starts[used][where]
    return Placed(
        [windows[place] for place in used.tolist()],
        where.astype(np.int64),
        extra + leads[used][where] + tokens - begins,
        _before(activations, sample, begins),
        _next_ids(activations, tokens),
    )


def _before(
    activations: Activations, sample: Sample, begins: Int64[np.ndarray, "context"]
) -> Float32[np.ndarray, "context reach"]:
    """Each feature's activations at the last EFFECT_REACH tokens up to the sampled one, as far as its window counts.

    Tokens that a window runs as context only, and massive ones, have 0: the feature is not taken out there.
    """
    back = sample.tokens.astype(np.int64)[:, None] - np.arange(EFFECT_REACH - 1, -1, -1)
    found = np.zeros(back.shape, np.float32)
    for feature in np.unique(sample.features).tolist():
        rows = np.flatnonzero(sample.features == feature)
        tokens, values = activations.column(feature)
        at = np.minimum(np.searchsorted(tokens, back[rows]), len(tokens) - 1)
        active = (tokens[at] == back[rows]) & (back[rows] >= begins[rows, None])
        found[rows] = np.where(active, values[at], 0)
    return found


def _next_ids(activations: Activations, tokens: Int64[np.ndarray, "context"]) -> Int64[np.ndarray, "context"]:
    """The token after each one in its text; -1 at the end of a text."""
    store = activations.store
    ends = np.asarray(store.text_offsets)[activations.token_texts[tokens] + 1]
    after = np.minimum(tokens + 1, store.n_tokens - 1)
    return np.where(tokens + 1 < ends, store.token_ids[after], -1).astype(np.int64)
