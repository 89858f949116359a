"""The tables of effects: a sample and its results flow in, rows flow out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped

from saecatalog.constants import EFFECT_TOKENS
from saecatalog.effects.ablation import Results
from saecatalog.effects.bootstrap import mean_interval
from saecatalog.effects.sampling import QUARTERS, Sample
from saecatalog.schemas import SCHEMAS


@dataclass(frozen=True)
class Names:
    """What the ids in the rows stand for."""

    texts: Shaped[np.ndarray, "text"]
    categories: Shaped[np.ndarray, "text"]
    token_texts: Shaped[np.ndarray, "token"]
    token_positions: Shaped[np.ndarray, "token"]
    token_ids: Shaped[np.ndarray, "token"]
    vocabulary: Shaped[np.ndarray, "d_vocab"]


def context_rows(
    sample: Sample, results: Results, next_ids: Shaped[np.ndarray, "context"], names: Names
) -> pd.DataFrame:
    """Every context, those of a feature in the order of their effect."""
    texts = names.token_texts[sample.tokens]
    has_next = next_ids >= 0
    found = pd.DataFrame(
        {
            "feature": sample.features,
            "text": names.texts[texts],
            "category": names.categories[texts],
            "position": names.token_positions[sample.tokens],
            "token": names.vocabulary[names.token_ids[sample.tokens]],
            "activation": sample.activations,
            "band": np.array(QUARTERS, object)[sample.bands],
            "loss_change": results.log_p_with - results.log_p_without,
            "kl": results.kl,
            "next_token": np.where(has_next, names.vocabulary[np.maximum(next_ids, 0)], ""),
            "p_with": np.exp(results.log_p_with),
            "p_without": np.exp(results.log_p_without),
            "control_feature": sample.controls,
            "control_loss_change": results.log_p_with - results.control_log_p,
            "control_kl": results.control_kl,
        }
    )
    # Stable, so that ties stay in the order of the tokens.
    order = np.lexsort((-results.kl, sample.features))
    found = found.iloc[order].reset_index(drop=True)
    return found.assign(rank=found.groupby("feature").cumcount().astype(np.int32))[list(SCHEMAS["effect_contexts"])]


MEANS = {
    "loss_change": ("loss_change", "loss_low", "loss_high"),
    "kl": ("kl", "kl_low", "kl_high"),
    "control_loss_change": ("control_loss_change", "control_loss_low", "control_loss_high"),
    "control_kl": ("control_kl", "control_kl_low", "control_kl_high"),
    "kl_excess": ("kl_excess", "kl_excess_low", "kl_excess_high"),
}
"""The columns of the mean and of the ends of its interval, for each value of a context."""


def effect_rows(
    contexts: pd.DataFrame, correlations: dict[int, float], categories: list[str], seed: int
) -> pd.DataFrame:
    """The means of each feature over all its contexts, then by band, the strongest first, then by category."""
    contexts = contexts.assign(kl_excess=contexts["kl"] - contexts["control_kl"])
    rows = [
        {"feature": feature, "group_kind": kind, "group": group, **_means(part, seed)}
        | {"direct_correlation": correlations.get(feature, np.nan) if kind == "all" else np.nan}
        for feature, own in _by(contexts, "feature").items()
        for kind, group, part in _groups(own, categories)
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["effects"]))


def _groups(own: pd.DataFrame, categories: list[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    yield "all", "", own
    for kind, column, names in (("band", "band", QUARTERS), ("category", "category", categories)):
        parts = _by(own, column)
        yield from ((kind, name, parts[name]) for name in names if name in parts)


def _by(contexts: pd.DataFrame, column: str) -> dict[Any, pd.DataFrame]:
    """The contexts by their value in a column, ascending."""
    return dict(list(contexts.groupby(column)))


def _means(part: pd.DataFrame, seed: int) -> dict[str, float]:
    texts = part["text"].to_numpy()
    found: dict[str, float] = {
        "n_contexts": len(part),
        "n_next": int(part["loss_change"].notna().sum()),
        "n_texts": part["text"].nunique(),
        "n_control": int(part["control_kl"].notna().sum()),
    }
    for name, columns in MEANS.items():
        values = part[name].to_numpy()
        there = ~np.isnan(values)
        mean, low, high = mean_interval(values[there], texts[there], seed)
        if name in ("kl", "control_kl"):
            # A divergence is never below 0, so neither is its mean.
            low = max(low, 0.0) if low == low else low
        found |= zip(columns, (mean, low, high), strict=True)
    return found


def token_rows(
    features: list[int],
    changes: Float32[np.ndarray, "feature d_vocab"],
    direct: Float32[np.ndarray, "feature d_vocab"] | None,
    vocabulary: Shaped[np.ndarray, "d_vocab"],
) -> pd.DataFrame:
    """The tokens whose log probability each feature raises most and lowers most; ties by the smaller id."""
    rows = []
    for place, feature in enumerate(features):
        for direction, sign in (("raised", 1), ("lowered", -1)):
            ids = _largest(sign * changes[place], EFFECT_TOKENS)
            rows.append(
                pd.DataFrame(
                    {
                        "feature": feature,
                        "direction": direction,
                        "rank": np.arange(len(ids)),
                        "token_id": ids,
                        "token": vocabulary[ids],
                        "change": changes[place][ids].astype(np.float64),
                        "direct_logit": np.nan if direct is None else direct[place][ids].astype(np.float64),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(SCHEMAS["effect_tokens"]))


def _largest(values: Float32[np.ndarray, "d_vocab"], k: int) -> Shaped[np.ndarray, "k"]:
    """The indices of the k largest values above 0, largest first, ties by the smaller index."""
    k = min(k, len(values))
    least = np.partition(values, -k)[-k]
    candidates = np.flatnonzero((values >= least) & (values > 0))
    return candidates[np.lexsort((candidates, -values[candidates]))][:k]


def correlation(
    changes: Float32[np.ndarray, "feature d_vocab"], direct: Float32[np.ndarray, "feature d_vocab"]
) -> Shaped[np.ndarray, "feature"]:
    """Pearson correlation of each pair of rows; NaN where one has no spread."""
    a, b = (m.astype(np.float64) - m.mean(1, keepdims=True, dtype=np.float64) for m in (changes, direct))
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.where(scale > 0, (a * b).sum(1) / np.where(scale > 0, scale, 1), np.nan)
