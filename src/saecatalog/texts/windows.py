"""Token windows: texts and a tokenizer flow in, the ids of all texts and their windows flow out.

The names of special tokens in a text are plain characters, unless the text says otherwise. Its windows have at most
`context` tokens (including BOS if the model expects one) and are run independently: no token ever attends to another
text. Every token is counted in one window. A window may also run some tokens of the one before it, as context only.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, Int64
from tokenizers import Encoding, Tokenizer, processors

from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text
from saecatalog.texts.text_files import HALF

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AT_ONCE = 512
"""Texts whose tokens are counted at a time."""
KEY_BYTES = 16
"""Length of a window's key."""


@dataclass(frozen=True)
class TokenizedTexts:
    """The tokens of all texts, one after another, without BOS."""

    ids: Int32[np.ndarray, "token"]
    """Token ids."""
    ends: Int32[np.ndarray, "token"]
    """End of each token's characters in its text; tokens with equal ends are parts of one character."""
    offsets: Int64[np.ndarray, "text_plus_1"]
    """Text `t` holds the tokens `offsets[t]` up to `offsets[t + 1]`."""
    sources: tuple[str, ...]
    """Where each text was read, for errors."""

    @property
    def n_texts(self) -> int:
        return len(self.offsets) - 1


def check_characters(texts: list[Text]) -> None:
    """Raise CatalogError for a text that is not UTF-8, as one of the command line or of a Python string may be."""
    for text in texts:
        if half := HALF.search(text.content):
            what = f"This text has an undecodable byte or half of a character: {ascii(half.group())[1:-1]}."
            raise CatalogError(what, text.source, "Write it in UTF-8.")


