"""Rules: the tokens they match and how well they hold, compared with slow code that reads the texts token by token."""

from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cases import make_case, save_case
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from studies import close, empty_lens, run_analyses

from saecatalog.analysis import activations as activations_module
from saecatalog.analysis.clearness import clearness_interval, figures
from saecatalog.analysis.code_counts import Entries
from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.rules import FAMILIES, Rule, matches
from saecatalog.analysis.study import Inputs
from saecatalog.analysis.token_kinds import KINDS
from saecatalog.config import AnalysisConfig
from saecatalog.store import read_store
from saecatalog.texts.corpus import Text
from saecatalog.verify.check_labels import Half
from saecatalog.verify.formulas import Case
from saecatalog.verify.rule_reading import RuleReader

PIECES = [
    "The", " the", " THE", " cat", "cats", "’s", "'", " don", "'t", "ing", " x", "_", "7", " 42nd", "½", ".", ").",
    "\n", "\r\n ", "  ", "\u00a0", " Привет", "мир", "中", "文字", " ß", "ǅ", "α", "\u0301", "👩\u200d", "$", " (",
    " <start>", "€",
]  # fmt: skip
"""Pieces of text; the last of them is split into two tokens that are parts of a character."""

VOCABULARY = [*PIECES[:-1], "<0xE2><0x82>", "<0xAC>"]
TEXTS = st.lists(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=12), min_size=1, max_size=5)


def tokens_of(pieces: list[int]) -> tuple[list[int], list[int]]:
    """The token ids of a text, and where the characters of each end."""
    ends = list(accumulate(len(PIECES[piece]) for piece in pieces))
    found = [(piece, end) for piece, end in zip(pieces, ends, strict=True)]
    split = [(piece, end) if piece < len(PIECES) - 1 else (piece + more, end) for piece, end in found for more in
             range(1 + (piece == len(PIECES) - 1))]  # fmt: skip
    return [token for token, _ in split], [end for _, end in split]


def both(texts: list[list[int]]) -> tuple[Readings, RuleReader]:
    """The corpus as the analyses read it, and as the slow code does."""
    split = [tokens_of(pieces) for pieces in texts]
    contents = ["".join(PIECES[piece] for piece in pieces) for pieces in texts]
    categories = [f"category {number % 2}" for number in range(len(texts))]
    lengths = [len(ids) for ids, _ in split]
    corpus = Corpus(
        np.concatenate([ids for ids, _ in split]).astype(np.int32),
        np.concatenate([ends for _, ends in split]).astype(np.int32),
        np.repeat(np.arange(len(texts)), lengths).astype(np.int32),
        np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        contents,
        categories,
        VOCABULARY,
    )
    table = pd.DataFrame({"content": contents, "token_ends": [ends for _, ends in split]})
    evidence = SimpleNamespace(
        published={"texts": table},
        halves=["first"] * len(texts),
        categories=categories,
        keep=[[True] * n for n in lengths],
        seen=SimpleNamespace(ids=lambda t: split[t][0]),
        token=VOCABULARY.__getitem__,
    )
    return Readings(corpus), RuleReader(evidence, "all")  # type: ignore[arg-type]


def rules_of(readings: Readings) -> list[Rule]:
    """Rules of every kind: one for each name that occurs, unions of two, and some that match nothing."""
    found = [Rule("position", (str(n),)) for n in (1, 2, 8)] + [Rule("class", (name,)) for name in KINDS]
    for kind, family in FAMILIES.items():
        if kind not in ("position", "class", "stem"):
            names = readings[family].names
            found += [Rule.named(kind, [name]) for name in names]
            found += [Rule(kind, pair) for pair in pairwise(names) if kind not in ("pair", "script")]
            found.append(Rule(kind, ("no", "such")))
    stems = {name[:n] for name in readings["word"].names for n in (1, 2, 4)} | {"zz"}
    return found + [Rule("stem", (stem,)) for stem in sorted(stems)]


@given(TEXTS)
def test_rules_match_what_a_reader_finds(texts: list[list[int]]) -> None:
    readings, reader = both(texts)
    places = [token.place for token in reader.tokens]
    for rule in rules_of(readings):
        wanted = reader.label(rule.to_json())
        assert matches(rule, readings).tolist() == [place in wanted for place in places], rule
        assert Rule.from_json(rule.to_json()) == rule


# Clearness


