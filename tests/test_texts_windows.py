"""Tokens of texts, and windows and batches of tokens, against the tokenizers' own files."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from conftest import LLAMA_TOKENS, SaeKind, make_tokenizer
from harvesting import make_text
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.errors import CatalogError
from saecatalog.texts import windows
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import (
    PlainNames,
    TokenizedTexts,
    limit_texts,
    make_batches,
    make_windows,
    plain_names,
    tokenize,
)
from saecatalog.verify.model import windows_of
from saecatalog.verify.tokens import token_ends


def test_a_special_token_in_a_text_is_plain_text(subjects: Callable) -> None:
    for shape in ("llama", "gpt2"):
        tokenizer = subjects(shape, SaeKind("standard")).tokenizer
        ids = tokenize([make_text(0, "<|endoftext|> <s> </s> <pad>")], tokenizer).ids
        assert not set(ids.tolist()) & set(tokenizer.all_special_ids)


def test_a_special_token_in_a_text_that_holds_them_is_one_token(subjects: Callable) -> None:
    tokenizer = subjects("llama", SaeKind("standard")).tokenizer
    plain, special = make_text(0, "<s>cat</s> cat"), replace(make_text(1, "<s>cat</s> cat"), special_tokens=True)
    tokens = tokenize([special, plain, special], tokenizer)
    own = tokenizer("<s>cat</s> cat", add_special_tokens=False).input_ids
    found = [tokens.ids[a:b].tolist() for a, b in itertools.pairwise(tokens.offsets)]
    assert found[0] == found[2] == own
    assert own[0] == tokenizer.bos_token_id
    assert found[1] == tokenize([plain], tokenizer).ids.tolist()
    assert len(found[1]) > len(own)
    ends = tokens.ends[: len(own)].tolist()
    assert (ends[0], ends[-1]) == (3, len("<s>cat</s> cat"))


def test_names_of_special_tokens_that_are_plain_characters_are_counted(subjects: Callable) -> None:
    tokenizer = subjects("llama", SaeKind("standard")).tokenizer
    texts = [make_text(0, "a <pad> b"), make_text(1, "< s>"), make_text(2, "x</s><s>")]
    assert plain_names(texts, tokenizer) == PlainNames(2, "<pad>")
    assert plain_names([replace(text, special_tokens=True) for text in texts], tokenizer) == PlainNames(0, "")


def test_half_a_character_is_refused_with_its_place(fast_tokenizer: tuple[Any, Path]) -> None:
    with pytest.raises(CatalogError, match=r"half of a character: \\udcff") as caught:
        tokenize([make_text(0, "good"), Text("t", "c", "text 2", "a \udcff b")], fast_tokenizer[0])
    assert caught.value.where == "text 2"


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_token_ends_reproduce_the_content(shape: str, subjects: Callable, models: Callable, texts: list[Any]) -> None:
    tokens = tokenize(texts, subjects(shape, SaeKind("standard")).tokenizer)
    for t, text in enumerate(texts):
        span = slice(int(tokens.offsets[t]), int(tokens.offsets[t + 1]))
        pieces = [reference.token_bytes(models(shape), i) for i in tokens.ids[span].tolist()]
        assert b"".join(pieces).decode() == text.content
        assert tokens.ends[span].tolist() == token_ends(pieces, text.content)


SPACED = ["a  b\n\n  c 😀 日本", "def f(x):\n    return x\n\n\n\ty  ", "The cat \n sat", "x\n  y"]


@pytest.fixture(scope="module")
def trimming_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tokenizer with tokens of white space, whose offsets leave white space out (as Pythia's do), and its folder."""
    folder = tmp_path_factory.mktemp("trimming")
    tokenizer = make_tokenizer(LLAMA_TOKENS, trim_offsets=True, texts=[text.replace(" ", "  ") for text in SPACED] * 9)
    tokenizer.save_pretrained(folder)
    return tokenizer, folder


@pytest.mark.parametrize("content", SPACED)
def test_token_ends_where_offsets_leave_white_space_out(content: str, trimming_tokenizer: tuple[Any, Path]) -> None:
    tokenizer, folder = trimming_tokenizer
    tokens = tokenize([make_text(0, content)], tokenizer)
    pieces = [reference.token_bytes(folder, i) for i in tokens.ids.tolist()]
    assert tokens.ends.tolist() == token_ends(pieces, content)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=4))
def test_every_text_can_be_read_back(fast_tokenizer: tuple[Any, Path], contents: list[str]) -> None:
    tokenizer, folder = fast_tokenizer
    tokens = tokenize([make_text(i, c) for i, c in enumerate(contents)], tokenizer)
    for t, content in enumerate(contents):
        ids = tokens.ids[tokens.offsets[t] : tokens.offsets[t + 1]].tolist()
        assert ids == reference.token_ids(folder, content)
        ends = tokens.ends[tokens.offsets[t] : tokens.offsets[t + 1]].tolist()
        assert ends == token_ends([reference.token_bytes(folder, i) for i in ids], content)


