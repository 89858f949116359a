"""Explanations of others: files of explanations flow in, checked rows of the table `explanations` flow out.

They are what others wrote about a feature, mostly language models, after looking at its activations: exported by
Neuronpedia, or asked for with the command `explain`, which also has them judged. They are shown with their source and
are not results of the analysis.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from saecatalog.errors import CatalogError
from saecatalog.json_lines import NAMES, TEXT, Line, optional, read_lines
from saecatalog.judged import NO_FIGURES, NOT_JUDGED, OTHER_TEXTS, REWORDED, UNJUDGED, Judged, read_field
from saecatalog.tables import Columns

KIND = "file of explanations"

FIELDS = {**NAMES, "description": TEXT, "typeName": optional(TEXT), "explanationModelName": optional(TEXT)}
"""The fields that are read, beside `judged.FIELD`; exports also have an id, an author and an embedding."""


ASKED = "saecatalog_examples"
"""The method (`typeName`) by which the command `explain` asks for explanations."""


class Explanation(NamedTuple):
    """One explanation; `model` wrote it by the method `type`, and each is "" if the file does not say."""

    feature: int
    description: str
    model: str
    type: str
    unscored: str = NOT_JUDGED
    """Why there is no score; "" if there is one."""
    judged: Judged | None = None


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
        scores = [one.judged or UNJUDGED for one in self.found]
        figures = [one.judged.figures() if one.judged else NO_FIGURES for one in self.found]
        names = [name for name in Explanation._fields if name != "judged"]
        return {
            **{name: [getattr(one, name) for one in self.found] for name in names},
            **{name: [getattr(score, name) for score in scores] for name in Judged._fields},
            **{name: [row[name] for row in figures] for name in NO_FIGURES},
            "rank": ranks,
            "source": [self.source] * len(self.found),
        }

    def facts(self) -> dict[str, object] | None:
        """What the manifest says of them; None if there are none."""
        if not self.source:
            return None
        content = json.dumps(self.found).encode()
        features = len({one.feature for one in self.found})
        sha256 = hashlib.sha256(content).hexdigest()
        return {"source": self.source, "rows": len(self.found), "features": features, "sha256": sha256}

    def notices(self, paged: set[int]) -> Iterator[str]:
        """What a user may not expect: rows left out, scores of something else, and features without a page."""
        if n := self.empty:
            yield f"{n:,} explanation{'s are' if n > 1 else ' is'} empty and {'were' if n > 1 else 'was'} left out."
        for why in (OTHER_TEXTS, REWORDED):
            if n := sum(one.unscored == why for one in self.found):
                words = (
                    "explanations are shown without their scores" if n > 1 else "explanation is shown without its score"
                )
                yield f"{n:,} {words}: {why}. `explain --score-only` scores them anew."
        if n := len({one.feature for one in self.found} - paged):
            words = "features with an explanation have" if n > 1 else "feature with an explanation has"
            yield f"{n:,} {words} no page; the data files have {'them' if n > 1 else 'it'}."


NO_EXPLANATIONS = Explanations()


def read_explanations(path: str, source: str, d_sae: int, basis: Mapping[str, str] | None = None) -> Explanations:
    """The explanations in a file, or in the files of a folder; none if `path` is "".

    `source` is the SAE's name, such as `gpt2-small/6-res-jb`, and `basis` is what scores have to be of; without it, no
    score is taken. Raises CatalogError, with file and line, for a row that is malformed, of another model or source, or
    about a feature outside the dictionary; and if there is no explanation.
    """
    if not path:
        return NO_EXPLANATIONS
    read = [_explanation(line, d_sae, basis) for line in explanation_lines(path, source)]
    found = [one for one in read if one.description]
    if not found:
        raise CatalogError("These files have no explanation.", path, "Check the path, or remove the setting.")
    return Explanations(source, tuple(sorted(found, key=lambda one: one.feature)), len(read) - len(found))


def explanation_lines(path: str, source: str) -> Iterator[Line]:
    """The rows of a file or of a folder's files, checked to have an explanation's fields and to be of this SAE."""
    for line in read_lines([Path(path)], KIND):
        line.check(FIELDS)
        line.check_source(source)
        yield line


def _explanation(line: Line, d_sae: int, basis: Mapping[str, str] | None) -> Explanation:
    description = line.row["description"].strip()
    model, kind = (line.row.get(name) or "" for name in ("explanationModelName", "typeName"))
    return Explanation(line.feature(d_sae), description, model, kind, *read_field(line, description, d_sae, basis))


def source_of(sae: Mapping[str, Any], slug: str) -> str:
    """How files name the SAE of a manifest: as Neuronpedia does, or by the folder that its catalog has at first."""
    return str(sae.get("source") or sae["neuronpedia_id"] or slug)
