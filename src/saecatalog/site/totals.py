"""How much a catalog holds: `build`, `check` and `verify` all count and word it as here.

In: files, a manifest, or the table of texts. Out: counts and the words for them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Totals:
    """The texts, tokens and pages of one catalog."""

    texts: int
    tokens: int
    """Tokens of all texts, without BOS."""
    counted: int
    """The tokens that enter the statistics: all but those with a massive activation."""
    pages: Mapping[str, int]
    """Pages by kind, as `page_counts` gives them."""

    def corpus_words(self) -> str:
        """Texts and tokens in one phrase."""
        counted = "all" if self.counted == self.tokens else f"{self.counted:,}"
        return f"{self.texts:,} texts, {self.tokens:,} tokens ({counted} counted)"

    def page_words(self) -> str:
        """Pages in one phrase."""
        return f"{sum(self.pages.values()):,} pages, {self.pages['features']:,} of them of features"


def of_manifest(manifest: Mapping[str, Any]) -> Totals:
    """What the manifest of a published catalog says."""
    corpus = manifest["corpus"]
    return Totals(corpus["texts"], corpus["tokens"], manifest["counts"]["tokens"], manifest["pages"])


def page_counts(files: Iterable[str]) -> dict[str, int]:
    """How many pages of each kind a catalog has, from its files; indexes and lists count as `overviews`.

    A page is an HTML file of the catalog's folder. Embeds are pages of their own kind.
    """
    counts = {"features": 0, "embeds": 0, "categories": 0, "concepts": 0, "texts": 0, "overviews": 0}
    for path in files:
        folder, _, name = path.rpartition("/")
        if not name.endswith(".html"):
            continue
        if name.endswith(".embed.html"):
            counts["embeds"] += 1
        elif name.startswith(("index.", "all.", "page-")) or folder not in counts:
            counts["overviews"] += 1
        else:
            counts[folder] += 1
    return counts
