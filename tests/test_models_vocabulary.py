"""Tokens as readable strings."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import reference
from conftest import SHAPES, SaeKind
from harvesting import make_text
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.models.vocabulary import byte_alphabet, token_strings
from saecatalog.texts.windows import tokenize
from saecatalog.verify.tokens import byte_of_character, bytes_of_token, text_of_token, token_ends


def byte_fallback_tokenizer() -> Any:
    """A tokenizer like Gemma's: spaces as U+2581, and bytes for unknown characters."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256)), *"acst\u2581.", "ca", "cat"]
    merges = [("c", "a"), ("ca", "t")]
    model = models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def test_a_tokenizer_that_falls_back_to_bytes() -> None:
    tokenizer = byte_fallback_tokenizer()
    strings = token_strings(tokenizer, len(tokenizer))
    assert strings[4 + 0xE2] == "<0xE2>"
    assert (strings[4 + ord("x")], strings[-4], strings[-1]) == ("x", " ", "cat")
    for content in ("cat sat.", " 猫  cat😀\n", "é", "naïve cat — sat"):
        tokens = tokenize([make_text(0, content)], tokenizer)
        names = tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
        pieces = [bytes([int(n[3:5], 16)]) if n[:3] == "<0x" else n.replace("\u2581", " ").encode() for n in names]
        assert b"".join(pieces).decode() == content
        assert tokens.ends.tolist() == token_ends(pieces, content)


def llama_2_tokenizer(kind: str) -> Any:
    """A tokenizer like Llama 2's, which puts a space before a text and whose decoder removes it, in two spellings."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["cat", "\u2581cat", "\u2581s", "\u2581\u2581"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *"acst\u2581.", "ca", *names]
    merges = [("c", "a"), ("ca", "t"), ("\u2581", "cat"), ("\u2581", "s"), ("\u2581", "\u2581")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bytes_ = [decoders.ByteFallback(), decoders.Fuse()]
    if kind == "replace":
        both = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        tokenizer.normalizer = normalizers.Sequence(both)
        steps = [decoders.Replace("\u2581", " "), *bytes_, decoders.Strip(" ", 1, 0)]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps = [decoders.Metaspace(prepend_scheme="first"), *bytes_]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def word_piece_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["[UNK]", "cat", "##s", "sat", ".", "!", "'", "##.", "at", "a"]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize("kind", ["replace", "metaspace"])
def test_the_space_before_a_token_is_part_of_its_text(kind: str) -> None:
    tokenizer = llama_2_tokenizer(kind)
    build, own = both_ways(tokenizer)
    assert build == own
    texts = {"\u2581cat": " cat", "cat": "cat", "\u2581": " ", "<0x20>": " ", "\u2581\u2581": "  ", "<0x0A>": "\n"}
    texts |= {"<0xE2>": "<0xE2>", "<s>": "<s>"}
    assert {name: own[tokenizer.convert_tokens_to_ids(name)] for name in texts} == texts


def test_a_word_piece_has_a_space_unless_it_continues_a_word() -> None:
    build, own = both_ways(word_piece_tokenizer())
    assert own == [" [UNK]", " cat", "s", " sat", ".", "!", " '", ".", " at", " a"]
    assert build == own


def unigram_tokenizer(prefix_space: bool) -> Any:
    """A SentencePiece unigram model, as T5's, with or without a space before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [
        ("<unk>", 0.0),
        *((p, -float(n)) for n, p in enumerate(["\u2581cat", "cat", "\u2581", *"acst.", "\u2581s"])),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    scheme = "always" if prefix_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def word_end_tokenizer() -> Any:
    """A tokenizer as GPT-1's, whose tokens say where a word ends."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "cat</w>", "cat", *"acst.", *(f"{letter}</w>" for letter in "acst."), "at", "at</w>"]
    merges = [("a", "t"), ("a", "t</w>"), ("c", "at"), ("c", "at</w>")]
    tokenizer = Tokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", end_of_word_suffix="</w>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def byte_level_tokenizer(prefix_space: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["cat sat cats. at a cat"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


FAMILIES: dict[str, Callable[[], Any]] = {
    "byte level": lambda: byte_level_tokenizer(False),
    "byte level, space before": lambda: byte_level_tokenizer(True),
    "byte fallback": byte_fallback_tokenizer,
    "replace": lambda: llama_2_tokenizer("replace"),
    "metaspace": lambda: llama_2_tokenizer("metaspace"),
    "unigram": lambda: unigram_tokenizer(False),
    "unigram, space before": lambda: unigram_tokenizer(True),
    "word pieces": word_piece_tokenizer,
    "word ends": word_end_tokenizer,
}


@cache
def family(name: str) -> tuple[Any, list[str]]:
    tokenizer = FAMILIES[name]()
    return tokenizer, token_strings(tokenizer, len(tokenizer))


WORDS = st.lists(st.sampled_from(["cat", "cats", "sat", "at", "a"]), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("name", FAMILIES)
@given(words=WORDS)
def test_the_tokens_of_a_text_joined_give_the_text(name: str, words: str) -> None:
    """For every family; but for a space before or after the text where the tokenizer adds one."""
    tokenizer, strings = family(name)
    ids = tokenize([make_text(0, words)], tokenizer).ids.tolist()
    joined = "".join(strings[i] for i in ids)
    added = {"word ends": (0, 1), "word pieces": (1, 0)}.get(name, (int("space" in name or name in LLAMA_2), 0))
    assert joined == " " * added[0] + words + " " * added[1]


LLAMA_2 = ("replace", "metaspace")


@pytest.mark.parametrize("name", FAMILIES)
def test_two_tokens_of_one_name_have_the_same_bytes(name: str) -> None:
    tokenizer, strings = family(name)
    inner = tokenizer.backend_tokenizer
    found: dict[str, set[bytes]] = {}
    for i, string in enumerate(strings):
        found.setdefault(string, set()).add(bytes_of_token(inner, i))
    assert all(len(spellings) == 1 for spellings in found.values())


def both_ways(tokenizer: Any) -> tuple[list[str], list[str]]:
    """Every token as text, and one id beyond the vocabulary, as the build and as `verify` write them."""
    n, inner = len(tokenizer), tokenizer.backend_tokenizer
    build, own = token_strings(tokenizer, n + 1), [text_of_token(inner, i) for i in range(n + 1)]
    assert build.pop() == own.pop() == ""
    return build, own


@pytest.mark.parametrize("kind", ["replace", "metaspace"])
@pytest.mark.parametrize("content", ["cat sat.", "xcat", " cat", "  猫 s", "é", "acat", "  ", "x\n\n cat", "😀😀"])
def test_ends_where_a_space_is_put_before_the_text(kind: str, content: str) -> None:
    tokenizer = llama_2_tokenizer(kind)
    tokens = tokenize([make_text(0, content)], tokenizer)
    pieces = [bytes_of_token(tokenizer.backend_tokenizer, i) for i in tokens.ids.tolist()]
    assert tokens.ends.tolist() == token_ends(pieces, content)


@pytest.mark.parametrize("shape", SHAPES)
def test_vocabulary_as_text(shape: str, subjects: Callable, models: Callable) -> None:
    subject = subjects(shape, SaeKind("standard"))
    strings = token_strings(subject.tokenizer, subject.info.d_vocab)
    assert strings == [reference.token_text(models(shape), i) for i in range(subject.info.d_vocab)]
    assert "<0xE6>" in strings or "<0xF0>" in strings


def test_byte_alphabet() -> None:
    assert byte_alphabet() == byte_of_character()
