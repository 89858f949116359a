"""Where each feature fires: a block of activations flows in, examples with the tokens around them flow out.

Top contexts are the strongest token of each text, silent rows never among them, near-duplicates counted and left
out. Bands are equal-count slices of the active tokens by rank, so that a reader sees weak firings too (equal-width
bins would fill their lowest one with near-silence).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt32

from saecatalog.analysis.activations import (
    Activations,
    Block,
    order_within,
    ranks_in_runs,
    runs,
    strongest_first,
)
from saecatalog.analysis.scores import find_peaks
from saecatalog.store import ranges
from saecatalog.tables import Columns, Lists, Names

BEFORE, AFTER = 20, 10
"""Tokens shown before and after the peak."""

NEAR = 4
"""Two contexts are near-duplicates when the peak and this many tokens on each side are the same."""

BANDS = ("top", "q75-100", "q50-75", "q25-50", "q0-25")
"""The strongest of each text, and the quarters of the active tokens by rank."""

PER_BAND = 3
"""Examples shown of each quarter, evenly spaced by rank."""


@dataclass(frozen=True)
class Examples:
    """The examples of a block's features: an entry of the block each, in the order they are shown."""

    entries: Int64[np.ndarray, "example"]
    bands: Int32[np.ndarray, "example"]
    """Index in BANDS."""
    ranks: Int64[np.ndarray, "example"]
    hidden: Int64[np.ndarray, "example"]
    """Near-duplicates left out."""


def surroundings(activations: Activations) -> UInt32[np.ndarray, "token"]:
    """A number for each token with its neighbours in the same text, to tell near-duplicates."""
    ids = activations.store.token_ids.astype(np.uint64) + np.uint64(1)
    texts = activations.token_texts
    mixed = np.zeros(len(ids), np.uint64)
    for shift in range(-NEAR, NEAR + 1):
        neighbour = np.roll(ids, -shift)
        same = np.roll(texts, -shift) == texts
        same &= (np.arange(len(ids)) + shift >= 0) & (np.arange(len(ids)) + shift < len(ids))
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.where(same, neighbour, np.uint64(0))
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed, return_inverse=True)[1].astype(np.uint32)


def context_rows(
    activations: Activations,
    block: Block,
    top: int,
    around: UInt32[np.ndarray, "token"],
    text_ids: np.ndarray,
    categories: np.ndarray,
    vocabulary: np.ndarray,
) -> Columns:
    """The top contexts and the bands' examples of every feature of a block that fired."""
    found = _examples(activations, block, top, around)
    tokens = block.tokens[found.entries]
    texts = activations.token_texts[tokens]
    offsets = activations.store.text_offsets
    first = np.maximum(tokens - BEFORE, offsets[texts])
    last = np.minimum(tokens + AFTER + 1, offsets[texts + 1])
    # Entries ascend by feature and token, so that a feature's activations in one text are one slice of them.
    width = np.int64(activations.store.n_tokens)
    keys, column = block.columns * width + block.tokens, block.columns[found.entries] * width
    lo, hi = (np.searchsorted(keys, column + offsets[t]) for t in (texts, texts + 1))
    active, bounds = ranges(lo, hi - lo), np.concatenate([[0], np.cumsum(hi - lo)])
    return {
        "feature": block.features[block.columns[found.entries]],
        "rank": found.ranks,
        "text": text_ids[texts],
        "category": categories[texts],
        "position": activations.token_positions[tokens],
        "token": vocabulary[activations.store.token_ids[tokens]],
        "activation": block.values[found.entries],
        "band": Names(BANDS, found.bands),
        "similar_hidden": found.hidden,
        "window_start": first - offsets[texts],
        "window_end": last - offsets[texts],
        "active_positions": Lists(activations.token_positions[block.tokens[active]], bounds),
        "active_values": Lists(block.values[active], bounds),
    }


def _examples(activations: Activations, block: Block, top: int, around: np.ndarray) -> Examples:
    """Of each feature the top contexts, then the bands, each in order of rank."""
    entries, ranks, hidden = _top(activations, block, top, around)
    columns = block.columns[entries]
    weak_entries, weak_bands, weak_ranks = _spread(activations, block, entries, around)
    entries = np.concatenate([entries, weak_entries])
    bands = np.concatenate([np.zeros(len(columns), np.int32), weak_bands])
    ranks = np.concatenate([ranks, weak_ranks])
    hidden = np.concatenate([hidden, np.zeros(len(weak_entries), np.int64)])
    order = np.lexsort((ranks, bands, block.columns[entries]))
    return Examples(entries[order], bands[order], ranks[order], hidden[order])


def _top(
    activations: Activations, block: Block, top: int, around: np.ndarray
) -> tuple[Int64[np.ndarray, "example"], Int64[np.ndarray, "example"], Int64[np.ndarray, "example"]]:
    """Entries, ranks and numbers hidden: each text's peak, strongest first, one per group of near-duplicates."""
    peaks = find_peaks(block, activations.token_texts)
    entries = peaks.entries[strongest_first(peaks.columns, block.values[peaks.entries])]
    alike = around[block.tokens[entries]]
    grouped = order_within(peaks.columns, alike)
    groups = runs(peaks.columns, alike[grouped])
    hidden = np.zeros(len(entries), np.int64)
    hidden[grouped[groups]] = np.diff(np.append(groups, len(grouped)))
    kept = np.flatnonzero(hidden)
    ranks = ranks_in_runs(runs(peaks.columns[kept]), len(kept))
    shown = kept[ranks < top]
    return entries[shown], ranks[ranks < top], hidden[shown] - 1


def _spread(
    activations: Activations, block: Block, used: np.ndarray, around: np.ndarray
) -> tuple[Int64[np.ndarray, "example"], Int32[np.ndarray, "example"], Int64[np.ndarray, "example"]]:
    """Entries, bands and ranks: up to PER_BAND members of each quarter, none from a text or surroundings shown."""
    texts, alike = activations.token_texts[block.tokens], around[block.tokens]
    bounds = np.searchsorted(block.columns[used], np.arange(len(block) + 1))
    entries: list[int] = []
    bands: list[int] = []
    ranks: list[int] = []
    for column in np.flatnonzero(block.n_active).tolist():
        shown = used[bounds[column] : bounds[column + 1]]
        seen_texts, seen_alike = set(texts[shown].tolist()), set(alike[shown].tolist())
        members = block.strongest[block.indptr[column] : block.indptr[column + 1]]
        size, longer = divmod(len(members), len(BANDS) - 1)
        stop = 0
        for band in range(1, len(BANDS)):
            start, stop = stop, stop + size + (band <= longer)
            picked = _pick(members[start:stop], texts, alike, seen_texts, seen_alike)
            entries += picked
            bands += [band] * len(picked)
            ranks += range(len(picked))
    return np.array(entries, np.int64), np.array(bands, np.int32), np.array(ranks, np.int64)


def _pick(members: np.ndarray, texts: np.ndarray, alike: np.ndarray, seen_texts: set, seen_alike: set) -> list[int]:
    """Up to PER_BAND evenly spaced members; one that was seen gives way to the next."""
    picked = []
    for place in range(PER_BAND):
        for i in range(int((place + 0.5) * len(members) / PER_BAND), len(members)):
            entry = int(members[i])
            text, group = int(texts[entry]), int(alike[entry])
            if text not in seen_texts and group not in seen_alike:
                seen_texts.add(text)
                seen_alike.add(group)
                picked.append(entry)
                break
    return picked
