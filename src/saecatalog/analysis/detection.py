"""How well rules detect features on the half of the texts that they were not chosen on.

Rules and a study's activations flow in, rows of the table `detection` flow out. A rule says on which tokens a feature
is active. It is compared with the feature's activity on tokens and on texts, and with the rules of other features, so
that a rule that suits many features is seen to say little about this one.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int, Int64, Num
from scipy import sparse

from saecatalog.analysis.activations import Activations, Block
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import column_ranks
from saecatalog.constants import SHUFFLED

HALF = "second"
"""The half of the texts on which rules are scored: labels are chosen on the first."""

QUANTILE = 0.95
"""`shuffled_high` is this quantile of the AUROC of other features' rules."""

Tokens = Bool[np.ndarray, "token"]
"""Which tokens of the corpus a rule matches."""

Places = Int[np.ndarray, "matched"]
"""The tokens of the corpus that a rule matches, in any order, each once."""


@dataclass(frozen=True)
class Shuffled:
    """Rules of other features, to compare with: the features, and the tokens that the rule of each matches."""

    features: Int64[np.ndarray, "rule"]
    matched: sparse.csr_matrix
    """`[token, rule]`, 1 where the rule matches."""


Match = Callable[[str], Places]
"""Finds the tokens that a rule matches; rules are strings. Most rules match few tokens of a large corpus."""


class HeldOut:
    """The tokens and texts on which rules are scored, and the rules of other features to compare with."""

    def __init__(
        self, activations: Activations, second: Bool[np.ndarray, "text"], others: Mapping[int, str], match: Match
    ):
        """`others` are rules by feature, of which some are drawn to compare with, and `match` understands them."""
        self.token_texts, self.texts = activations.token_texts, second
        self.tokens: Tokens = activations.included & second[self.token_texts]
        self.shuffled = self._deal(others, match)

    def _deal(self, rules: Mapping[int, str], match: Match) -> Shuffled:
        features = deal(rules)
        places = [np.sort(self._held_out(match(rules[feature]))) for feature in features]
        rows = np.concatenate([*places, np.empty(0, np.int64)]).astype(np.int64)
        columns = np.repeat(np.arange(len(places)), [len(place) for place in places])
        shape = (len(self.tokens), len(places))
        matrix = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)
        return Shuffled(np.array(features, np.int64), matrix)

    def _held_out(self, places: Places) -> Places:
        return np.asarray(places[self.tokens[places]])

    def rows(self, block: Block, scores: TextScores, rules: Mapping[int, str], match: Match) -> pd.DataFrame:
        """A row for each feature of a block that has a rule, without the columns that say what the rule is.

        `rules` are by feature, `match` understands them, and `scores` are those of the block.
        """
        ranked = _Ranked(scores.of_texts(self.texts))
        by_rule: dict[str, list[int]] = {}
        for column in range(len(block)):
            if rule := rules.get(block.first + column):
                by_rule.setdefault(rule, []).append(column)
        found: dict[int, dict[str, float]] = {}
        matched = np.zeros(len(self.tokens), bool)
        for rule, columns in by_rule.items():
            places = self._held_out(match(rule))
            texts = np.bincount(self.token_texts[places], minlength=len(self.texts)) > 0
            both = {"n_matched": len(places), "n_texts_matched": int(texts.sum())}
            matched[places] = True
            for column in columns:
                on_texts = ranked.against(column, texts[self.texts])
                found[column] = both | self._on_tokens(block, column, matched) | on_texts
            matched[places] = False
        table = pd.DataFrame([found[column] for column in sorted(found)], columns=COUNTS)
        columns_found = np.array(sorted(found), np.int64)
        totals = {"n_tokens": int(self.tokens.sum()), "n_texts": int(self.texts.sum())}
        figures = _figures(table.assign(**totals))
        return figures.assign(feature=block.first + columns_found, **self._by_chance(block, columns_found))

    def _on_tokens(self, block: Block, column: int, matched: Tokens) -> dict[str, float]:
        """Active tokens of a feature, those that the rule matches, and the activation on each."""
        entries = slice(block.indptr[column], block.indptr[column + 1])
        tokens, values = block.tokens[entries], block.values[entries].astype(np.float64)
        active, hit = self.tokens[tokens], matched[tokens]
        mass = {"mass": float(values[active].sum()), "mass_hit": float(values[hit].sum())}
        return {"n_active": int(active.sum()), "n_hit": int(hit.sum()), **mass}

    def _by_chance(self, block: Block, columns: Int64[np.ndarray, "row"]) -> dict[str, np.ndarray]:
        """The AUROC that rules of other features have for these features of a block: the mean and a high quantile."""
        active = sparse.csr_matrix(
            (self.tokens[block.tokens].astype(np.int32), block.tokens, block.indptr),
            shape=(len(block), len(self.tokens)),
        )
        hits = (active @ self.shuffled.matched)[columns].toarray().astype(np.float64)
        n_active = np.asarray(active.sum(1)).ravel()[columns][:, None]
        n_matched = np.asarray(self.shuffled.matched.sum(0)).ravel()[None, :]
        auroc = balanced_accuracy(hits, n_matched, n_active, int(self.tokens.sum()))
        own = (block.first + columns)[:, None] == self.shuffled.features[None, :]
        auroc[own] = np.nan
        return {"n_shuffled": (~own).sum(1), **_summary(auroc)}


