"""Which tokens each feature fires on: a block flows in, the telling tokens and the best simple rules flow out.

A rule predicts that a feature is active at every occurrence of a token, or of two consecutive tokens. Both are the same
computation on a code for each position: the token's id, or the number of the pair of tokens that ends there.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int32, Int64, Shaped

from saecatalog.analysis.activations import (
    Block,
    CorpusTokens,
    among_largest,
    first_largest,
    order_within,
    ranks_in_runs,
    runs,
)
from saecatalog.constants import BIGRAM_GAIN, TOKENS_KEPT

START = "<start>"
"""The first token of a rule that means the start of the text."""


@dataclass(frozen=True)
class Codes:
    """One code per position of the corpus, and how often each code occurs."""

    of_token: Int32[np.ndarray, "token"]
    occurrences: Int64[np.ndarray, "code"]
    """Number of included positions with each code."""


@dataclass(frozen=True)
class CodeCounts:
    """Every pair of a feature of a block and a code that it is active on, ordered by feature, then code."""

    columns: Int32[np.ndarray, "pair"]
    """The feature, counted from the first of the block."""
    codes: Int32[np.ndarray, "pair"]
    n_active: Int64[np.ndarray, "pair"]
    n_occurrences: Int64[np.ndarray, "pair"]
    totals: Float64[np.ndarray, "pair"]
    """Sum of the activations."""
    entries: Int64[np.ndarray, "entry"]
    """The counted entries of the block, pair after pair: `n_active` entries for each pair."""


def token_codes(corpus: CorpusTokens) -> Codes:
    """The token ids as codes."""
    ids = corpus.ids
    return Codes(ids, np.bincount(ids[corpus.included], minlength=int(ids.max(initial=0)) + 1))


def bigram_codes(corpus: CorpusTokens) -> tuple[Codes, Int64[np.ndarray, "code 2"]]:
    """Codes for pairs of a token and the one before it in its text, in the order of both ids, and the ids of each code.

    The id before the first token of a text is -1.
    """
    ids = corpus.ids.astype(np.int64)
    before = np.where(corpus.positions == 0, -1, np.roll(ids, 1))
    width = int(ids.max(initial=0)) + 1
    # Each pair becomes one number, so that `unique` sorts plain integers; adding 1 to the first id turns -1 into 0.
    keys, code = np.unique((before + 1) * width + ids, return_inverse=True)
    pairs = np.stack([keys // width - 1, keys % width], axis=1)
    return Codes(code.astype(np.int32), np.bincount(code[corpus.included], minlength=len(keys))), pairs


def count_codes(
    columns: Int32[np.ndarray, "entry"],
    tokens: Int32[np.ndarray, "entry"],
    values: Float32[np.ndarray, "entry"],
    codes: Codes,
) -> CodeCounts:
    """How often and how strongly each feature is active on each code; entries ascend by feature, then token."""
    code = codes.of_token[tokens]
    entries = order_within(columns, code.view(np.uint32))
    code = code[entries]
    # Entries are now ordered by feature, then code, then token. `columns` is unchanged, because it is the first key.
    # The tokens of a pair stay in order, so sums do not depend on the division into blocks.
    starts = runs(columns, code)
    n_active = np.diff(np.append(starts, len(code)))
    pair = np.repeat(np.arange(len(starts)), n_active)
    totals = np.bincount(pair, values[entries].astype(np.float64), minlength=len(starts))
    code = code[starts]
    return CodeCounts(columns[starts], code, n_active, codes.occurrences[code], totals, entries)


def count_bigrams(block: Block, tokens: CodeCounts, bigrams: Codes) -> CodeCounts:
    """The same for pairs of tokens, without pairs that cannot be a clearly better rule than a single token.

    The F1 of a pair is bounded by its last token: its recall is at most the token's, and its precision is at most 1.
    With a active occurrences of the token and n active positions of the feature, F1 is at most 2a / (a + n).
    """
    single = np.zeros(len(block))
    best = best_rules(block.n_active, tokens)
    single[best.index] = best["f1"]
    most = 2 * tokens.n_active / (tokens.n_active + block.n_active[tokens.columns])
    likely = np.repeat(most - single[tokens.columns] >= BIGRAM_GAIN, tokens.n_active)
    # Back in the order of the block, by feature and then token, as `count_codes` needs them.
    entries = np.sort(tokens.entries[likely])
    return count_codes(block.columns[entries], block.tokens[entries], block.values[entries], bigrams)


def token_rows(block: Block, counts: CodeCounts, vocabulary: Shaped[np.ndarray, "d_vocab"]) -> pd.DataFrame:
    """The tokens that carry most of each feature's activation, the smaller id first in a tie."""
    share = _shares(counts, len(block))
    # Only the few pairs of each feature that can be among the largest are sorted, by their exact share.
    near = np.flatnonzero(among_largest(counts.columns, share, TOKENS_KEPT))
    order = near[np.lexsort((counts.codes[near], -share[near], counts.columns[near]))]
    rank = ranks_in_runs(runs(counts.columns[order]), len(order))
    kept = order[rank < TOKENS_KEPT]
    return pd.DataFrame(
        {
            "feature": block.features[counts.columns[kept]],
            "rank": rank[rank < TOKENS_KEPT],
            "token_id": counts.codes[kept],
            "token": vocabulary[counts.codes[kept]],
            "n_active": counts.n_active[kept],
            "n_occurrences": counts.n_occurrences[kept],
            "p_active": counts.n_active[kept] / counts.n_occurrences[kept],
            "mean_active": (counts.totals[kept] / counts.n_active[kept]).astype(np.float32),
            "share": share[kept],
        }
    )


