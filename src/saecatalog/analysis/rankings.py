"""Rankings and notable features: tables flow in, rankings and reasons flow out."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd

COMMON_RATE = 0.5
"""A common feature of a category is active in more than this share of its texts."""


def rank_features(features: pd.DataFrame, categories: pd.DataFrame, concepts: pd.DataFrame, top: int) -> pd.DataFrame:
    """Every ranking of the catalog, `top` entries each; ties are broken by the smaller index.

    The most selective features are strong on the fewest texts, but on at least one; their ties are broken by the larger
    maximum first.
    """
    fired = features[features["n_active"] > 0]
    selective = fired[fired["n_texts_strong"] >= 1]
    parts = [
        _ranking("strongest", fired, "max", [("max", False)], top),
        _ranking("frequent", fired, "n_texts_active", [("n_texts_active", False)], top),
        _ranking("selective", selective, "n_texts_strong", [("n_texts_strong", True), ("max", False)], top),
    ]
    for name, rows in categories.groupby("category", sort=True):
        parts += _category_rankings(str(name), rows, top)
    for name, rows in concepts.groupby("concept", sort=True):
        parts += concept_rankings(str(name), rows, top)
    return pd.concat(parts, ignore_index=True)


def _category_rankings(name: str, rows: pd.DataFrame, top: int) -> list[pd.DataFrame]:
    specialists = rows[rows["balanced_score"] > 0]
    inside = rows["active_inside"] / rows["n_inside"]
    outside = rows["active_outside"] / rows["n_outside"].clip(lower=1)
    # (inside - outside) * n_inside * n_outside, in integers, because equal differences of rates may differ in the last
    # bit.
    exact = rows["active_inside"].astype(np.int64) * rows["n_outside"] - rows["active_outside"] * rows["n_inside"]
    common = rows.assign(more=inside - outside, exact=exact)[inside > COMMON_RATE]
    return [
        _ranking(
            f"specialist:{name}", specialists, "balanced_score", [("balanced_score", False), ("auroc", False)], top
        ),
        _ranking(f"common:{name}", common, "more", [("exact", False), ("active_inside", False)], top),
    ]


def concept_rankings(name: str, rows: pd.DataFrame, top: int) -> list[pd.DataFrame]:
    """The rankings of one concept by consistency, by mean score and by contrast with the corpus.

    `rows` are the concept's rows. Contrast ranks only features active on more than half of the concept's texts.
    """
    consistent, in_half = rows[rows["n_strong"] > 0], rows[rows["n_active"] * 2 > rows["n_texts"]]
    return [
        _ranking(f"consistent:{name}", consistent, "consistency", [("consistency", False), ("mean_all", False)], top),
        _ranking(f"strong:{name}", rows, "mean_all", [("mean_all", False)], top),
        _ranking(f"contrast:{name}", in_half, "auroc", [("auroc", False), ("mean_all", False)], top),
    ]


def _ranking(name: str, rows: pd.DataFrame, value: str, order: list[tuple[str, bool]], top: int) -> pd.DataFrame:
    """The first `top` features in an order: pairs of a column and whether it ascends. `value` is the column shown."""
    keys = [*(column for column, _ in order), "feature"]
    first = rows.sort_values(keys, ascending=[*(up for _, up in order), True]).head(top)
    return pd.DataFrame(
        {
            "ranking": name,
            "rank": np.arange(len(first)),
            "feature": first["feature"].to_numpy(np.int32),
            "value": first[value].to_numpy(np.float64),
        }
    )


def reason_of(ranking: str) -> str:
    """The reason for being notable that a ranking gives; empty for rankings that give none."""
    kind, _, name = ranking.partition(":")
    name = name.replace(",", " ")
    if kind in ("strongest", "frequent", "selective"):
        return kind
    return {"specialist": f"specialist:{name}", "consistent": f"concept:{name}", "contrast": f"concept:{name}"}.get(
        kind, ""
    )


def choose_notable(rankings: pd.DataFrame, count: int, noted: Sequence[int] = ()) -> dict[int, list[str]]:
    """Up to `count` notable features with their reasons: the first of every ranking, then the second, and so on.

    Every ranking that gives a reason is read to the same depth, so that none of them dominates the catalog. The
    features in `noted`, which have a note by the author, are added.
    """
    given = rankings[rankings["ranking"].map(reason_of) != ""]
    columns = [rows["feature"].tolist() for _, rows in given.groupby("ranking", sort=False)]
    chosen: list[int] = []
    for row in zip_longest(*columns):
        chosen += [f for f in dict.fromkeys(row) if f is not None and f not in chosen]
        if len(chosen) >= count:
            break
    notable: dict[int, list[str]] = {feature: [] for feature in sorted(chosen[:count])}
    for feature, ranking in zip(given["feature"].tolist(), given["ranking"], strict=True):
        if feature in notable and reason_of(ranking) not in notable[feature]:
            notable[feature].append(reason_of(ranking))
    for feature in noted:
        notable.setdefault(feature, []).append("noted")
    return notable