@pytest.fixture(scope="module")
def fast_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = make_tokenizer(LLAMA_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer, folder


def test_a_text_without_tokens_is_an_error(fast_tokenizer: tuple[Any, Path]) -> None:
    with pytest.raises(CatalogError, match="no token"):
        tokenize([make_text(0, "a"), make_text(1, "")], fast_tokenizer[0])


def tokenized(lengths: list[int]) -> TokenizedTexts:
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenizedTexts(np.arange(total, dtype=np.int32), np.arange(1, total + 1, dtype=np.int32), offsets, ())


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@given(LENGTHS, st.integers(2, 20), st.booleans())
def test_windows_cover_each_token_once(lengths: list[int], context: int, bos: bool) -> None:
    tokens = tokenized(lengths)
    windows = make_windows(tokens, context, bos)
    assert [i for w in windows for i in range(w.start, w.stop)] == list(range(sum(lengths)))
    found = [tokens.ids[w.start : w.stop].tolist() for w in windows]
    texts = np.split(tokens.ids, np.cumsum(lengths)[:-1])
    assert found == [w.counted for ids in texts for w in windows_of(ids.tolist(), context, 0 if bos else None)]
    assert all(len(w) + bos <= context for w in windows)


@given(LENGTHS, st.integers(3, 20), st.booleans(), st.data())
def test_windows_that_overlap_count_each_token_once(
    lengths: list[int], context: int, bos: bool, data: st.DataObject
) -> None:
    size = context - bos
    overlap = data.draw(st.integers(1, size - 1))
    tokens = tokenized(lengths)
    windows = make_windows(tokens, context, bos, overlap)
    assert [i for w in windows for i in range(w.start, w.stop)] == list(range(sum(lengths)))
    firsts, lasts = set(tokens.offsets[:-1].tolist()), set(tokens.offsets[1:].tolist())
    for window in windows:
        assert window.lead == (0 if window.start in firsts else overlap)
        assert window.run == size or window.stop in lasts
        text = int(np.searchsorted(tokens.offsets, window.start, side="right"))
        assert tokens.offsets[text - 1] <= window.start - window.lead, "no token of another text"


def test_windows_of_the_same_tokens_with_another_lead_have_other_keys() -> None:
    ids = np.array([5, 6, 7, 8, 7, 8, 7, 8], np.int32)
    tokens = TokenizedTexts(ids, ids, np.array([0, 4, 8]), ())
    keys = [w.key for overlap in (0, 1, 2) for w in make_windows(tokens, 4, False, overlap)]
    first = {w.key for w in make_windows(tokens, 4, False, 0)}
    assert len(set(keys)) - len(first) == len(keys) - 3 * len(first), "the first windows of both texts, three times"


@given(LENGTHS, st.integers(4, 20), st.integers(1, 200), st.integers(0, 1), st.integers(0, 2))
def test_batches_keep_to_the_budget(lengths: list[int], context: int, budget: int, extra: int, overlap: int) -> None:
    windows = make_windows(tokenized(lengths), context, bool(extra), overlap)
    batches = make_batches(windows, budget, extra)
    assert sorted((w.start, w.stop) for b in batches for w in b) == [(w.start, w.stop) for w in windows]
    assert all(len({(w.run, w.lead) for w in b}) == 1 for b in batches), "equal lengths need no padding"
    places = [len(b) * (max(w.run for w in b) + extra) for b in batches]
    assert all(p <= budget or len(b) == 1 for p, b in zip(places, batches, strict=True))
    assert all(w.run <= batches[0][0].run for w in windows)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), min_size=1, max_size=15), st.integers(1, 120))
def test_limit_takes_categories_in_turn(
    fast_tokenizer: tuple[Any, Path], given_texts: list[tuple[str, int]], limit: int
) -> None:
    given_texts = sorted(given_texts, key=lambda pair: pair[0])
    texts = [Text(f"{c}-{i}", c, "", "?" * n) for i, (c, n) in enumerate(given_texts)]
    tokenizer, folder = fast_tokenizer
    lengths = [len(reference.token_ids(folder, text.content)) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "AT_ONCE", 2)
        kept = limit_texts(texts, tokenizer, limit)
    queues = {c: [i for i, t in enumerate(texts) if t.category == c] for c in "abc"}
    wanted: list[int] = []
    while sum(lengths[i] for i in wanted) < limit and any(queues.values()):
        for category in "abc":
            if queues[category] and sum(lengths[i] for i in wanted) < limit:
                wanted.append(queues[category].pop(0))
    assert kept == [texts[i] for i in sorted(wanted)]