COUNTS = [
    *("n_active", "n_matched", "n_hit", "mass", "mass_hit"),
    *("n_texts_active", "n_texts_matched", "n_texts_hit", "text_auroc"),
]
"""What is counted for each feature and its rule, before any rate."""


class _Ranked:
    """The text scores of a block, ranked among the texts of the half."""

    def __init__(self, scores: TextScores):
        self.scores, self.ranks = scores.by_feature, column_ranks(scores.by_feature)[0]

    def against(self, column: int, matched: Bool[np.ndarray, "text"]) -> dict[str, float]:
        """How the texts that a rule matches compare with the others by the score of a feature."""
        entries = slice(self.scores.indptr[column], self.scores.indptr[column + 1])
        hit = matched[self.scores.indices[entries]]
        n, n_matched, n_active = len(matched), int(matched.sum()), len(hit)
        # The texts without a score tie, at the lowest ranks.
        silent = (n_matched - int(hit.sum())) * (n - n_active + 1) / 2
        pairs = n_matched * (n - n_matched)
        above = float(self.ranks.data[entries][hit].sum()) + silent - n_matched * (n_matched + 1) / 2
        auroc = above / pairs if pairs else np.nan
        return {"n_texts_active": n_active, "n_texts_hit": int(hit.sum()), "text_auroc": auroc}


def _figures(found: pd.DataFrame) -> pd.DataFrame:
    """The rates that follow from the counts of each row; a rate of nothing is empty."""
    hit, matched, active, n = (found[f"n_{name}"].to_numpy(float) for name in ("hit", "matched", "active", "tokens"))
    text_hit, text_matched, text_active = (found[f"n_texts_{name}"] for name in ("hit", "matched", "active"))
    return found.assign(
        precision=found["n_hit"] / found["n_matched"],
        recall=found["n_hit"] / found["n_active"],
        f1=2 * found["n_hit"] / (found["n_matched"] + found["n_active"]),
        share=found["mass_hit"] / found["mass"],
        token_auroc=balanced_accuracy(hit, matched, active, n),
        text_precision=text_hit / text_matched,
        text_recall=text_hit / text_active,
    )


def balanced_accuracy(
    hit: Num[np.ndarray, "..."],
    matched: Num[np.ndarray, "..."],
    active: Num[np.ndarray, "..."],
    n: Num[np.ndarray, "..."] | int,
) -> Float64[np.ndarray, "..."]:
    """The AUROC of a rule, which only says yes or no: the mean of its true positive and its true negative rate.

    A yes-or-no rule has one point between the corners of its ROC curve, and this is the area below (Fawcett 2006). It
    is the probability that an active token is told from an inactive one, where a tie counts half. NaN if all tokens
    are active, or none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((hit / active + 1 - (matched - hit) / (n - active)) / 2)


def _summary(auroc: Float64[np.ndarray, "row rule"]) -> dict[str, np.ndarray]:
    """The mean and the high quantile of each row, without its missing values; missing if a row has no others."""
    mean, high = np.full(len(auroc), np.nan), np.full(len(auroc), np.nan)
    known = ~np.isnan(auroc).all(1) if auroc.shape[1] else np.zeros(len(auroc), bool)
    if known.any():
        mean[known] = np.nanmean(auroc[known], axis=1)
        high[known] = np.nanquantile(auroc[known], QUANTILE, axis=1)
    return {"shuffled_auroc": mean, "shuffled_high": high}


def deal(features: Iterable[int]) -> list[int]:
    """The features whose rules everything is compared with: up to SHUFFLED of those with a rule, drawn by a hash.

    The draw is the same for every corpus and dictionary, so that nothing depends on a random state.
    """
    drawn = sorted(features, key=lambda feature: hashlib.sha256(f"detection {feature}".encode()).digest())
    return sorted(drawn[:SHUFFLED])
