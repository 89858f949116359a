"""Where each feature fires: activations flow in, examples with the tokens around them flow out.

Top contexts are the strongest token of each text, silent rows never among them, near-duplicates counted and left
out. Bands are equal-count slices of the active tokens by rank, so that a reader sees weak firings too (equal-width
bins would fill their lowest one with near-silence).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64

from saecatalog.analysis.activations import Activations
from saecatalog.analysis.scores import TextScores

BEFORE, AFTER = 20, 10
"""Tokens shown before and after the peak."""

NEAR = 4
"""Two contexts are near-duplicates when the peak and this many tokens on each side are the same."""

BANDS = ("q75-100", "q50-75", "q25-50", "q0-25")
PER_BAND = 3
"""Examples shown of each band, evenly spaced by rank."""


def context_table(
    activations: Activations, top: int, text_ids: list[str], categories: list[str], vocabulary: list[str]
) -> pd.DataFrame:
    """The top contexts and the bands' examples of every feature that fired."""
    surroundings = _surroundings(activations)
    rows = [row for f in range(activations.d_sae) for row in _feature_rows(activations, f, top, surroundings)]
    frame = pd.DataFrame(rows, columns=["feature", "band", "rank", "entry", "token_index", "similar_hidden"])
    token = frame["token_index"].to_numpy(np.int64)
    text = activations.token_texts[token]
    frame["text"] = np.array(text_ids, object)[text]
    frame["category"] = np.array(categories, object)[text]
    frame["position"] = activations.token_positions[token]
    frame["token"] = np.array(vocabulary, object)[activations.store.token_ids[token]]
    frame["activation"] = activations.by_feature.data[frame["entry"].to_numpy(np.int64)]
    return pd.concat([frame, _shown(activations, frame["feature"].to_numpy(), token)], axis=1)


def _surroundings(activations: Activations) -> UInt64[np.ndarray, "token"]:
    """A hash of each token with its neighbours in the same text, to tell near-duplicates."""
    ids = activations.store.token_ids.astype(np.uint64) + np.uint64(1)
    texts = activations.token_texts
    mixed = np.zeros(len(ids), np.uint64)
    for shift in range(-NEAR, NEAR + 1):
        neighbour = np.roll(ids, -shift)
        same = np.roll(texts, -shift) == texts
        same &= (np.arange(len(ids)) + shift >= 0) & (np.arange(len(ids)) + shift < len(ids))
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.where(same, neighbour, np.uint64(0))
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _feature_rows(
    activations: Activations, feature: int, top: int, surroundings: UInt64[np.ndarray, "token"]
) -> Iterator[tuple[int, str, int, int, int, int]]:
    """(feature, band, rank, entry, token, hidden) of one feature's examples."""
    tokens, values = activations.column(feature)
    if not len(tokens):
        return
    offset = int(activations.by_feature.indptr[feature])
    strongest = np.lexsort((tokens, -values))
    texts, hashes = activations.token_texts[tokens], surroundings[tokens]
    picked, hidden = _top(strongest, texts, hashes, top)
    for rank, (place, count) in enumerate(zip(picked, hidden, strict=True)):
        yield feature, "top", rank, offset + place, int(tokens[place]), count
    used_texts, used_hashes = set(texts[picked].tolist()), set(hashes[picked].tolist())
    for band, members in zip(BANDS, np.array_split(strongest, len(BANDS)), strict=True):
        for rank, place in enumerate(_spread(members, texts, hashes, used_texts, used_hashes)):
            yield feature, band, rank, offset + place, int(tokens[place]), 0


def _top(
    strongest: Int64[np.ndarray, "active"], texts: np.ndarray, hashes: np.ndarray, top: int
) -> tuple[list[int], list[int]]:
    """The first entry of each text, strongest first, one per group of near-duplicates, and how many each hides."""
    _, first = np.unique(texts[strongest], return_index=True)
    peaks = strongest[np.sort(first)]
    _, first, counts = np.unique(hashes[peaks], return_index=True, return_counts=True)
    order = np.argsort(first)[:top]
    return peaks[first[order]].tolist(), (counts[order] - 1).tolist()


def _spread(
    members: Int64[np.ndarray, "member"], texts: np.ndarray, hashes: np.ndarray, used_texts: set, used_hashes: set
) -> list[int]:
    """Up to PER_BAND evenly spaced members of a band, none from a text or surroundings already shown."""
    chosen = []
    for start in ((np.arange(PER_BAND) + 0.5) * len(members) / PER_BAND).astype(int):
        for place in members[start:].tolist():
            if int(texts[place]) not in used_texts and int(hashes[place]) not in used_hashes:
                used_texts.add(int(texts[place]))
                used_hashes.add(int(hashes[place]))
                chosen.append(place)
                break
    return chosen


def _shown(activations: Activations, features: np.ndarray, tokens: np.ndarray) -> pd.DataFrame:
    """The part of the text shown around each peak, and where in it the feature is active (positions in the text)."""
    offsets, texts = activations.store.text_offsets, activations.token_texts[tokens]
    first = np.maximum(tokens - BEFORE, offsets[texts])
    last = np.minimum(tokens + AFTER + 1, offsets[texts + 1])
    positions, values = [], []
    for feature, a, b, base in zip(features, first, last, offsets[texts], strict=True):
        where, active = activations.column(feature)
        lo, hi = np.searchsorted(where, (a, b))
        positions.append((where[lo:hi] - base).astype(np.int32))
        values.append(active[lo:hi])
    start, end = (first - offsets[texts]).astype(np.int32), (last - offsets[texts]).astype(np.int32)
    return pd.DataFrame(
        {"window_start": start, "window_end": end, "active_positions": positions, "active_values": values}
    )


def text_top_table(activations: Activations, scores: TextScores, top: int, text_ids: list[str]) -> pd.DataFrame:
    """The features with the largest score on each text, with every activation in it."""
    matrix, by_token = scores.matrix, activations.by_token
    offsets = activations.store.text_offsets
    rows = []
    for text, name in enumerate(text_ids):
        entries = slice(matrix.indptr[text], matrix.indptr[text + 1])
        features, values, places = matrix.indices[entries], matrix.data[entries], scores.positions[entries]
        order = np.lexsort((features, -values))[:top]
        part = by_token[offsets[text] : offsets[text + 1]][:, features[order]].tocsc()
        for rank, place in enumerate(order):
            a, b = part.indptr[rank], part.indptr[rank + 1]
            active = part.indices[a:b].astype(np.int32)
            rows.append((name, rank, features[place], values[place], places[place], active, part.data[a:b]))
    columns = ["text", "rank", "feature", "score", "position", "active_positions", "active_values"]
    return pd.DataFrame(rows, columns=columns)
