"""Explanations from Neuronpedia: its exported files flow in, checked rows of the table `explanations` flow out.

They are what others wrote about a feature, mostly language models, after looking at its activations on other texts.
They are shown with their source and are not results of the analysis.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from saecatalog.errors import CatalogError
from saecatalog.json_lines import NAMES, TEXT, optional, read_lines
from saecatalog.tables import Columns

KIND = "file of explanations"

FIELDS = {**NAMES, "description": TEXT, "typeName": optional(TEXT), "explanationModelName": optional(TEXT)}
"""The fields that are read; exports also have an id, an author and an embedding."""


class Explanation(NamedTuple):
    """One explanation; `model` wrote it by the method `type`, and each is "" if the file does not say."""

    feature: int
    description: str
    model: str
    type: str


@dataclass(frozen=True)
class Explanations:
    """The explanations of a catalog's features: by feature, then in the order of the files."""

    source: str = ""
    """Model and source on Neuronpedia, such as `gpt2-small/6-res-jb`; "" if there are no explanations."""
    found: tuple[Explanation, ...] = ()
    empty: int = 0
    """Rows without a description, which are left out."""

    def columns(self) -> Columns:
        """The rows of the table `explanations`."""
        ranks: list[int] = []
        for place, one in enumerate(self.found):
            follows = place and self.found[place - 1].feature == one.feature
            ranks.append(ranks[-1] + 1 if follows else 0)
        columns = {name: [getattr(one, name) for one in self.found] for name in Explanation._fields}
        return {**columns, "rank": ranks, "source": [self.source] * len(self.found)}

    def facts(self) -> dict[str, object] | None:
        """What the manifest says of them; None if there are none."""
        if not self.source:
            return None
        content = json.dumps(self.found).encode()
        features = len({one.feature for one in self.found})
        sha256 = hashlib.sha256(content).hexdigest()
        return {"source": self.source, "rows": len(self.found), "features": features, "sha256": sha256}

    def notices(self, paged: set[int]) -> Iterator[str]:
        """What a user may not expect: rows left out, and features without a page, whose explanations it cannot show."""
        if n := self.empty:
            yield f"{n:,} explanation{'s are' if n > 1 else ' is'} empty and {'were' if n > 1 else 'was'} left out."
        if n := len({one.feature for one in self.found} - paged):
            words = "features with an explanation have" if n > 1 else "feature with an explanation has"
            yield f"{n:,} {words} no page; the data files have {'them' if n > 1 else 'it'}."


NO_EXPLANATIONS = Explanations()


def read_explanations(path: str, source: str, d_sae: int) -> Explanations:
    """The explanations in a file, or in the files of a folder; none if `path` is "".

    `source` is the SAE's name, such as `gpt2-small/6-res-jb`. Raises CatalogError, with file and line, for a row that
    is malformed, of another model or source, or about a feature outside the dictionary; and if there is no explanation.
    """
    if not path:
        return NO_EXPLANATIONS
    found: list[Explanation] = []
    empty = 0
    for line in read_lines([Path(path)], KIND):
        line.check(FIELDS)
        line.check_source(source)
        description = line.row["description"].strip()
        empty += not description
        if description:
            model, kind = (line.row.get(name) or "" for name in ("explanationModelName", "typeName"))
            found.append(Explanation(line.feature(d_sae), description, model, kind))
    if not found:
        raise CatalogError("These files have no explanation.", path, "Check the path, or remove the setting.")
    return Explanations(source, tuple(sorted(found, key=lambda one: one.feature)), empty)
