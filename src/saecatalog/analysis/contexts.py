"""Where each feature fires: a block of activations flows in, examples with the tokens around them flow out.

Top contexts are the strongest active token of each text; near-duplicates are counted and left out. Bands contain the
active tokens between two quartiles, so that readers also see weak activations. (With bins of equal width, the lowest
would contain nearly all tokens.)
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int32, Int64, Shaped, UInt32

from saecatalog.analysis.activations import (
    Block,
    CorpusTokens,
    order_within,
    ranks_in_runs,
    runs,
    strongest_first,
)
from saecatalog.analysis.scores import find_peaks
from saecatalog.constants import AFTER, BEFORE, NEAR
from saecatalog.store import ranges
from saecatalog.tables import Coded, Columns, Lists

BANDS = ("top", "q75-100", "q50-75", "q25-50", "q0-25")
"""The strongest token of each text, and the quarters of the active tokens by rank."""

PER_BAND = 5
"""Examples kept from each quarter, evenly spaced by rank."""


@dataclass(frozen=True)
class Examples:
    """The examples of a block's features in the order shown; each is an entry of the block."""

    entries: Int64[np.ndarray, "example"]
    bands: Int32[np.ndarray, "example"]
    """Index in BANDS."""
    ranks: Int64[np.ndarray, "example"]
    hidden: Int64[np.ndarray, "example"]
    """Number of near-duplicates of this example that were left out."""


def surroundings(corpus: CorpusTokens) -> UInt32[np.ndarray, "token"]:
    """A number for each token and its neighbours in the same text; near-duplicates have the same number.

    It is made from a 64-bit hash of the 2 * NEAR + 1 token ids, with 0 beyond the ends of the text.
    """
    # Ids start at 1, so that 0 can mean "beyond the text".
    ids = corpus.ids.astype(np.uint64) + np.uint64(1)
    texts = corpus.texts
    mixed = np.zeros(len(ids), np.uint64)
    for shift in range(-NEAR, NEAR + 1):
        # `np.roll` puts at each token the value of the token `shift` places further on. Values that wrapped around the
        # end, or come from another text, are masked.
        neighbour = np.roll(ids, -shift)
        same = np.roll(texts, -shift) == texts
        same &= (np.arange(len(ids)) + shift >= 0) & (np.arange(len(ids)) + shift < len(ids))
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.where(same, neighbour, np.uint64(0))
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed, return_inverse=True)[1].astype(np.uint32)


def context_rows(
    corpus: CorpusTokens,
    block: Block,
    top: int,
    around: UInt32[np.ndarray, "token"],
    text_ids: Shaped[np.ndarray, "text"],
    categories: Shaped[np.ndarray, "text"],
    vocabulary: Shaped[np.ndarray, "d_vocab"],
) -> Columns:
    """The top contexts and the examples of each band for every feature of a block that fired.

    `around` comes from `surroundings`. Each row has all activations of the feature in its text, not only those in the
    window shown.
    """
    found = _examples(corpus, block, top, around)
    tokens = block.tokens[found.entries]
    texts = corpus.texts[tokens]
    offsets = corpus.text_offsets
    first = np.maximum(tokens - BEFORE, offsets[texts])
    last = np.minimum(tokens + AFTER + 1, offsets[texts + 1])
    # Entries ascend by feature, then token, so a feature's activations in one text are a slice. A binary search for
    # feature * n_tokens + token finds its ends.
    width = np.int64(len(corpus.ids))
    keys, column = block.columns * width + block.tokens, block.columns[found.entries] * width
    lo, hi = (np.searchsorted(keys, column + offsets[t]) for t in (texts, texts + 1))
    active, bounds = ranges(lo, hi - lo), np.concatenate([[0], np.cumsum(hi - lo)])
    return {
        "feature": block.features[block.columns[found.entries]],
        "rank": found.ranks,
        "text": text_ids[texts],
        "category": categories[texts],
        "position": corpus.positions[tokens],
        "token": vocabulary[corpus.ids[tokens]],
        "activation": block.values[found.entries],
        "band": Coded(BANDS, found.bands),
        "similar_hidden": found.hidden,
        "window_start": first - offsets[texts],
        "window_end": last - offsets[texts],
        "active_positions": Lists(corpus.positions[block.tokens[active]], bounds),
        "active_values": Lists(block.values[active], bounds),
    }


