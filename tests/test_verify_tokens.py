"""The texts of tokens that `verify` uses: for every family of tokenizers, the tokens of a text joined give the text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from saecatalog.verify.tokens import bytes_of_token, exact_tokenizer, text_of_token, token_ends

MARK = "\u2581"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.,;:!?'()-"
TEXTS = ["the cat sat on the mat", "a dog; the dog barked, and the cat ran!", "catalog of cats (365) - it's here: 'x'"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(prefix_space: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=alphabet, show_progress=False, special_tokens=["<|end|>", "<|é|>", "ü"]
        ),
    )
    return tokenizer


def sentencepiece_bpe(prefix_space: bool, with_metaspace: bool) -> Tokenizer:
    """Like Llama 2's, whose spaces a normalizer or Metaspace makes U+2581, and unknown characters are bytes."""
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *LETTERS, MARK, "ca", "cat", MARK + "cat", MARK + MARK]
    merges = [("c", "a"), ("ca", "t"), (MARK, "cat"), (MARK, MARK)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    scheme = "always" if prefix_space else "never"
    if with_metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        first = decoders.Metaspace(prepend_scheme=scheme)
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), first])
        return tokenizer
    steps: list[Any] = [normalizers.Prepend(MARK)] if prefix_space else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", MARK)])
    strip = [decoders.Strip(" ", 1, 0)] if prefix_space else []
    after = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    tokenizer.decoder = decoders.Sequence(after)
    return tokenizer


def unigram(prefix_space: bool) -> Tokenizer:
    """Like T5's and ALBERT's."""
    pieces = [("<unk>", 0.0), *((letter, -5.0) for letter in LETTERS + MARK), ("cat", -2.0), (MARK + "the", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    scheme = "always" if prefix_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tokenizer


def word_piece(cleanup: bool) -> Tokenizer:
    names = ["[UNK]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS), "cat", "##s", "the"]
    tokenizer = Tokenizer(models.WordPiece({name: n for n, name in enumerate(dict.fromkeys(names))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    return tokenizer


def word_end() -> Tokenizer:
    """Like GPT-1's: the last token of a word says so."""
    names = ["<unk>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ca", "cat</w>"]
    tokenizer = Tokenizer(
        models.BPE(
            {name: n for n, name in enumerate(names)}, [("c", "a"), ("ca", "t</w>")], unk_token="<unk>",
            end_of_word_suffix="</w>",
        )
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


SPACED = {
    "byte-level": byte_level(False),
    "byte-level, prefix": byte_level(True),
    "bytes": sentencepiece_bpe(False, False),
    "bytes, prefix": sentencepiece_bpe(True, False),
    "bytes, Metaspace": sentencepiece_bpe(False, True),
    "bytes, Metaspace, prefix": sentencepiece_bpe(True, True),
}
"""Tokenizers that can write any text."""


def joined(tokenizer: Tokenizer, content: str) -> str:
    ids = exact_tokenizer(tokenizer).encode(content, add_special_tokens=False).ids
    return b"".join(bytes_of_token(tokenizer, number) for number in ids).decode()


ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MARK), min_size=1, max_size=30)
WORDS = st.lists(st.text(st.sampled_from(LETTERS), min_size=1, max_size=8), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("name", SPACED)
@settings(deadline=None)
@given(content=ANY | WORDS)
def test_tokens_joined_give_any_text(name: str, content: str) -> None:
    """A tokenizer may put a space before the text, unless one is there."""
    found = joined(SPACED[name], content)
    if "prefix" in name:
        assert found in (content, f" {content}")
        assert found.startswith(" ")
    else:
        assert found == content


@pytest.mark.parametrize("prefix_space", [False, True])
@settings(deadline=None)
@given(content=WORDS)
def test_pieces_of_a_unigram_joined_give_words(prefix_space: bool, content: str) -> None:
    assert joined(unigram(prefix_space), content) == " " * prefix_space + content


@settings(deadline=None)
@given(content=WORDS)
def test_pieces_of_words_joined_give_words(content: str) -> None:
    assert joined(word_piece(cleanup=False), content) == f" {content}"


@settings(deadline=None)
@given(content=WORDS)
def test_tokens_that_end_words_joined_give_words(content: str) -> None:
    assert joined(word_end(), content) == f"{content} "


@pytest.mark.parametrize("name", SPACED)
def test_two_tokens_have_the_same_text_only_if_they_are_the_same_bytes(name: str) -> None:
    tokenizer = SPACED[name]
    texts: dict[str, set[bytes]] = {}
    for number in range(tokenizer.get_vocab_size()):
        texts.setdefault(text_of_token(tokenizer, number), set()).add(bytes_of_token(tokenizer, number))
    twice = {text: kinds for text, kinds in texts.items() if len(kinds) > 1}
    assert twice == {}
    assert "" not in texts


@pytest.mark.parametrize("name", ["bytes, prefix", "bytes, Metaspace, prefix"])
def test_tokens_keep_the_space_that_a_decoder_would_remove(name: str) -> None:
    tokenizer = SPACED[name]
    names = {MARK + "cat": " cat", MARK: " ", MARK + MARK: "  ", "<0x20>": " ", "cat": "cat", "<0xE2>": "<0xE2>"}
    assert {n: text_of_token(tokenizer, tokenizer.token_to_id(n)) for n in names} == names


def test_special_tokens_are_read_as_asked() -> None:
    """A name in the vocabulary of GPT-2's characters would stand for other bytes: an added token is what it says."""
    tokenizer = byte_level(False)
    content = "a<|é|>ü b<|end|>"
    plain = exact_tokenizer(tokenizer).encode(content, add_special_tokens=False)
    special = exact_tokenizer(tokenizer, special_tokens=True).encode(content, add_special_tokens=False)
    assert set(special.ids) >= {tokenizer.token_to_id(name) for name in ("<|end|>", "<|é|>", "ü")}
    assert not set(plain.ids) & {tokenizer.token_to_id(name) for name in ("<|end|>", "<|é|>", "ü")}
    for encoding in (plain, special):
        pieces = [bytes_of_token(tokenizer, number) for number in encoding.ids]
        assert b"".join(pieces).decode() == content
        ends = token_ends(pieces, content)
        assert ends is not None
        assert ends[-1] == len(content)


def test_ids_beyond_the_vocabulary_are_empty() -> None:
    assert text_of_token(byte_level(False), 10_000) == ""
