"""Token windows: texts and a tokenizer flow in, the ids of all texts and their windows flow out.

A text is tokenised without special tokens. Its windows have at most `context` tokens (including BOS if the model
expects one), do not overlap, and are run independently: no token ever attends to another text.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, Int64
from tokenizers import Tokenizer, processors

from saecatalog.corpus import HALF, Text
from saecatalog.errors import CatalogError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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


def tokenize(texts: list[Text], tokenizer: "PreTrainedTokenizerFast") -> TokenizedTexts:
    """Tokenise texts with a fast tokenizer of `transformers`, exactly and without special tokens.

    The name of a special token inside a text is treated as plain characters, so that a text cannot inject a BOS. Raises
    CatalogError for a text without tokens, and for one that is not UTF-8.
    """
    for text in texts:
        if half := HALF.search(text.content):
            what = f"This text has an undecodable byte or half of a character: {ascii(half.group())[1:-1]}."
            raise CatalogError(what, text.source, "Write it in UTF-8.")
    encoded = _exact(tokenizer).encode_batch([text.content for text in texts], add_special_tokens=False)
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


def _exact(tokenizer: "PreTrainedTokenizerFast") -> Tokenizer:
    """The inner tokenizer of the `tokenizers` library, set to leave nothing out.

    It does not truncate, treats the names of special tokens as plain characters, and its spans include white space.
    """
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = True
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


def limit_texts(texts: list[Text], tokens: TokenizedTexts, limit: int) -> list[Text]:
    """Texts from all categories in turn, in the order of their ids, until they have `limit` tokens in total."""
    lengths = np.diff(tokens.offsets)
    turn: dict[str, int] = {}
    order = []
    for index, text in enumerate(texts):
        turn[text.category] = turn.get(text.category, -1) + 1
        order.append((turn[text.category], text.category, index))
    order.sort()
    total, kept = 0, []
    for _, _, index in order:
        if total >= limit:
            break
        kept.append(index)
        total += int(lengths[index])
    return [texts[i] for i in sorted(kept)]


@dataclass(frozen=True)
class Window:
    """A run of tokens of one text: `ids[start:stop]` of the tokenised texts."""

    start: int
    stop: int
    key: bytes
    """Hash of its token ids and of the number of earlier windows with the same ids. It identifies the window in any
    corpus."""

    def __len__(self) -> int:
        return self.stop - self.start


def make_windows(tokens: TokenizedTexts, context: int, prepend_bos: bool) -> list[Window]:
    """Split every text into windows of at most `context` tokens, one fewer if BOS is prepended."""
    size = context - int(prepend_bos)
    same: Counter[bytes] = Counter()
    windows = []
    for first, stop in zip(tokens.offsets[:-1].tolist(), tokens.offsets[1:].tolist(), strict=True):
        for start in range(first, stop, size):
            end = min(start + size, stop)
            content = tokens.ids[start:end].astype("<i4").tobytes()
            windows.append(Window(start, end, _window_key(content, same[content])))
            same[content] += 1
    return windows


def _window_key(content: bytes, place: int) -> bytes:
    return hashlib.blake2b(content, digest_size=KEY_BYTES, salt=place.to_bytes(8, "little")).digest()


def make_batches(windows: list[Window], batch_tokens: int, extra: int) -> list[list[Window]]:
    """Group windows of equal length into batches of at most `batch_tokens` tokens (at least one window).

    Windows of equal length need no padding, so a window's result does not depend on the others in its batch. `extra` is
    the number of positions a window has besides its tokens (1 for BOS). The longest come first, so that a batch that
    does not fit into memory fails before any work is done.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda w: (-len(w), w.start)):
        last = batches[-1] if batches else []
        same_length = bool(last) and len(last[0]) == len(window)
        if same_length and (len(last) + 1) * (len(window) + extra) <= batch_tokens:
            last.append(window)
        else:
            batches.append([window])
    return batches