def _examples(corpus: CorpusTokens, block: Block, top: int, around: UInt32[np.ndarray, "token"]) -> Examples:
    """For each feature the top contexts, then the bands, each in order of rank."""
    entries, ranks, hidden = _top(corpus, block, top, around)
    columns = block.columns[entries]
    weak_entries, weak_bands, weak_ranks = _spread(corpus, block, entries, around)
    entries = np.concatenate([entries, weak_entries])
    bands = np.concatenate([np.zeros(len(columns), np.int32), weak_bands])
    ranks = np.concatenate([ranks, weak_ranks])
    hidden = np.concatenate([hidden, np.zeros(len(weak_entries), np.int64)])
    order = np.lexsort((ranks, bands, block.columns[entries]))
    return Examples(entries[order], bands[order], ranks[order], hidden[order])


def _top(
    corpus: CorpusTokens, block: Block, top: int, around: UInt32[np.ndarray, "token"]
) -> tuple[Int64[np.ndarray, "example"], Int64[np.ndarray, "example"], Int64[np.ndarray, "example"]]:
    """Entries, ranks and numbers of hidden near-duplicates: each text's peak, strongest first, one per group."""
    peaks = find_peaks(block, corpus.texts)
    entries = peaks.entries[strongest_first(peaks.columns, block.values[peaks.entries])]
    # Peaks are now in order of strength. `order_within` is stable, so the first of each run of equal surroundings is
    # the strongest of its group. It gets the size of the group; the others keep 0.
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
    corpus: CorpusTokens,
    block: Block,
    used: Int64[np.ndarray, "top_example"],
    around: UInt32[np.ndarray, "token"],
) -> tuple[Int64[np.ndarray, "example"], Int32[np.ndarray, "example"], Int64[np.ndarray, "example"]]:
    """Entries, bands and ranks: up to PER_BAND members of each quarter of the active tokens by rank.

    None has the same text or surroundings as an example already shown, including the top contexts `used`.
    """
    texts, alike = corpus.texts[block.tokens], around[block.tokens]
    bounds = np.searchsorted(block.columns[used], np.arange(len(block) + 1))
    entries: list[int] = []
    bands: list[int] = []
    ranks: list[int] = []
    for column in np.flatnonzero(block.n_active).tolist():
        shown = used[bounds[column] : bounds[column + 1]]
        seen_texts, seen_alike = set(texts[shown].tolist()), set(alike[shown].tolist())
        members = block.strongest[block.indptr[column] : block.indptr[column + 1]]
        for band, (start, stop) in enumerate(pairwise(band_bounds(len(members))), 1):
            picked = _pick(members[start:stop], texts, alike, seen_texts, seen_alike)
            entries += picked
            bands += [band] * len(picked)
            ranks += range(len(picked))
    return np.array(entries, np.int64), np.array(bands, np.int32), np.array(ranks, np.int64)


def band_bounds(n: int) -> list[int]:
    """The rank at which each quarter of `n` active tokens begins, 0 being the strongest token, followed by `n`.

    The cuts are the quartiles as interpolated by `np.quantile`, so that a band reaches from one quartile in the
    `features` table to the next. A token on a quartile belongs to the stronger band. Sizes differ by one at most.
    """
    quarters = len(BANDS) - 1
    # The quartile below a band is at index (quarters - k) / quarters * (n - 1), counted from the weakest token.
    return [0, *(n - math.ceil((quarters - k) * (n - 1) / quarters) for k in range(1, quarters)), n]


def _pick(
    members: Int64[np.ndarray, "member"],
    texts: Int32[np.ndarray, "entry"],
    alike: UInt32[np.ndarray, "entry"],
    seen_texts: set[int],
    seen_alike: set[int],
) -> list[int]:
    """Up to PER_BAND evenly spaced members; the next one replaces a member whose text or surroundings were seen.

    Adds the texts and surroundings of the picked members to `seen_texts` and `seen_alike`.
    """
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
