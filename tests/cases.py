"""Corpora as dense cases (read from stores, written to stores or made by hand), and figures that only tests compute.

The other figures are in `saecatalog.verify.formulas`, which `verify` uses too.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from saecatalog.verify.formulas import BANDS, Case, active_values, band_of, norm_limit, surroundings


def make_case(
    activations: list[Any], categories: list[str] | None = None, tokens: list[list[int]] | None = None
) -> Case:
    """Texts with the given activations, an array `[token, feature]` per text, in one category, all tokens different."""
    dense = [np.array(rows, np.float32) for rows in activations]
    lengths = [len(rows) for rows in dense]
    return Case(
        [f"t{t:02d}" for t in range(len(dense))],
        categories or ["one"] * len(dense),
        tokens or [list(range(sum(lengths[:t]), sum(lengths[: t + 1]))) for t in range(len(dense))],
        dense,
        [np.full(n, 2.0, np.float32) for n in lengths],
        [np.ones(n, np.float32) for n in lengths],
    )


def case_of(folder: Path, text_ids: list[str], categories: list[str]) -> Case:
    """The case in a store, read one entry at a time."""
    a = {p.stem: np.load(p) for p in folder.glob("*.npy")}
    n_tokens, d_sae = (int(n) for n in a["shape"])
    dense = np.zeros((n_tokens, d_sae), np.float32)
    for token in range(n_tokens):
        for entry in range(a["indptr"][token], a["indptr"][token + 1]):
            dense[token, a["features"][entry]] = a["activations"][entry]
    spans = [(int(a["text_offsets"][t]), int(a["text_offsets"][t + 1])) for t in range(len(text_ids))]
    return Case(
        text_ids,
        categories,
        [a["token_ids"][i:j].tolist() for i, j in spans],
        [dense[i:j] for i, j in spans],
        [a["norms"][i:j] for i, j in spans],
        [a["squared_errors"][i:j] for i, j in spans],
    )


def save_case(folder: Path, case: Case, residual: list[np.ndarray] | None = None) -> None:
    """Write a store by hand, in the documented arrays; without residuals the bands are zero."""
    dense, norms = np.concatenate(case.activations), np.concatenate(case.norms).astype(np.float32)
    rows, columns = np.nonzero(dense)
    bands = np.array([math.floor(8 * math.log2(norm)) for norm in norms.tolist()])
    x = np.concatenate(residual) if residual else np.zeros((len(norms), 1))
    lengths = [len(ids) for ids in case.tokens]
    arrays: dict[str, np.ndarray] = {
        "text_offsets": np.array([sum(lengths[:t]) for t in range(len(lengths) + 1)], np.int64),
        "token_ids": np.concatenate(case.tokens).astype(np.int32),
        "token_ends": np.concatenate([np.arange(1, n + 1) for n in lengths]).astype(np.int32),
        "norms": norms,
        "target_norms": norms,
        "squared_errors": np.concatenate(case.squared_errors).astype(np.float32),
        "indptr": np.array([int((rows < t).sum()) for t in range(len(dense) + 1)], np.int64),
        "features": columns.astype(np.int32),
        "activations": dense[rows, columns].astype(np.float32),
        "bands": np.unique(bands).astype(np.int32),
        "band_sums": np.array([x[bands == b].sum(0) for b in np.unique(bands)], np.float64),
        "shape": np.array(dense.shape, np.int64),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def median_norm(case: Case) -> float:
    ordered = sorted(float(norm) for norms in case.norms for norm in norms)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def without_massive(case: Case, multiple: float, median: float | None = None) -> tuple[Case, list[list[bool]]]:
    """The case without activations on massive positions, and which positions are included."""
    limit = norm_limit(median_norm(case) if median is None else median, multiple)
    keep = [[float(norm) <= limit for norm in norms] for norms in case.norms]
    cleared = [np.where(np.array(k)[:, None], a, np.float32(0)) for k, a in zip(keep, case.activations, strict=True)]
    return Case(case.text_ids, case.categories, case.tokens, cleared, case.norms, case.squared_errors), keep


# Figures: each takes a case without massive positions, and `keep`, which of its positions count


def text_scores(case: Case, keep: list[list[bool]], kind: str) -> dict[tuple[int, int], tuple[float, int]]:
    """(score, position) of every text and feature whose score is above 0."""
    scores = {}
    for t, rows in enumerate(case.activations):
        for feature in range(case.d_sae):
            values = [float(row[feature]) for row in rows]
            peak = values.index(max(values))
            if kind == "max" and values[peak] > 0:
                scores[t, feature] = values[peak], peak
            if kind == "last" and values[-1] > 0:
                scores[t, feature] = values[-1], len(values) - 1
            if kind == "mean" and values[peak] > 0:
                scores[t, feature] = float(np.float32(math.fsum(values) / sum(keep[t]))), peak
    return scores


def score_matrix(scores: dict[tuple[int, int], tuple[float, int]], n_texts: int, d_sae: int) -> np.ndarray:
    matrix = np.zeros((n_texts, d_sae))
    for (text, feature), (score, _) in scores.items():
        matrix[text, feature] = score
    return matrix


def top_contexts(case: Case, feature: int, top: int) -> list[tuple[int, int, float, int]]:
    """(text, position, activation, hidden): the strongest token of each text, once per group of near-duplicates."""
    peaks: dict[int, tuple[int, float]] = {}
    for text, position, value in active_values(case, feature):
        if text not in peaks or value > peaks[text][1]:
            peaks[text] = position, value
    ordered = sorted(peaks.items(), key=lambda item: (-item[1][1], item[0]))
    groups: dict[tuple[int | None, ...], list[tuple[int, int, float]]] = {}
    for text, (position, value) in ordered:
        groups.setdefault(surroundings(case, text, position), []).append((text, position, value))
    return [(*members[0], len(members) - 1) for members in groups.values()][:top]


def bands(case: Case, feature: int) -> dict[str, list[tuple[int, int]]]:
    """The active tokens by rank, strongest first, divided at the three quartiles; see `band_of`."""
    active = sorted(active_values(case, feature), key=lambda entry: (-entry[2], entry[0], entry[1]))
    slices: dict[str, list[tuple[int, int]]] = {name: [] for name in BANDS}
    for rank, (text, position, _) in enumerate(active):
        slices[band_of(rank, len(active))].append((text, position))
    return slices


def pair_counts(active: np.ndarray) -> np.ndarray:
    """How many rows each pair of columns shares, dense."""
    return active.astype(np.int64).T @ active.astype(np.int64)


def correlations(active: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every pair of boolean columns; 0 if either is constant."""
    changes = [f for f in range(active.shape[1]) if 0 < active[:, f].sum() < len(active)]
    out = np.zeros((active.shape[1], active.shape[1]))
    if changes:
        out[np.ix_(changes, changes)] = np.corrcoef(active[:, changes].T.astype(float))
    return out


def explained_variance(residual: np.ndarray, reconstruction: np.ndarray) -> float:
    """1 - (squared error) / (squared distance from the mean), summed over positions and dimensions."""
    error = sum(float(((x - y) ** 2).sum()) for x, y in zip(residual, reconstruction, strict=True))
    mean = residual.mean(0)
    return 1 - error / sum(float(((x - mean) ** 2).sum()) for x in residual)
