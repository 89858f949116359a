"""Chooses the examples: which rows of `contexts` a feature's page shows, and which of them a text's page lists.

In: the tables. Out: rows with the columns of `contexts`, and `listed`: whether the text's page lists the feature, so
that the feature's page can link there. Only the columns needed for this choice are read whole; the rows are read in
parts.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from saecatalog.site.records import Groups
from saecatalog.tables import Tables

TOP = 8
"""How many of the strongest contexts a feature's page shows."""
TOP_SHORT = 6
"""The same for a page with little room."""
IN_BAND = range(2, 6)
"""How many contexts it shows for each quarter of the active tokens: as many as `BAND_TOKENS` allows."""
BAND_TOKENS = 270
"""The most tokens in the contexts of all quarters together, so that pages stay below 20 kB on average."""
MANY_PAGES = 5000
"""With more feature pages than this, each shows the fewest contexts per quarter, because a site must stay small."""
LISTED = 15
"""The most features that a text's page lists besides its strongest, so that it does not grow with the dictionary."""


class Examples:
    """The contexts on feature pages, for lookup by feature and by text; `short` are features with little room."""

    def __init__(self, tables: Tables, paged: Collection[int], short: Collection[int] = ()):
        self._tables = tables
        columns = ["feature", "text", "band", "rank", "activation", "window_start", "window_end"]
        frame = tables.read("contexts", columns)
        in_band = IN_BAND if len(paged) <= MANY_PAGES else IN_BAND[:1]
        self._features = frame["feature"].to_numpy()
        # The index in `_texts` of each context's text.
        self._text, self._texts = pd.factorize(frame["text"])
        self._shown = (frame["rank"].to_numpy() < _most(frame, in_band, short)) & np.isin(self._features, list(paged))
        strongest = self._among_strongest()
        others = np.flatnonzero(self._shown & ~strongest)
        self._listed = self._shown & strongest
        self._listed[others[_first(self._text[others], frame.iloc[others], LISTED)]] = True

    def of_features(self, features: Iterable[int]) -> Groups:
        """The examples on the pages of these features, grouped by feature."""
        return self._rows(np.isin(self._features, list(features)), "feature")

    def of_texts(self, texts: Iterable[str]) -> Groups:
        """The examples from these texts, grouped by text."""
        return self._rows(np.isin(self._text, self._places(texts)), "text")

    def _places(self, texts: Iterable[str]) -> np.ndarray:
        """The index of each of these texts in `_texts`; -1 if it has no context."""
        return self._texts.get_indexer(pd.Index(list(texts), dtype=object))

    def _rows(self, wanted: np.ndarray, key: str) -> Groups:
        chosen = self._shown & wanted
        return Groups(self._tables.read("contexts", where=chosen).assign(listed=self._listed[chosen]), key)

    def _among_strongest(self) -> np.ndarray:
        """For each context, whether its feature is among the strongest of its text."""
        top = self._tables.read("text_top", ["text", "feature"])
        texts, width = self._places(top["text"]), len(self._texts)
        keys = top["feature"].to_numpy().astype(np.int64) * width + texts
        own = self._features.astype(np.int64) * width + self._text
        return np.isin(own, keys[texts >= 0])


def _most(contexts: pd.DataFrame, counts: Sequence[int], short: Collection[int]) -> np.ndarray:
    """For each context, how many contexts of its band are shown.

    For the quarters of a feature, this is the largest of `counts` with which all quarters stay within `BAND_TOKENS`, or
    the first of `counts`, as for all features that are `short` of room.
    """
    top = (contexts["band"] == "top").to_numpy()
    features, ranks = contexts["feature"].to_numpy(), contexts["rank"].to_numpy()
    tokens = (contexts["window_end"] - contexts["window_start"]).to_numpy()
    in_band = np.full(features.max(initial=-1) + 1, counts[0])
    for count in counts:
        shown = ~top & (ranks < count)
        in_band[np.bincount(features[shown], tokens[shown], len(in_band)) <= BAND_TOKENS] = count
    is_short = np.isin(features, list(short))
    return np.where(top, np.where(is_short, TOP_SHORT, TOP), np.where(is_short, counts[0], in_band[features]))


def _first(texts: np.ndarray, contexts: pd.DataFrame, most: int) -> np.ndarray:
    """The indices of the strongest contexts of each text, at most `most`; the smaller feature breaks ties."""
    order = np.lexsort((contexts["feature"].to_numpy(), -contexts["activation"].to_numpy(), texts))
    sorted_texts = texts[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_texts, sorted_texts)
    return order[rank < most]
