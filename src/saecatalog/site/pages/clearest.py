"""The view model of the page of the clearest features, by the kind of rule that explains them.

In: a `Catalog`. Out: plain values for the template.
"""

from dataclasses import dataclass
from typing import Any

from saecatalog.constants import CLEAR, CLEAR_KINDS, CLEAREST, COMMON_DENSITY, COMMON_TOKEN, SET_APART
from saecatalog.site import formats
from saecatalog.site.catalog import Catalog
from saecatalog.site.pages.ranked import Ranked, ranked

ABOUT = {
    "words": "The rule names a word, several words, or the forms of a word.",
    "topics": "The rule names a category of texts: what they are about, or how they are written.",
    "syntax": "The rule names punctuation, a class of tokens, or what comes before or after a token.",
    "code": "The rule names what is written in code and in formats of data.",
    "scripts": "The rule names a script or a language.",
    "common": f"Words, syntax and code again: active on at least {formats.percent(COMMON_DENSITY)} of the tokens, "
    f"or best predicted by a single letter or by a token that makes up at least {formats.percent(COMMON_TOKEN)}.",
    "positions": "The rule names a place in the text, such as its first token.",
}
"""What the rules of each kind are about."""


@dataclass(frozen=True)
class Kind:
    """One kind of features: its name in addresses, what readers call it, what its rules are about, and its features.

    `more` is whether the ranking may have left out further features.
    """

    name: str
    title: str
    about: str
    found: list[Ranked]

    @property
    def set_apart(self) -> bool:
        """Whether its features are left out where the clearest of all kinds are listed."""
        return self.name in SET_APART

    @property
    def in_table(self) -> bool:
        """Whether the features table can show all features of the kind; `common` is part of several."""
        return self.name != "common"

    @property
    def more(self) -> bool:
        return len(self.found) == CLEAREST


def kinds(catalog: Catalog) -> list[Kind]:
    """Every kind, in the order of `CLEAR_KINDS`; it may be without a clear feature."""
    return [Kind(n, words, ABOUT[n], ranked(catalog, f"clearest:{n}", CLEAREST)) for n, words in CLEAR_KINDS.items()]


def view(catalog: Catalog) -> dict[str, Any]:
    """Everything that the page shows."""
    return {"kinds": kinds(catalog), "least": CLEAR, "most": CLEAREST}
