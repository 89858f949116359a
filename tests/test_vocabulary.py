"""Tokens as readable strings."""

from collections.abc import Callable
from typing import Any

import pytest
import reference
from conftest import SHAPES, SaeKind
from harvesting import make_text

from saecatalog.verify.model import byte_of_character, token_ends
from saecatalog.vocabulary import byte_alphabet, token_strings
from saecatalog.windows import tokenize


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


@pytest.mark.parametrize("shape", SHAPES)
def test_vocabulary_as_text(shape: str, subjects: Callable, models: Callable) -> None:
    subject = subjects(shape, SaeKind("standard"))
    strings = token_strings(subject.tokenizer, subject.info.d_vocab)
    assert strings == [reference.token_text(models(shape), i) for i in range(subject.info.d_vocab)]
    assert "<0xE6>" in strings or "<0xF0>" in strings


def test_byte_alphabet() -> None:
    assert byte_alphabet() == byte_of_character()
