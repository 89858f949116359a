"""Tokens and token rules against loops over dense arrays, and by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import reference
from cases import make_case
from hypothesis import given
from hypothesis import strategies as st
from studies import Study, analyse_case, close

from saecatalog.analysis import token_view
from saecatalog.analysis.activations import Block
from saecatalog.analysis.token_view import CodeCounts, best_rules
from saecatalog.config import AnalysisConfig
from saecatalog.verify import formulas


def test_tokens_table(study: Study) -> None:
    table = study.table("tokens")
    assert sorted(set(table["feature"])) == study.fired
    for feature, rows in table.groupby("feature"):
        by_token = formulas.token_figures(study.case, study.keep, feature)
        total = sum(f.total for f in by_token.values())
        wanted = formulas.ranked(list(by_token), lambda i, f=by_token: (-round(f[i].total, 9), i), 10)
        assert rows["token_id"].tolist() == wanted
        assert rows["rank"].tolist() == list(range(len(wanted)))
        assert rows["n_active"].tolist() == [by_token[i].n_active for i in wanted]
        assert rows["n_occurrences"].tolist() == [by_token[i].n_occurrences for i in wanted]
        assert rows["p_active"].tolist() == [by_token[i].n_active / by_token[i].n_occurrences for i in wanted]
        close(rows["mean_active"], [by_token[i].total / by_token[i].n_active for i in wanted])
        close(rows["share"], [by_token[i].total / total for i in wanted])


def test_best_single_token_rule(study: Study, models: Callable) -> None:
    for row in study.table("features").itertuples():
        by_token = formulas.token_figures(study.case, study.keep, row.feature)
        if not by_token:
            assert (row.token_rule, row.token_precision, row.token_recall) == ("", 0, 0)
            continue
        best = formulas.best_token(by_token)
        n_active = sum(f.n_active for f in by_token.values())
        assert row.token_rule == reference.token_text(models(study.shape), best)
        close(row.token_precision, by_token[best].n_active / by_token[best].n_occurrences)
        close(row.token_recall, by_token[best].n_active / n_active)


def test_a_rule_of_two_tokens(tmp_path: Path) -> None:
    """Active on token 7 only after token 3: the rule of one token is right half of the time, the pair always."""
    tokens = [[3, 7, 1, 7], [2, 7, 3, 7], [7, 7]]
    case = make_case([[[0], [2], [0], [0]], [[0], [0], [0], [2]], [[0], [0]]], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["token_rule"], row["bigram_first"], row["bigram_second"]) == ("w7", "w3", "w7")
    close([row["token_precision"], row["token_recall"]], [2 / 6, 1])
    close([row["bigram_precision"], row["bigram_recall"]], [1, 1])


def test_a_rule_for_the_start_of_a_text(tmp_path: Path) -> None:
    tokens = [[7, 7, 7], [7, 1], [2, 7]]
    case = make_case([[[2], [0], [0]], [[2], [0]], [[0], [0]]], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["bigram_first"], row["bigram_second"]) == ("<start>", "w7")
    close([row["bigram_precision"], row["bigram_recall"], row["start_share"]], [1, 1, 1])


def test_a_pair_that_is_hardly_better_is_no_rule(tmp_path: Path) -> None:
    """F1 of the token: 2 * 9 / (10 + 9); of the pair: 1. The difference is below 0.1."""
    case = make_case([[[0], [2]]] * 9 + [[[0], [0]]], tokens=[[3, 7]] * 9 + [[4, 7]])
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["token_rule"], row["bigram_first"], row["bigram_second"], row["bigram_recall"]) == ("w7", "", "", 0)


def test_best_token_ties_go_by_the_smaller_id(tmp_path: Path) -> None:
    """Of 5 active tokens, token 3 has 1 (of 3) and token 4 has 2 (of 11): F1 is 2/8 and 4/16, exactly equal."""
    tokens = [3] * 3 + [4] * 11 + [5] * 20
    active = [[1.0]] + [[0.0]] * 2 + [[1.0]] * 2 + [[0.0]] * 9 + [[1.0]] * 2 + [[0.0]] * 18
    case = make_case([active], None, [tokens])
    assert formulas.best_token(formulas.token_figures(case, [[True] * 34], 0)) == 3
    found = analyse_case(tmp_path, case, AnalysisConfig())
    assert found.tables["features"]["token_rule"].tolist() == ["w3"]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30)), min_size=1, max_size=8))
def test_best_token_on_random_counts(counts: list[tuple[int, int]]) -> None:
    """Ties are exact: rounding must not separate two rules of equal F1."""
    by_token = {i: formulas.TokenFigures(a, a + more, 1.0) for i, (a, more) in enumerate(counts)}
    n = len(by_token)
    found = CodeCounts(
        np.zeros(n, np.int64),
        np.arange(n),
        np.array([f.n_active for f in by_token.values()]),
        np.array([f.n_occurrences for f in by_token.values()]),
        np.ones(n),
        np.arange(n),
    )
    assert best_rules(np.array([sum(a for a, _ in counts)]), found)["code"].tolist() == [formulas.best_token(by_token)]


@given(st.integers(1, 200), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_pairs_of_tokens_left_out_are_no_rules(n: int, vocabulary: int, seed: int) -> None:
    """The same rules come out when every pair of tokens is counted."""
    chance = np.random.default_rng(seed)
    ids = chance.integers(0, vocabulary, n).astype(np.int32)
    pairs, code = np.unique(np.stack([np.roll(ids, 1), ids], 1), axis=0, return_inverse=True)
    singles = token_view.Codes(ids, np.bincount(ids, minlength=vocabulary))
    bigrams = token_view.Codes(code.ravel().astype(np.int32), np.bincount(code.ravel()))
    # Features that hang on a token, on a pair of tokens, and on neither, each more or less.
    hang = [ids == 0, code.ravel() == 0, code.ravel() == code.max(), np.ones(n, bool)]
    active = np.stack([chance.random(n) < np.where(on, 0.9, share) for on in hang for share in (0, 0.02, 0.3)])
    tokens = np.nonzero(active)[1]
    block = Block(0, np.append(0, active.sum(1).cumsum()), tokens.astype(np.int32), np.ones(len(tokens), np.float32))
    words = np.array([f"w{i}" for i in range(vocabulary)], object)
    single = token_view.count_codes(block.columns, block.tokens, block.values, singles)
    every = token_view.count_codes(block.columns, block.tokens, block.values, bigrams)
    likely = token_view.count_bigrams(block, single, bigrams)
    wanted = token_view.rule_rows(block, single, every, pairs, words)
    pd.testing.assert_frame_equal(token_view.rule_rows(block, single, likely, pairs, words), wanted)
