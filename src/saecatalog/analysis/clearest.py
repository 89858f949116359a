"""The rankings of the clearest features: the features table flows in, rankings flow out.

A feature is clear if its label's rule explains its activation on the half of the texts that the rule was not chosen on.
Each kind of rule has a ranking of its own, because the common tokens would fill a single one. A further ranking takes
the first feature of each kind, then the second, and so on; the kinds in `SET_APART` are not in it.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

import numpy as np
import pandas as pd

from saecatalog.constants import CLEAR, CLEAR_KINDS, CLEAREST, COMMON_DENSITY, COMMON_TOKEN, COUNTED_KINDS, SET_APART


def kinds(features: pd.DataFrame) -> pd.Series:
    """The kind of rule, a key of `CLEAR_KINDS`, by which each feature is clear; "" if it is not clear by any."""
    group = features["label_group"]
    is_common = group.isin(COUNTED_KINDS) & is_of_common_tokens(features)
    is_clear = group.isin(CLEAR_KINDS) & (features["clearness_low"] >= CLEAR)
    return group.mask(is_common, "common").where(is_clear, "")


def is_of_common_tokens(features: pd.DataFrame) -> pd.Series:
    """Whether a feature is active on many tokens, or the single token that predicts it best is common or one letter.

    Letters are those of scripts with capitals: in other scripts, a word may have one character.
    """
    # Recall is hits / n_active, and precision is hits / occurrences of the token.
    occurrences = (features["token_recall"] * features["n_active"] / features["token_precision"]).round()
    token = features["token_rule"].str.strip()
    is_letter = (token.str.len() == 1) & (token.str.lower() != token.str.upper())
    is_common = occurrences >= COMMON_TOKEN * features["n_tokens"]
    return (features["density"] >= COMMON_DENSITY) | is_common | is_letter


def clearest_rankings(features: pd.DataFrame, most: int = CLEAREST) -> pd.DataFrame:
    """The rankings `clearest` and `clearest:<kind>`, `most` entries each, by the lower end of the clearness.

    The larger clearness, then the smaller index breaks ties. Of the features of a kind with the same label, a ranking
    has only the first.
    """
    found = features.assign(kind=kinds(features))
    found = found[found["kind"] != ""].sort_values(
        ["clearness_low", "clearness", "feature"], ascending=[False, False, True]
    )
    found = found.drop_duplicates(["kind", "label"])
    ranked = {kind: found.loc[found["kind"] == kind, "feature"].tolist() for kind in CLEAR_KINDS}
    dealt = list(in_turn(members for kind, members in ranked.items() if kind not in SET_APART))
    lists = {"clearest": dealt, **{f"clearest:{kind}": members for kind, members in ranked.items()}}
    rows = [(name, rank, f) for name, members in lists.items() for rank, f in enumerate(members[:most])]
    rankings = pd.DataFrame(rows, columns=["ranking", "rank", "feature"]).astype({"rank": int, "feature": np.int32})
    value = features.set_index("feature")["clearness_low"].astype(np.float64)
    return rankings.assign(value=value.reindex(rankings["feature"]).to_numpy())


def in_turn(lists: Iterable[Iterable[int]]) -> Iterator[int]:
    """The first of each list, then the second of each, and so on; each number once."""
    dealt = (number for row in zip_longest(*lists) for number in row if number is not None)
    return iter(dict.fromkeys(dealt))
