"""Detection scores of the rules in notes: a store, a lens and the labels flow in, rows of `detection` flow out.

This is a stage of its own, so that a changed note does not repeat the analyses. Of the store, only the activations of
the features in question are used. They are scored as labels are: on the same texts, and against the same rules.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import regex
from jaxtyping import Bool, Int

from saecatalog.analysis.activations import Activations, include
from saecatalog.analysis.categories import second_half
from saecatalog.analysis.detection import HALF, HeldOut, Tokens
from saecatalog.analysis.label_detection import label_rules, matched_by
from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.scores import score_texts
from saecatalog.config import AnalysisConfig
from saecatalog.errors import CatalogError, closest
from saecatalog.note_rules import NoteRule, shown
from saecatalog.store import Harvested, Store
from saecatalog.texts.corpus import Text

SECONDS = 20.0
"""How long a regular expression may take for all texts. There is a result or an error, so no result depends on it."""


def note_rows(
    corpus: Harvested,
    vocabulary: list[str],
    labels: pd.DataFrame,
    config: AnalysisConfig,
    rules: Mapping[int, NoteRule],
    places: Mapping[int, str],
) -> pd.DataFrame:
    """A row of the table `detection` for each rule; there is at least one.

    `labels` are the features with their columns `label_rule` and `label_half`, `rules` are by feature, and `places` say
    in which file and line each is. Raises CatalogError for a token that the model does not have and for a regular
    expression that takes too long.
    """
    for feature, rule in rules.items():
        check_tokens(rule, vocabulary, places[feature])
    activations = include(only(corpus.store, list(rules)), config.outlier_multiple)
    readings = Readings(corpus_of(activations, corpus.texts, vocabulary))
    written = {feature: rule.json() for feature, rule in rules.items()}
    matched = {
        written[feature]: np.flatnonzero(matches(rule, readings.corpus, places[feature]))
        for feature, rule in rules.items()
    }
    second = second_half(readings.corpus.categories)
    held_out = HeldOut(activations, second, label_rules(labels), lambda rule: matched_by(rule, readings))
    scores = score_texts(activations, config.text_score)
    rows = [
        held_out.rows(block, scores.block(block.first, block.first + len(block)), written, matched.__getitem__)
        for block in (part.read() for part in activations.blocks())
        if not written.keys().isdisjoint(block.features.tolist())
    ]
    table = pd.concat(rows, ignore_index=True)
    words = [rules[feature].words() for feature in table["feature"].tolist()]
    return table.assign(rule_source="note", rule=words, half=HALF)


def only(store: Store, features: list[int]) -> Store:
    """A store with the activations of some features alone; the others never fire in it."""
    keep = np.isin(store.features, np.array(features, np.int32))
    before = np.concatenate([[0], np.cumsum(keep)])
    return replace(
        store,
        features=np.asarray(store.features)[keep],
        activations=np.asarray(store.activations)[keep],
        indptr=before[np.asarray(store.indptr)],
    )


def corpus_of(activations: Activations, texts: list[Text], vocabulary: list[str]) -> Corpus:
    """The corpus as rules read it."""
    store = activations.store
    return Corpus(
        np.asarray(store.token_ids),
        np.asarray(store.token_ends),
        activations.token_texts,
        activations.token_positions,
        [text.content for text in texts],
        [text.category for text in texts],
        vocabulary,
    )


def check_tokens(rule: NoteRule, vocabulary: list[str], where: str) -> None:
    """Raise CatalogError for a token that the model does not have."""
    known = set(vocabulary)
    for token in rule.tokens:
        if token not in known:
            what = f'The rule of this note names "{shown(token)}", which is not a token of this model.'
            similar = [f'Did you mean "{shown(name)}"? ' for name in closest(token, vocabulary, 1)]
            fix = "Write tokens as the pages do, with the space in front; for several in a row, use regex."
            raise CatalogError(what, where, "".join(similar) + fix)


def matches(rule: NoteRule, corpus: Corpus, where: str) -> Tokens:
    """Which tokens of the corpus meet every condition of a rule.

    Raises CatalogError if the regular expression takes too long.
    """
    found = np.ones(len(corpus.ids), bool)
    if rule.tokens:
        found &= np.isin([text in rule.tokens for text in corpus.vocabulary], True)[corpus.ids]
    if rule.category:
        found &= np.array([category == rule.category for category in corpus.categories], bool)[corpus.texts]
    if rule.regex:
        found &= _in_matches(rule.regex, corpus, where)
    return found


def _in_matches(pattern: str, corpus: Corpus, where: str) -> Tokens:
    """The tokens that share a character with a match in their text."""
    compiled, deadline = regex.compile(pattern), time.monotonic() + SECONDS
    starts = np.searchsorted(corpus.texts, np.arange(len(corpus.contents) + 1))
    found = np.zeros(len(corpus.ids), bool)
    for content, start, stop in zip(corpus.contents, starts[:-1], starts[1:], strict=True):
        try:
            left = max(deadline - time.monotonic(), 1e-3)
            spans = [match.span() for match in compiled.finditer(content, timeout=left)]
        except TimeoutError:
            what = f"The regular expression of this note takes more than {SECONDS:.0f} seconds."
            fix = "Avoid a repetition inside a repetition, such as (a+)+, and name what it repeats more exactly."
            raise CatalogError(what, where, fix) from None
        if spans:
            found[start:stop] = touched(spans, corpus.ends[start:stop], len(content))
    return found


def touched(spans: list[tuple[int, int]], ends: Int[np.ndarray, "token"], length: int) -> Bool[np.ndarray, "token"]:
    """Which tokens of a text share a character with a span; a part of a character counts as the whole character.

    A token ends at `ends` and begins where the one before it does. One that adds no character is part of the last one.
    """
    # The number of spans that cover each character, from the changes at their ends, then that of all before it.
    change = np.zeros(length + 1, np.int64)
    np.add.at(change, [start for start, _ in spans], 1)
    np.add.at(change, [end for _, end in spans], -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(change[:-1]) > 0)])
    begins = np.concatenate([[0], ends[:-1]])
    begins = np.maximum(np.minimum(begins, ends - 1), 0)
    return np.asarray(covered[ends] > covered[begins])
