"""Rankings and notable features: tables flow in, rankings and reasons flow out."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd

from saecatalog.constants import CLEAREST_SHARE, EVIDENCE, WEAK_SPECIALIST

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
    return pd.concat([*parts, _category_rankings(categories, top), concept_rankings(concepts, top)], ignore_index=True)


def _category_rankings(rows: pd.DataFrame, top: int) -> pd.DataFrame:
    """The specialists, those with weak evidence apart, and the common features of every category, by category."""
    grades = {word: place for place, word in enumerate(EVIDENCE)}
    specialists = rows[rows["balanced_score"] > 0].assign(grade=lambda found: found["evidence"].map(grades))
    weak = specialists["grade"] == grades["weak"]
    inside = rows["active_inside"] / rows["n_inside"]
    outside = rows["active_outside"] / rows["n_outside"].clip(lower=1)
    # (inside - outside) * n_inside * n_outside, in integers, because equal differences of rates may differ in the last
    # bit.
    exact = rows["active_inside"].astype(np.int64) * rows["n_outside"] - rows["active_outside"] * rows["n_inside"]
    common = rows.assign(more=inside - outside, exact=exact)[inside > COMMON_RATE]
    by_balance, by_difference = (
        [("grade", True), ("balanced_score", False), ("auroc", False)],
        [("exact", False), ("active_inside", False)],
    )
    return _by_group(
        [
            _ranking("specialist", specialists[~weak], "balanced_score", by_balance, top, "category"),
            _ranking(WEAK_SPECIALIST, specialists[weak], "balanced_score", by_balance, top, "category"),
            _ranking("common", common, "more", by_difference, top, "category"),
        ]
    )


def concept_rankings(rows: pd.DataFrame, top: int) -> pd.DataFrame:
    """The rankings of every concept by consistency, by mean score and by contrast with the corpus, by concept.

    Contrast ranks only features that respond to the concept, by what their AUROC surely exceeds.
    """
    consistent, responding = rows[rows["n_strong"] > 0], rows[rows["responds"].astype(bool)]
    by_share, by_mean = [("consistency", False), ("mean_all", False)], [("mean_all", False)]
    by_contrast = [("auroc_low", False), ("auroc", False), *by_mean]
    return _by_group(
        [
            _ranking("consistent", consistent, "consistency", by_share, top, "concept"),
            _ranking("strong", rows, "mean_all", by_mean, top, "concept"),
            _ranking("contrast", responding, "auroc_low", by_contrast, top, "concept"),
        ]
    )


def _ranking(
    kind: str, rows: pd.DataFrame, value: str, order: list[tuple[str, bool]], top: int, by: str = ""
) -> pd.DataFrame:
    """The first `top` features in an order: pairs of a column and whether it ascends. `value` is the column shown.

    If `by` is given, there is one ranking for each value of this column, named `<kind>:<value>`.
    """
    rows = rows.assign(group=rows[by] if by else "")
    keys = ["group", *(column for column, _ in order), "feature"]
    rows = rows.sort_values(keys, ascending=[True, *(up for _, up in order), True])
    rank = rows.groupby("group", sort=False).cumcount().to_numpy()
    first = rows[rank < top]
    names = first["group"].astype(object)
    return pd.DataFrame(
        {
            "ranking": (f"{kind}:" + names if by else kind + names).to_numpy(),
            "rank": rank[rank < top],
            "feature": first["feature"].to_numpy(np.int32),
            "value": first[value].to_numpy(np.float64),
        }
    )


def _by_group(rankings: list[pd.DataFrame]) -> pd.DataFrame:
    """Several kinds of rankings together: all of the first category or concept, then those of the next."""
    together = pd.concat(rankings, ignore_index=True)
    subject = np.array([name.partition(":")[2] for name in together["ranking"]], object)
    return together.iloc[np.argsort(subject, kind="stable")]


def reason_of(ranking: str) -> str:
    """The reason for being notable that a ranking gives; empty for rankings that give none.

    A feature that is strong on a concept's texts may be so on all texts: only contrast makes it notable.
    """
    kind, _, name = ranking.partition(":")
    name = name.replace(",", " ")
    if ranking == "clearest" or kind in ("strongest", "frequent", "selective"):
        return kind
    if kind in ("specialist", WEAK_SPECIALIST):
        return f"{kind}:{name}"
    return f"concept:{name}" if kind == "contrast" else ""


def choose_notable(rankings: pd.DataFrame, count: int, noted: Sequence[int] = ()) -> dict[int, list[str]]:
    """Up to `count` notable features with their reasons.

    One in `CLEAREST_SHARE` of them are the clearest. The others are the first of every ranking, then the second, and so
    on: every ranking that gives a reason is read to the same depth, so that none of them dominates the catalog. Those
    of weak evidence come after all others. The features in `noted`, which have a note by the author, are added.
    """
    given = rankings[rankings["ranking"].map(reason_of) != ""]
    weak = given["ranking"].str.startswith(f"{WEAK_SPECIALIST}:")
    clearest: list[int] = rankings.loc[rankings["ranking"] == "clearest", "feature"].tolist()
    chosen = clearest[: count // CLEAREST_SHARE]
    for row in [*_dealt(given[~weak]), *_dealt(given[weak])]:
        if len(chosen) >= count:
            break
        chosen += [f for f in dict.fromkeys(row) if f is not None and f not in chosen]
    notable: dict[int, list[str]] = {feature: [] for feature in sorted(chosen[:count])}
    for feature, ranking in zip(given["feature"].tolist(), given["ranking"], strict=True):
        if feature in notable and reason_of(ranking) not in notable[feature]:
            notable[feature].append(reason_of(ranking))
    for feature in noted:
        notable.setdefault(feature, []).append("noted")
    return notable


def _dealt(rankings: pd.DataFrame) -> Iterable[tuple[int | None, ...]]:
    """The first features of all rankings, then the second ones, and so on; None where a ranking has no more."""
    return zip_longest(*(rows["feature"].tolist() for _, rows in rankings.groupby("ranking", sort=False)))
