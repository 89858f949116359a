"""What is to be explained or judged: a catalog and a user's wishes flow in, questions and rows of a file flow out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError
from saecatalog.explain import prompts
from saecatalog.explain.endpoint import Endpoint, Messages
from saecatalog.explain.excerpts import Excerpt, Shown
from saecatalog.explain.judging import by_rules, label_rules
from saecatalog.explanations import ASKED, explanation_lines, source_of
from saecatalog.json_lines import NAMES
from saecatalog.manifest import Manifest
from saecatalog.site.reading import find_catalogs, read_manifest, reading
from saecatalog.tables import Tables
from saecatalog.texts.text_files import printable

NEEDED = (
    ("sae", "d_sae"),
    ("sae", "neuronpedia_id"),
    ("sae", "weights_sha256"),
    ("corpus", "name"),
    ("corpus", "sha256"),
    ("settings", "text_score"),
    ("slug",),
)
"""What is read of a manifest."""

Fields = dict[str, Any]
"""One row of a file of explanations."""


@dataclass(frozen=True)
class Job:
    """What the command is to do."""

    catalog: Path
    endpoint: Endpoint
    features: str | tuple[int, ...]
    """`notable`, `all` (all that fired), or the numbers of features."""
    given: Path | None
    """A file whose explanations are to be judged; None if the model is to write them."""
    out: Path
    cache: Path


class Work:
    """What a job needs of its catalog. Raises CatalogError for one that cannot be read, and for a wrong file."""

    def __init__(self, job: Job):
        found = find_catalogs(job.catalog)
        if len(found) > 1:
            fix = f"Give the folder of one: {', '.join(map(str, found))}."
            raise CatalogError("This site has several catalogs.", str(job.catalog), fix)
        self.job, self.manifest = job, read_manifest(found[0], NEEDED)
        self.tables = Tables(found[0] / "data")
        self._source = source_of(self.manifest["sae"], self.manifest["slug"])
        with reading(found[0]):
            chosen = _chosen(job.features, self.tables, self.manifest)
            self._given = self._rows_of(job.given) if job.given else []
            self.features = self._explained(chosen) if job.given else chosen
            """The chosen features; of a file, those that it explains."""
            self._shown = Shown.of(self.tables, self.features, str(self.manifest["settings"]["text_score"]))
        sampled = {feature: self._shown.sample(feature) for feature in self.features}
        self.samples: dict[int, list[Excerpt]] = {f: s for f, s in sampled.items() if not isinstance(s, str)}
        """What the explanations of each feature are judged on."""
        self.without = {f: reason for f, reason in sampled.items() if isinstance(reason, str)}
        """The features that have too few texts for that, and why."""
        # Before anything is asked: what is missing in a catalog should not be found when the answers are paid for.
        with reading(found[0]):
            self.by_label = by_rules(label_rules(self.tables, self.samples), self.samples, self.tables)
            """What the rules of the labels name, as counts of active and of silent excerpts."""

    def _rows_of(self, path: Path) -> list[Fields]:
        """All rows of a file of explanations."""
        d_sae = int(self.manifest["sae"]["d_sae"])
        lines = list(explanation_lines(str(path), self._source))
        for line in lines:
            line.feature(d_sae)
        return [line.row for line in lines]

    def _explained(self, chosen: list[int]) -> list[int]:
        features = {feature for feature, words in map(explained, self._given) if words}
        if features.isdisjoint(chosen):
            fix = "Choose others with --features; without it, the catalog's notable features are chosen."
            raise CatalogError("This explains none of the chosen features.", printable(self.job.given), fix)
        return [feature for feature in chosen if feature in features]

    def questions(self) -> dict[int, Messages]:
        """What is asked about each feature that has examples; nothing if the explanations are given."""
        if self.job.given:
            return {}
        examples = {feature: self._shown.examples(feature) for feature in self.features}
        return {
            feature: prompts.explain(found, [row.token for row in self._shown.promoted[feature]])
            for feature, found in examples.items()
            if found
        }

    def rows(self, descriptions: Mapping[int, str]) -> list[Fields]:
        """The rows of the new file, without scores: those given, or one for each description that is not empty."""
        if self.job.given:
            return self._given
        model, _, layer = self._source.partition("/")
        written = {"typeName": ASKED, "explanationModelName": self.job.endpoint.model}
        return [
            {**dict(zip(NAMES, (model, layer, str(feature)), strict=True)), "description": words, **written}
            for feature, words in sorted(descriptions.items())
            if words
        ]


def explained(row: Fields) -> tuple[int, str]:
    """The feature that a row is about, and what it says of it."""
    return int(row["index"]), str(row["description"]).strip()


def _chosen(wanted: str | tuple[int, ...], tables: Tables, manifest: Manifest) -> list[int]:
    """The numbers of the chosen features."""
    if not isinstance(wanted, str):
        d_sae = int(manifest["sae"]["d_sae"])
        if outside := [feature for feature in wanted if not 0 <= feature < d_sae]:
            what = f"The SAE has no feature {outside[0]}."
            raise CatalogError(what, "--features", f"Use numbers from 0 to {d_sae - 1}.")
        return sorted(wanted)
    frame = tables.read("features", ("feature", "notable", "n_active"))
    kept = frame["n_active"] > 0 if wanted == "all" else frame["notable"] != ""
    return [int(feature) for feature in frame.loc[kept, "feature"]]