def clearness(
    tokens: np.ndarray, matched: np.ndarray, active: np.ndarray, values: np.ndarray
) -> tuple[float, float, float]:
    """Clearness and its interval for one feature on texts of equal length; arrays are `[text, token]`."""
    length = active.shape[1]
    places = np.flatnonzero(active.ravel()).astype(np.int32)
    entries = Entries(np.zeros(len(places), np.int32), places, values.ravel()[places].astype(np.float32), 1)
    hit = matched.ravel()[places]
    found = figures(entries, hit, np.array([matched.sum()]), np.array([active.size]))
    by_text = sparse.csr_matrix(matched.sum(1, dtype=float)[None])
    low, high = clearness_interval(entries, hit, found, places.astype(np.int64) // length, by_text, tokens)
    return float(found.explained[0]), float(low[0]), float(high[0])


def drawn(
    chance: np.random.Generator, n_texts: int, length: int = 40, uneven: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts that differ in how often a rule matches, and in how often a feature is active on the tokens it matches."""
    shapes = ((0.3, 3), (0.2, 0.1), (0.05, 3)) if uneven else ((1, 12), (4, 2), (1, 60))
    often, sure, otherwise = (chance.beta(a, b, (n_texts, 1)) for a, b in shapes)
    matched = chance.random((n_texts, length)) < often
    active = chance.random((n_texts, length)) < np.where(matched, sure, otherwise)
    return matched, active, np.where(active, chance.gamma(2.0, 1 + matched), 0.0)


@pytest.mark.parametrize(("uneven", "most"), [(True, 0.97), (False, 1.0)])
def test_the_interval_of_clearness_covers_the_truth(uneven: bool, most: float) -> None:
    """Where texts are alike, it covers more than 95 %: no text counts for more than one yes or no."""
    chance = np.random.default_rng(17)
    truth, _, _ = clearness(np.full(20_000, 40), *drawn(chance, 20_000, uneven=uneven))
    found = [clearness(np.full(80, 40), *drawn(chance, 80, uneven=uneven)) for _ in range(600)]
    covered = sum(low <= truth <= high for _, low, high in found) / len(found)
    assert 0.93 <= covered <= most, covered


@given(st.integers(0, 10**6))
def test_clearness_and_its_interval_follow_their_definition(seed: int) -> None:
    chance = np.random.default_rng(seed)
    matched, active, values = drawn(chance, 12, 6)
    if active.any() and not active.all():
        both_ = matched & active
        columns = [np.ones_like(values), active, matched, both_, values, values * both_]
        half = Half(np.stack([column.sum(1, dtype=float) for column in columns], axis=1))
        close(clearness(np.full(12, 6), matched, active, values), (half.explained(), *half.interval()), 1e-5, 1e-6)


# Invariance


@pytest.fixture(scope="module")
def case() -> tuple[Case, list[list[int]]]:
    """Features that are active on some tokens, by chance, each with one token that they like."""
    chance, texts = np.random.default_rng(5), []
    for _ in range(60):
        texts.append(chance.integers(0, 20, 15).tolist())
    liked = np.arange(7) * 2
    rows = [(chance.random((15, 7)) < np.where(np.array(ids)[:, None] == liked, 0.8, 0.05)) * 2.5 for ids in texts]
    return make_case([r * chance.integers(1, 4, r.shape) for r in rows], ["a", "b"] * 30, texts), texts


def labelled(folder: Path, case: Case) -> pd.DataFrame:
    save_case(folder / "store", case)
    words = [f" word{letter}" for letter in "abcdefghijklmnopqrst"]
    contents = ["".join(words[token] for token in ids) for ids in case.tokens]
    ends = [list(accumulate(len(words[token]) for token in ids)) for ids in case.tokens]
    np.save(folder / "store" / "token_ends.npy", np.concatenate(ends).astype(np.int32))
    texts = [Text(i, c, "here", t) for i, c, t in zip(case.text_ids, case.categories, contents, strict=True)]
    inputs = Inputs(texts, read_store(folder / "store"), [], None, empty_lens(case.d_sae), words)
    table = run_analyses(inputs, AnalysisConfig(), folder / "tables").tables["features"]
    return table[[name for name in table if name.startswith(("label", "clearness"))]]


def test_neither_the_order_of_texts_nor_the_size_of_blocks_matters(
    tmp_path: Path, case: tuple[Case, list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = labelled(tmp_path / "one", case[0])
    assert wanted["clearness"].notna().sum() >= 5
    # A corpus has the texts of a category in the order of their ids.
    order = [*range(1, 60, 2), *range(0, 60, 2)]
    parts = {name: [value[i] for i in order] for name, value in vars(case[0]).items()}
    pd.testing.assert_frame_equal(labelled(tmp_path / "two", Case(**parts)), wanted, rtol=1e-12)
    for size in (1, 3):
        monkeypatch.setattr(activations_module, "BLOCK_FEATURES", size)
        pd.testing.assert_frame_equal(labelled(tmp_path / f"blocks-{size}", case[0]), wanted, check_exact=True)
