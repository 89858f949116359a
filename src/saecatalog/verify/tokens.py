"""Tokens: a text and a tokenizer flow in, token ids and the text of each token flow out.

Nothing is imported from the rest of the package. The text of a token comes from the vocabulary and the decoder's steps
in the tokenizer's file; the decoder of the library itself is not used.
"""

import json
import re
from bisect import bisect_left
from functools import cache
from itertools import accumulate
from typing import Any

from tokenizers import Tokenizer


def exact_tokenizer(tokenizer: Tokenizer, special_tokens: bool = False) -> Tokenizer:
    """The same tokenizer, except that it never truncates.

    It treats names of special tokens as plain text, unless `special_tokens`.
    """
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = not special_tokens
    return copy


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's table from the characters of a vocabulary file to bytes."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    table = {chr(b): b for b in shown}
    for byte in range(256):
        if byte not in shown:
            table[chr(256 + len(table) - len(shown))] = byte
    return table


@cache
def decoder_steps(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """What the tokenizer's file says about how names of tokens become text, step by step."""
    if tokenizer.decoder is None:
        return [{"type": "WordPiece", "prefix": None, "cleanup": False}]
    decoder = json.loads(tokenizer.decoder.__getstate__())
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


@cache
def added_tokens(tokenizer: Tokenizer) -> dict[int, Any]:
    """Tokens besides the model's vocabulary, such as special ones."""
    return dict(tokenizer.get_added_tokens_decoder())


TIDY = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What a WordPiece decoder writes without the spaces around it."""


def bytes_of_token(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The bytes that a token adds to a text that has begun; none for an id beyond the vocabulary.

    The decoder of the library is not used, because it removes the space before the first of the tokens it is given.
    """
    name = tokenizer.id_to_token(token_id)
    if name is None:
        return b""
    steps = decoder_steps(tokenizer)
    if any(step["type"] == "ByteLevel" for step in steps) and token_id in added_tokens(tokenizer):
        # It is found in a text before that is written in GPT-2's characters.
        return str(name).encode()
    for step in steps:
        kind = step["type"]
        if kind == "ByteLevel" and all(character in byte_of_character() for character in name):
            return bytes(byte_of_character()[character] for character in name)
        if kind == "ByteFallback" and re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes([int(name[3:5], 16)])
        name = _changed(name, step)
    return str(name).encode()


def _changed(name: str, step: dict[str, Any]) -> str:
    """A token's name after one step of the decoder; steps that only concern whole texts leave it as it is."""
    match step:
        case {"type": "Replace", "pattern": {"String": old}, "content": new}:
            return name.replace(old, new)
        case {"type": "Replace", "pattern": {"Regex": old}, "content": new}:
            return re.sub(old, lambda _: str(new), name)
        case {"type": "Metaspace", "replacement": mark} | {"type": "BPEDecoder", "suffix": mark}:
            return name.replace(mark, " ")
        case {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}:
            return _after_a_word(name, prefix, cleanup)
    return name


def _after_a_word(name: str, prefix: str | None, cleanup: bool) -> str:
    """A token after another one: without `prefix` if it continues a word, otherwise after a space."""
    if prefix and name.startswith(prefix):
        return name.removeprefix(prefix)
    return f" {name}".strip(" ") if cleanup and f" {name}" in TIDY else f" {name}"


def text_of_token(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text.

    Bytes that are not a whole character are written as <0xE2>; an id beyond the vocabulary is the empty string.
    """
    out, rest = "", bytes_of_token(tokenizer, token_id)
    while rest:
        length = next((n for n in (1, 2, 3, 4) if _decodes(rest[:n])), None)
        out += f"<0x{rest[0]:02X}>" if length is None else rest[:length].decode()
        rest = rest[length or 1 :]
    return out


def _decodes(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def token_ends(pieces: list[bytes], text: str) -> list[int] | None:
    """For each token, the number of characters of the text whose first byte is in it or in an earlier token.

    A space that the tokenizer puts before the text is part of the first character. None if the tokens' bytes do not
    spell the text.
    """
    joined, content = b"".join(pieces), text.encode()
    before = len(joined) - len(content)
    if joined != b" " * before + content or before not in (0, 1):
        return None
    first_bytes = [0, *accumulate(len(character.encode()) for character in text)][:-1]
    seen = accumulate(len(piece) for piece in pieces)
    return [bisect_left(first_bytes, max(end - before, min(before, len(content)))) for end in seen]
