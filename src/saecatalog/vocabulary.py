"""Tokens of a vocabulary as text that readers can tell apart."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@cache
def byte_alphabet() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte.

    Printable bytes represent themselves, and the others get the code points from 256 up, in order (the alphabet of
    GPT-2's tokenizer, Radford et al. 2019).
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}


def token_strings(tokenizer: "PreTrainedTokenizerFast", d_vocab: int) -> list[str]:
    """Every token id as text; bytes that are only part of a character are written as `<0xE2><0x80>`."""
    first = _plain_token(tokenizer, d_vocab)
    before = "" if first is None else tokenizer.decode([first])
    # Decoders remove the space before the first token, so each token is decoded after another one.
    ids = [[i] if first is None else [first, i] for i in range(d_vocab)]
    decoded = tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    decoded = [text.removeprefix(before) for text in decoded]
    if "\ufffd" not in "".join(decoded):
        return decoded
    pieces = tokenizer.convert_ids_to_tokens(list(range(d_vocab)))
    return [_in_bytes(p, text) if "\ufffd" in text else text for p, text in zip(pieces, decoded, strict=True)]


def _plain_token(tokenizer: "PreTrainedTokenizerFast", d_vocab: int) -> int | None:
    """The first token that consists of ASCII letters; None if there is none."""
    texts = (tokenizer.decode([i], skip_special_tokens=False) for i in range(d_vocab))
    return next((i for i, text in enumerate(texts) if text.isascii() and text.isalpha()), None)


def _in_bytes(piece: str | None, text: str) -> str:
    """A token with incomplete characters: the complete ones as they are, the other bytes in hexadecimal."""
    alphabet = byte_alphabet()
    if piece is None or any(character not in alphabet for character in piece):
        return piece or text
    out, rest = "", bytes(alphabet[character] for character in piece)
    while rest:
        try:
            return out + rest.decode("utf-8")
        except UnicodeDecodeError as error:
            broken = rest[error.start : error.end]
            out += rest[: error.start].decode("utf-8") + "".join(f"<0x{byte:02X}>" for byte in broken)
            rest = rest[error.end :]
    return out