def tokenize(texts: list[Text], tokenizer: "PreTrainedTokenizerFast") -> TokenizedTexts:
    """Tokenise texts with a fast tokenizer of `transformers`, exactly and without adding special tokens.

    The name of a special token inside a text is treated as plain characters, so that a text cannot inject a BOS, unless
    the text has `special_tokens`. Raises CatalogError for a text without tokens, and for one that is not UTF-8.
    """
    check_characters(texts)
    encoded = _encode(texts, tokenizer)
    lengths = [len(encoding.ids) for encoding in encoded]
    for text, length in zip(texts, lengths, strict=True):
        if length == 0:
            raise CatalogError("The model's tokenizer finds no tokens in this text.", text.source, "Remove the text.")
    ends = [_character_ends(e.offsets, len(t.content)) for t, e in zip(texts, encoded, strict=True)]
    return TokenizedTexts(
        ids=np.concatenate([np.asarray(e.ids, np.int32) for e in encoded] or [np.empty(0, np.int32)]),
        ends=np.concatenate(ends or [np.empty(0, np.int32)]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sources=tuple(text.source for text in texts),
    )


def _encode(texts: list[Text], tokenizer: "PreTrainedTokenizerFast") -> list[Encoding]:
    """The encoding of each text, with or without special tokens."""
    encoded: dict[int, Encoding] = {}
    for special in (False, True):
        places = [place for place, text in enumerate(texts) if text.special_tokens is special]
        contents = [texts[place].content for place in places]
        if contents:
            found = _exact(tokenizer, special).encode_batch(contents, add_special_tokens=False)
            encoded |= zip(places, found, strict=True)
    return [encoded[place] for place in range(len(texts))]


def _exact(tokenizer: "PreTrainedTokenizerFast", special_tokens: bool) -> Tokenizer:
    """The inner tokenizer of the `tokenizers` library, set to leave nothing out.

    It does not truncate, and its spans include white space. The names of special tokens are plain characters, unless
    `special_tokens`.
    """
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = not special_tokens
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    return inner


def _character_ends(spans: list[tuple[int, int]], length: int) -> Int32[np.ndarray, "token"]:
    """The end of each token in its text: never before that of an earlier token; the last one is the text's end.

    A tokenizer may leave white space out of its spans, and may give all tokens of one character the same span. With
    running maxima as ends, each token begins where the one before it ends, and every character is covered once.
    """
    ends = np.maximum.accumulate(np.asarray([end for _, end in spans], np.int32))
    ends[-1] = length
    return ends


@dataclass(frozen=True)
class PlainNames:
    """Names of special tokens that are read as plain characters."""

    texts: int
    """How many texts hold such names."""
    example: str
    """The first of the names; "" if there is none."""


def plain_names(texts: list[Text], tokenizer: "PreTrainedTokenizerFast") -> PlainNames:
    """The names of special tokens in texts that hold no special tokens. Plain words are left out: `mask` is one."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    names = sorted(token.content for token in added if token.special and re.search(r"\W", token.content))
    pattern = re.compile("|".join(map(re.escape, names)) or "(?!)")
    found = [match.group() for text in texts if not text.special_tokens and (match := pattern.search(text.content))]
    return PlainNames(len(found), found[0] if found else "")


def limit_texts(texts: list[Text], tokenizer: "PreTrainedTokenizerFast", limit: int) -> list[Text]:
    """Texts from all categories in turn, in the order of their ids, until they have `limit` tokens in total.

    There may be many more texts than the limit needs, so they are tokenised a few at a time.
    """
    turn: dict[str, int] = {}
    order = []
    for index, text in enumerate(texts):
        turn[text.category] = turn.get(text.category, -1) + 1
        order.append((turn[text.category], text.category, index))
    order.sort()
    total, kept = 0, []
    for start in range(0, len(order), AT_ONCE):
        places = [index for _, _, index in order[start : start + AT_ONCE]]
        lengths = np.diff(tokenize([texts[index] for index in places], tokenizer).offsets)
        for index, length in zip(places, lengths.tolist(), strict=True):
            if total >= limit:
                break
            kept.append(index)
            total += length
        if total >= limit:
            break
    return [texts[i] for i in sorted(kept)]


@dataclass(frozen=True)
class Window:
    """A run of tokens of one text: `ids[start:stop]` of the tokenised texts."""

    start: int
    stop: int
    lead: int
    """Number of tokens before `start` that are run as context and not counted."""
    key: bytes
    """Hash of the token ids that are run, of `lead`, and of the number of earlier windows with the same of both. It
    identifies the window in any corpus."""

    def __len__(self) -> int:
        """The number of tokens that are counted."""
        return self.stop - self.start

    @property
    def run(self) -> int:
        """The number of tokens that are run, BOS not included."""
        return self.lead + len(self)


def make_windows(tokens: TokenizedTexts, context: int, prepend_bos: bool, overlap: int = 0) -> list[Window]:
    """Split every text into windows of at most `context` tokens, one fewer if BOS is prepended.

    Every window of a text but its first runs the `overlap` tokens before it too.
    """
    size = context - int(prepend_bos)
    same: Counter[tuple[bytes, int]] = Counter()
    windows = []
    for first, stop in zip(tokens.offsets[:-1].tolist(), tokens.offsets[1:].tolist(), strict=True):
        start = first
        while start < stop:
            lead = overlap if start > first else 0
            end = min(start - lead + size, stop)
            content = tokens.ids[start - lead : end].astype("<i4").tobytes()
            windows.append(Window(start, end, lead, _window_key(content, lead, same[content, lead])))
            same[content, lead] += 1
            start = end
    return windows


def _window_key(content: bytes, lead: int, place: int) -> bytes:
    salt, person = (number.to_bytes(8, "little") for number in (place, lead))
    return hashlib.blake2b(content, digest_size=KEY_BYTES, salt=salt, person=person).digest()


def make_batches(windows: list[Window], batch_tokens: int, extra: int) -> list[list[Window]]:
    """Group windows of equal length into batches of at most `batch_tokens` tokens (at least one window).

    Windows of equal length need no padding, so a window's result does not depend on the others in its batch; they also
    have equal `lead`. `extra` is the number of positions a window has besides its tokens (1 for BOS). The longest come
    first, so that a batch that does not fit into memory fails before any work is done.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda w: (-w.run, w.lead, w.start)):
        last = batches[-1] if batches else []
        alike = bool(last) and (last[0].run, last[0].lead) == (window.run, window.lead)
        if alike and (len(last) + 1) * (window.run + extra) <= batch_tokens:
            last.append(window)
        else:
            batches.append([window])
    return batches