def _shares(counts: CodeCounts, width: int) -> Float64[np.ndarray, "pair"]:
    """The share of its feature's activation that falls on each code."""
    return np.asarray(counts.totals / np.bincount(counts.columns, counts.totals, minlength=width)[counts.columns])


def best_rules(n_active: Int64[np.ndarray, "feature"], counts: CodeCounts) -> pd.DataFrame:
    """The code with the largest F1 of each feature that fired: `code`, `precision`, `recall`, `f1`, indexed by feature.

    `pair` is its place in `counts`. Precision is P(active | code), recall is P(code | active). The smaller code wins a
    tie. `n_active` counts the active positions of each feature.
    """
    # Equal to 2 * precision * recall / (precision + recall), but with a single division, so that equal scores are also
    # equal in floating point.
    f1 = 2 * counts.n_active / (counts.n_occurrences + n_active[counts.columns])
    best = first_largest(f1, runs(counts.columns))
    columns = counts.columns[best]
    return pd.DataFrame(
        {
            "pair": best,
            "code": counts.codes[best],
            "precision": counts.n_active[best] / counts.n_occurrences[best],
            "recall": counts.n_active[best] / n_active[columns],
            "f1": f1[best],
        },
        index=columns,
    )


def rule_rows(
    block: Block,
    tokens: CodeCounts,
    bigrams: CodeCounts,
    pairs: Int64[np.ndarray, "code 2"],
    vocabulary: Shaped[np.ndarray, "d_vocab"],
) -> pd.DataFrame:
    """The best rule of one token for each feature, and the best rule of two tokens if it is clearly better.

    `pairs` are the token ids of each code of `bigrams`. Features without a rule get "" and 0.
    """
    single, double = best_rules(block.n_active, tokens), best_rules(block.n_active, bigrams)
    double = double[double["f1"] - single["f1"].loc[double.index] >= BIGRAM_GAIN]
    first, second = pairs[double["code"]].T
    # [column of the table, feature]: the words and the numbers of all rules.
    words, numbers = np.full((3, len(block)), "", object), np.zeros((4, len(block)))
    words[0, single.index] = vocabulary[single["code"]]
    words[1, double.index] = np.where(first < 0, START, vocabulary[first])
    words[2, double.index] = vocabulary[second]
    numbers[:2, single.index] = single[["precision", "recall"]].to_numpy().T
    numbers[2:, double.index] = double[["precision", "recall"]].to_numpy().T
    f1, share = np.zeros(len(block)), np.zeros(len(block))
    f1[single.index] = single["f1"]
    share[single.index] = _shares(tokens, len(block))[single["pair"]]
    return pd.DataFrame(
        {
            "token_rule": words[0],
            "token_precision": numbers[0],
            "token_recall": numbers[1],
            "token_f1": f1,
            "token_share": share,
            "bigram_first": words[1],
            "bigram_second": words[2],
            "bigram_precision": numbers[2],
            "bigram_recall": numbers[3],
        }
    )
