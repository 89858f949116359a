"""The size of a catalog, counted and worded the same way by `build`, `check` and `verify`.

In: files, a manifest, or the table of texts. Out: counts, and phrases that state them.
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
    """The tokens that enter the statistics: all except those with massive activations."""
    pages: Mapping[str, int]
    """Pages by kind, as `page_counts` gives them."""

    def corpus_words(self) -> str:
        """The numbers of texts and tokens in one phrase."""
        counted = "all" if self.counted == self.tokens else f"{self.counted:,}"
        return f"{self.texts:,} texts, {self.tokens:,} tokens ({counted} counted)"

    def page_words(self) -> str:
        """The numbers of pages in one phrase."""
        return f"{sum(self.pages.values()):,} pages, {self.pages['features']:,} of them feature pages"


def of_manifest(manifest: Mapping[str, Any]) -> Totals:
    """The totals in the manifest of a published catalog."""
    corpus = manifest["corpus"]
    return Totals(corpus["texts"], corpus["tokens"], manifest["counts"]["tokens"], manifest["pages"])


def is_page(path: str) -> bool:
    """Whether a file is a page with an address of its own, which an embed is not."""
    return path.endswith(".html") and not path.endswith(".embed.html")


def page_counts(files: Iterable[str]) -> dict[str, int]:
    """The number of pages of each kind in a catalog, from its files; indexes and lists count as `overviews`.

    A page is an HTML file in the catalog's folder. Embeds are a separate kind.
    """
    kinds = ("features", "embeds", "effects", "categories", "category_pairs", "concepts", "texts", "overviews")
    counts = dict.fromkeys(kinds, 0)
    for path in files:
        folder, _, name = path.rpartition("/")
        if not name.endswith(".html"):
            continue
        if name.endswith(".embed.html"):
            counts["embeds"] += 1
        elif folder == "categories" and ".vs." in name:
            counts["category_pairs"] += 1
        elif name.startswith(("index.", "all.", "page-")) or folder not in counts:
            counts["overviews"] += 1
        else:
            counts[folder] += 1
    return counts
