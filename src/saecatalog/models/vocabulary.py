"""Tokens of a vocabulary as text that readers can tell apart."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
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
    """Every token id as text; bytes that are only part of a character are written as `<0xE2><0x80>`.

    Decoders treat the first and the last token of a text in their own way: they remove the space before it or after it.
    So each token is decoded between two others.
    """
    plain = _plain_token(tokenizer, d_vocab)
    around = [] if plain is None else [plain]
    before = tokenizer.decode(around)
    after = tokenizer.decode(2 * around).removeprefix(before)
    ids = [[*around, i, *around] for i in range(d_vocab)]
    decoded = tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    decoded = [text.removeprefix(before).removesuffix(after) for text in decoded]
    if "\ufffd" not in "".join(decoded):
        return decoded
    pieces = tokenizer.convert_ids_to_tokens(list(range(d_vocab)))
    return [_in_bytes(p, text) if "\ufffd" in text else text for p, text in zip(pieces, decoded, strict=True)]


def text_tokens(
    content: str, ends: Sequence[int], ids: Sequence[int], tokenizer: "PreTrainedTokenizerFast"
) -> list[str]:
    """The tokens of a text: the characters of each; bytes that are only part of a character as `<0xE2><0x80>`.

    `ends` are the ends of the tokens in the text, where tokens that share a character have the same end.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    shared = {a for a, b in pairwise(ends) if a == b}
    spans = zip([0, *ends[:-1]], ends, pieces, strict=True)
    return [_in_bytes(p, content[a:b]) if b in shared else content[a:b] for a, b, p in spans]


def _plain_token(tokenizer: "PreTrainedTokenizerFast", d_vocab: int) -> int | None:
    """The first token of ASCII letters, if possible one that is written without spaces around it; None if none is."""
    texts = [tokenizer.decode([i], skip_special_tokens=False) for i in range(d_vocab)]
    letters = [i for i, text in enumerate(texts) if text.isascii() and text.isalpha()]
    joined = (i for i in letters if tokenizer.decode([i, i], skip_special_tokens=False) == 2 * texts[i])
    return next(joined, letters[0] if letters else None)


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
