"""The examples that pages show: which rows of `contexts` stand on a feature's page, and which of them a text's lists.

In: the tables. Out: rows with the columns of `contexts`, and `listed`: whether the text's own page lists the feature,
so that the feature's page can link there. Only the columns that decide are read whole; the rows are read a part at a
time.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from saecatalog.site.records import Groups
from saecatalog.tables import Tables

TOP = 8
"""The strongest contexts that a feature's page shows."""
IN_BAND = range(2, 6)
"""How many contexts it shows of each quarter of the active tokens: as many as `BAND_TOKENS` allows."""
BAND_TOKENS = 400
"""Most tokens that the contexts of all quarters show together, so that pages stay below 20 kB on average."""
MANY_PAGES = 5000
"""With more pages of features than this, each shows as few contexts of a quarter as it may: a site must stay small."""
LISTED = 15
"""Most features a text's page lists as examples, besides its strongest: the page must not grow with the dictionary."""


class Examples:
    """The contexts on the pages of features, to be looked up by feature and by text."""

    def __init__(self, tables: Tables, paged: Collection[int]):
        self._tables = tables
        columns = ["feature", "text", "band", "rank", "activation", "window_start", "window_end"]
        frame = tables.read("contexts", columns)
        in_band = IN_BAND if len(paged) <= MANY_PAGES else IN_BAND[:1]
        self._features = frame["feature"].to_numpy()
        # Which of `_texts` each context is a part of.
        self._text, self._texts = pd.factorize(frame["text"])
        self._shown = (frame["rank"].to_numpy() < _most(frame, in_band)) & np.isin(self._features, list(paged))
        strongest = self._among_strongest()
        others = np.flatnonzero(self._shown & ~strongest)
        self._listed = self._shown & strongest
        self._listed[others[_first(self._text[others], frame.iloc[others], LISTED)]] = True

    def of_features(self, features: Iterable[int]) -> Groups:
        """The examples on the pages of these features, by feature."""
        return self._rows(np.isin(self._features, list(features)), "feature")

    def of_texts(self, texts: Iterable[str]) -> Groups:
        """The examples that are parts of these texts, by text."""
        return self._rows(np.isin(self._text, self._places(texts)), "text")

    def _places(self, texts: Iterable[str]) -> np.ndarray:
        """The place of each of these texts in `_texts`; -1 where no context is a part of it."""
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


def _most(contexts: pd.DataFrame, counts: Sequence[int]) -> np.ndarray:
    """For each context, how many of its band are shown.

    Of each quarter of a feature that is the largest of `counts` with which all quarters stay within `BAND_TOKENS`, or
    the first of them.
    """
    top = (contexts["band"] == "top").to_numpy()
    features, ranks = contexts["feature"].to_numpy(), contexts["rank"].to_numpy()
    tokens = (contexts["window_end"] - contexts["window_start"]).to_numpy()
    in_band = np.full(features.max(initial=-1) + 1, counts[0])
    for count in counts:
        shown = ~top & (ranks < count)
        in_band[np.bincount(features[shown], tokens[shown], len(in_band)) <= BAND_TOKENS] = count
    return np.where(top, TOP, in_band[features])


def _first(texts: np.ndarray, contexts: pd.DataFrame, most: int) -> np.ndarray:
    """The places of the strongest contexts of each text, `most` at most; ties go to the smaller feature."""
    order = np.lexsort((contexts["feature"].to_numpy(), -contexts["activation"].to_numpy(), texts))
    sorted_texts = texts[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_texts, sorted_texts)
    return order[rank < most]
