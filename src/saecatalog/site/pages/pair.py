"""The page of two features side by side, whose address names them, and the data from which its script shows any two.

In: a `Catalog`. Out: plain values for the template, and scripts: one for the texts, and one for each block of features.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from saecatalog.constants import DOUBLE, TOGETHER, WITHIN
from saecatalog.names import with_signs
from saecatalog.site.catalog import Catalog
from saecatalog.site.charts import script_json
from saecatalog.site.packing import packed, packed_whole, steps
from saecatalog.site.records import Groups
from saecatalog.site.tokens import shorten

PAGE, TEXTS = "pair.html", "pairs/texts.js"
IN_SCRIPT = 32
"""Consecutive features whose data is in one script."""
BLOCK = 32 * IN_SCRIPT
"""Features whose rows are in memory at once."""
BEGINNINGS = 20_000
"""With more texts, the script with their names leaves out how they begin."""
BEGINNING = 60
SHOWN = 5
"""Texts of each kind on the page."""


def view(catalog: Catalog) -> dict[str, Any]:
    """What the page needs besides the data of the two features."""
    compared = len(catalog.compared)
    return {
        "in_script": IN_SCRIPT,
        "compared": compared,
        "example": catalog.compared[:2],
        "limits": {"double": DOUBLE, "within": WITHIN, "together": TOGETHER},
        "shown": SHOWN,
    }


def script_of(place: int) -> str:
    """The script with the data of a block of features."""
    return f"pairs/{place}.js"


def texts_script(catalog: Catalog) -> str:
    """The name, page and beginning of every text, in the order of the table."""
    with_beginning = len(catalog.texts) <= BEGINNINGS
    rows = []
    for row in catalog.texts.values():
        ref = catalog.text_ref(row.text, row.category)
        rows.append([ref.name, ref.page, shorten(row.content, BEGINNING) if with_beginning else ""])
    return f"window.saePairTexts = {script_json(rows)};\n"


def feature_scripts(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """The path and content of the script of each block of features that has any."""
    place_of = {text: place for place, text in enumerate(catalog.texts)}
    last = max(catalog.compared, default=-1)
    for first in range(0, last + 1, BLOCK):
        part = _Part(catalog, [f for f in catalog.compared if first <= f < first + BLOCK], place_of)
        for start in range(first, min(first + BLOCK, last + 1), IN_SCRIPT):
            found = {str(f): part.of(f) for f in part.features if start <= f < start + IN_SCRIPT}
            if found:
                place = start // IN_SCRIPT
                yield script_of(place), f"(window.saePairs ??= {{}})[{place}] = {script_json(found)};\n"


class _Part:
    """The rows of some features."""

    def __init__(self, catalog: Catalog, features: Sequence[int], place_of: dict[str, int]):
        self._catalog, self.features = catalog, features
        self._maxima = dict(
            zip(*(catalog.tables["features"][name].tolist() for name in ("feature", "max")), strict=True)
        )
        self._firings = Groups(catalog.tables.read("firings", features=features), "feature")
        scores = catalog.tables.read("text_scores", ["feature", "text", "score"], features)
        scores["place"] = scores["text"].map(place_of)
        known = scores.dropna(subset="place").sort_values(["feature", "place"], kind="stable")
        self._scores = {f: (g["place"].to_numpy(np.int64), g["score"].to_numpy()) for f, g in known.groupby("feature")}
        logits = catalog.tables.read("logits", ["feature", "rank", "direction", "token"], features)
        self._promoted = Groups(logits[logits["direction"] == "promoted"], "feature")

    def of(self, number: int) -> dict[str, Any]:
        """The data of one feature, as `assets/pair_page.js` reads it."""
        firing = self._firings[number][0]
        places, scores = self._scores.get(number, (np.zeros(0, np.int64), np.zeros(0, np.float32)))
        ref = self._catalog.ref(number)
        return {
            "label": ref.label,
            "page": ref.page,
            "max": float(self._maxima[number]),
            "tokens": packed_whole(steps(firing.tokens.astype(np.int64))),
            "direction": packed(firing.direction.astype(np.int8)),
            "texts": packed_whole(steps(places)),
            "scores": packed(scores.astype("<f4")),
            "promoted": [with_signs(one.token) for one in self._promoted[number]],
        }
