"""A label for each feature, from the data alone: tables flow in, one short label per feature flows out.

A label names the most telling tokens of the feature, or a pair of tokens if that is clearly the better rule, and the
category if the feature is a specialist. A token is telling if it carries much of the feature's activation and the
feature fires on it far more often than on other tokens.
"""

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Activations, Block
from saecatalog.analysis.token_view import START
from saecatalog.names import with_signs

TOKENS, LEAST, SHARE = 3, 0.1, 0.25
"""A label names up to TOKENS tokens. Each carries at least LEAST times the activation of the most telling token. An
ellipsis follows if together they carry less than SHARE of the feature's activation."""

AT_START = 0.5
"""A feature with more than this share of its activation on first tokens is labelled "start of text"."""

SPECIALIST, Q = 3, 0.05
"""A label names a category if the balanced score is at least SPECIALIST and the q-value at most Q."""

BLANKS = {"\n": "line break", "\r": "return", "\t": "tab", "\u00a0": "no-break space", " ": "space"}
"""Names of white space; for a token with several kinds, the first one here is used."""


def telling_words(
    activations: Activations, block: Block, rows: pd.DataFrame, tokens: pd.DataFrame, contents: list[str]
) -> list[dict[str, float]]:
    """For each feature of a block, up to three words with their share of its activation, the most telling first.

    `rows` are the block's rows of the features table, `tokens` those of the tokens table.
    """
    density = rows["density"].to_numpy()[tokens["feature"].to_numpy() - block.first]
    # The share of the activation times log2 of how much more often the feature fires here than on average.
    telling = tokens["share"] * np.log2(tokens["p_active"] / density)
    ordered = tokens.assign(telling=telling).sort_values(
        ["feature", "telling", "rank"], ascending=[True, False, True], kind="stable"
    )
    start = (rows[name].tolist() for name in ("start_share", "bigram_first", "bigram_second"))
    words = [_first_words(*figures) for figures in zip(*start, strict=True)]
    telling_first: dict[int, float] = {}
    columns = (ordered[name].tolist() for name in ("feature", "token_id", "token", "share"))
    for feature, token_id, token, share in zip(*columns, strict=True):
        known = words[feature - block.first]
        if share < LEAST * telling_first.setdefault(feature, share):
            continue
        if "<0x" in token:
            token = _character(activations, block, feature - block.first, token_id, contents)
        word = readable(token)
        # Words that differ only in case or surrounding space, or are part of one already named, count as one.
        same = next((w for w in known if word.lower() in (w.lower(), *w.lower().split(" "))), word)
        if same in known or len(known) < TOKENS:
            known[same] = known.get(same, 0.0) + share
    return words


def _first_words(start_share: float, first: str, second: str) -> dict[str, float]:
    """The words that come before single tokens: the start of a text, and a pair of tokens that is the better rule."""
    words = {}
    if start_share > AT_START:
        words["start of text"] = start_share
    if second and first != START:
        words[readable(first + second)] = 0.0
    return words


def _character(activations: Activations, block: Block, column: int, token_id: int, contents: list[str]) -> str:
    """The whole character of which a token has only some bytes, at the token's strongest occurrence."""
    store = activations.store
    entries = slice(block.indptr[column], block.indptr[column + 1])
    tokens = block.tokens[entries]
    values = np.where(store.token_ids[tokens] == token_id, block.values[entries], 0)
    token = int(tokens[int(values.argmax())])
    content, end = contents[int(activations.token_texts[token])], int(store.token_ends[token])
    # A token that ends where the one before it ends adds no character: it is part of the last one.
    start = int(store.token_ends[token - 1]) if activations.token_positions[token] else 0
    return content[min(start, end - 1) : end]


def make_labels(words: list[dict[str, float]], categories: pd.DataFrame) -> list[str]:
    """The label of every feature: its telling words, and the category if it is clearly a specialist."""
    clear = categories[(categories["balanced_score"] >= SPECIALIST) & (categories["q_value"] <= Q)]
    best = clear.sort_values(["feature", "balanced_score", "category"], ascending=[True, False, True])
    first = best.drop_duplicates("feature")
    specialist = dict(zip(first["feature"].tolist(), first["category"].tolist(), strict=True))
    return [_label(found, specialist.get(feature)) for feature, found in enumerate(words)]


def _label(words: dict[str, float], category: str | None) -> str:
    if not words:
        return "silent"
    label = " · ".join(words) + (" …" if sum(words.values()) < SHARE else "")
    return f"{label} (in {category.replace('-', ' ').replace('_', ' ')})" if category else label


def readable(token: str) -> str:
    """A token for a label: without surrounding spaces; white space is named, and what cannot be seen has a sign."""
    blank = next((name for sign, name in BLANKS.items() if sign in token), "white space")
    return with_signs(token.strip()) or (blank if token else "empty")
