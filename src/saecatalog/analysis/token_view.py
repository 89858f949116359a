"""Which tokens each feature fires on: activations flow in, the telling tokens and the best one-token rule flow out."""

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Activations

KEPT = 10
"""Tokens kept per feature."""


def token_pairs(activations: Activations) -> pd.DataFrame:
    """One row per (feature, token id) that occurs active: counts, P(active | token), mean and share of activation.

    Sorted by feature, then by share, largest first, then by token id.
    """
    matrix, store = activations.by_feature, activations.store
    d_vocab = int(store.token_ids.max(initial=0)) + 1
    column = np.repeat(np.arange(matrix.shape[1], dtype=np.int64), np.diff(matrix.indptr))
    key, pair, n_active = np.unique(
        column * d_vocab + store.token_ids[matrix.indices], return_inverse=True, return_counts=True
    )
    total = np.bincount(pair, matrix.data.astype(np.float64), minlength=len(key))
    feature, token_id = key // d_vocab, key % d_vocab
    occurrences = np.bincount(store.token_ids[activations.included], minlength=d_vocab)[token_id]
    feature_total = np.bincount(feature, total, minlength=matrix.shape[1])
    pairs = pd.DataFrame(
        {
            "feature": feature.astype(np.int32),
            "token_id": token_id.astype(np.int32),
            "n_active": n_active,
            "n_occurrences": occurrences,
            "p_active": n_active / occurrences,
            "mean_active": (total / n_active).astype(np.float32),
            "share": total / feature_total[feature],
        }
    )
    return pairs.iloc[np.lexsort((token_id, -pairs["share"].to_numpy(), feature))].reset_index(drop=True)


def token_table(pairs: pd.DataFrame, vocabulary: list[str]) -> pd.DataFrame:
    """The tokens that carry most of each feature's activation."""
    rank = pairs.groupby("feature").cumcount()
    kept = pairs[rank < KEPT].assign(rank=rank[rank < KEPT])
    return kept.assign(token=np.array(vocabulary, object)[kept["token_id"]])


def token_rules(pairs: pd.DataFrame, n_active: np.ndarray, vocabulary: list[str]) -> pd.DataFrame:
    """Of each feature, the single token that best predicts activity (largest F1): its precision and recall.

    Precision is P(active | token), recall is P(token | active). Silent features have an empty token and zeros.
    """
    precision = pairs["p_active"].to_numpy()
    recall = pairs["n_active"].to_numpy() / n_active[pairs["feature"]]
    # The same as 2 * precision * recall / (precision + recall), in one division, so that equal scores are equal.
    f1 = 2 * pairs["n_active"].to_numpy() / (pairs["n_occurrences"].to_numpy() + n_active[pairs["feature"]])
    order = np.lexsort((pairs["token_id"], -f1, pairs["feature"]))
    feature = pairs["feature"].to_numpy()[order]
    best = order[np.concatenate([[True], feature[1:] != feature[:-1]])] if len(order) else order
    rules = pd.DataFrame({"token_rule": "", "token_precision": 0.0, "token_recall": 0.0}, index=range(len(n_active)))
    found = pairs["feature"].to_numpy()[best]
    rules.loc[found, "token_rule"] = np.array(vocabulary, object)[pairs["token_id"].to_numpy()[best]]
    rules.loc[found, "token_precision"] = precision[best]
    rules.loc[found, "token_recall"] = recall[best]
    return rules
