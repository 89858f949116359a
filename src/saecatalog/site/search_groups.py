"""The categories, concepts and kinds of features in the search: their names, words, and the features they stand for.

In: a `Catalog`. Out: for each category and concept its title, page and kind, for a concept the words that its texts
share, and the features that it answers to with their strength. A search for "negation" so finds features that fire on
"not" and "never", and those that fire everywhere come last. A kind of clear features leads only to its list.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from saecatalog.constants import CLEAR_KINDS
from saecatalog.site.catalog import CLEAREST_PAGE, Catalog, GroupRef
from saecatalog.site.records import Groups

WORD = re.compile(r"[^\W\d_]{2,}")
MOST = 20
"""Features and words of a group."""
CLEAR = 2
"""A word of a concept is in this many times as large a share of its texts as of the corpus."""
SAMPLE = 2_000
"""Texts of the corpus, evenly spaced, with which the words of concepts are compared."""

Found = list[list[str | int | float]]
SearchGroup = list[str | Found]


def groups(catalog: Catalog) -> list[SearchGroup]:
    """Each category, concept and kind of features as [title, page, kind, words, [[feature, strength], ...]].

    The strongest feature has the strength 1.
    """
    telling = {
        "category": _telling(catalog, "categories", "category", "active_inside", "n_inside"),
        "concept": _telling(catalog, "concepts", "concept", "n_active", "n_texts"),
    }
    shared: dict[str, dict[str, str]] = {"category": {}, "concept": _words(catalog)}
    kinds: list[tuple[str, list[GroupRef]]] = [("category", catalog.categories), ("concept", catalog.concepts)]
    clear: list[SearchGroup] = [
        [words, f"{CLEAREST_PAGE}#{name}", "clearest features", "", []]
        for name, words in CLEAR_KINDS.items()
        if catalog.rankings[f"clearest:{name}"]
    ]
    named: list[SearchGroup] = [
        [ref.title, ref.page, kind, shared[kind].get(ref.name, ""), telling[kind].get(ref.name, [])]
        for kind, refs in kinds
        for ref in refs
    ]
    return named + clear


def information(share: float, elsewhere: float) -> float:
    """How much a thing tells of a group if it is in this share of its texts: share * log2(share / share elsewhere).

    It is the thing's part of the Kullback-Leibler divergence, in bits: what is everywhere tells nothing, and what is in
    few texts of the group tells little.
    """
    return share * math.log2(share / elsewhere) if share > elsewhere > 0 else 0.0


def _telling(catalog: Catalog, table: str, group: str, active: str, texts: str) -> dict[str, Found]:
    """The features that tell most of each group, with what they tell relative to the first."""
    frame = catalog.tables.read(table, [group, "feature", active, texts])
    features = catalog.tables.read("features", ["feature", "n_texts", "n_texts_active"]).set_index("feature")
    overall = (features["n_texts_active"] / features["n_texts"].clip(lower=1)).reindex(frame["feature"]).to_numpy()
    share = (frame[active] / frame[texts]).to_numpy()
    # A concept's texts are not in the corpus, in which a feature may be silent.
    rarest = 0.5 / max(1, int(features["n_texts"].max()))
    told = [information(a, max(b, rarest)) for a, b in zip(share.tolist(), overall.tolist(), strict=True)]
    ranked = frame.assign(told=np.array(told, float))
    ranked = ranked[ranked["told"] > 0].sort_values([group, "told", "feature"], ascending=[True, False, True])
    return {str(name): _relative(part) for name, part in ranked.groupby(group, sort=False)}


def _relative(part: pd.DataFrame) -> Found:
    head = part.head(MOST)
    strengths = (head["told"] / head["told"].iloc[0]).round(2)
    return [[feature, strength] for feature, strength in zip(head["feature"].tolist(), strengths.tolist(), strict=True)]


def _words(catalog: Catalog) -> dict[str, str]:
    """The words that tell most of each concept's texts, compared with those of the corpus."""
    contents = catalog.tables.read("texts", ["content"])["content"].tolist()
    sample = contents[:: max(1, len(contents) // SAMPLE)]
    usual = _documents(sample)
    texts = Groups(catalog.tables.read("concept_texts", ["concept", "content"]), "concept")
    return {
        ref.name: _telling_words([row.content for row in texts[ref.name]], usual, len(sample))
        for ref in catalog.concepts
    }


def _telling_words(contents: Sequence[str], usual: Counter[str], n_usual: int) -> str:
    """Words of at least two texts that are clearly more frequent than usual, those that tell most first."""
    told = {}
    for word, count in _documents(contents).items():
        share, elsewhere = count / len(contents), max(usual[word], 0.5) / max(1, n_usual)
        if count > 1 and share >= CLEAR * elsewhere:
            told[word] = information(share, elsewhere)
    return " ".join(sorted(told, key=lambda word: (-told[word], word))[:MOST])


def _documents(contents: Iterable[str]) -> Counter[str]:
    """In how many texts each word is."""
    return Counter(word for content in contents for word in sorted(set(WORD.findall(content.lower()))))
