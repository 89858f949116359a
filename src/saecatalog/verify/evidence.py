"""Everything that the checks read: a published catalog and its recomputed activations flow in, lookups flow out.

The activations are recomputed with the model. A figure that depends on other published figures (such as a category's
counts of text scores, or a ranking) is recomputed from those, which have checks of their own. So each error is
reported at its origin, and rounding errors do not add up.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float64

from saecatalog.progress import Progress
from saecatalog.verify import formulas
from saecatalog.verify.published import Manifest, Published
from saecatalog.verify.report import Report
from saecatalog.verify.rerun import TOLERANCES, Pass, RunText, Tolerance, dense_case, run_texts, settle
from saecatalog.verify.runner import Runner
from saecatalog.verify.tokens import text_of_token


@dataclass
class Evidence:
    """One catalog, as published and as recomputed."""

    published: Published
    runner: Runner
    sample: list[int]
    """The features checked in full, ascending."""
    seen: Pass
    """The texts of the corpus."""
    concepts_seen: Pass
    """The texts of the concepts."""
    report: Report

    @property
    def manifest(self) -> Manifest:
        return self.published.manifest

    @property
    def settings(self) -> Manifest:
        return self.published.settings

    @property
    def tolerance(self) -> Tolerance:
        return self.seen.tolerance

    @property
    def strong(self) -> float:
        """The score above which a text is strong."""
        return float(self.settings["strong_threshold"])

    @cached_property
    def text_ids(self) -> list[str]:
        return [str(t) for t in self.published["texts"]["text"]]

    @cached_property
    def categories(self) -> list[str]:
        """The category of each text."""
        return [str(c) for c in self.published["texts"]["category"]]

    @cached_property
    def sources(self) -> list[str]:
        """The source of each text: its file, or the text itself."""
        files = self.published["texts"]["file"]
        return [f"file {file}" if file else f"text {text}" for file, text in zip(files, self.text_ids, strict=True)]

    @cached_property
    def place(self) -> dict[str, int]:
        """The index of each text in the table of texts."""
        return {text: place for place, text in enumerate(self.text_ids)}

    @cached_property
    def halves(self) -> list[str]:
        """The half of each text, recomputed."""
        return formulas.halves(self.text_ids, self.categories)

    @cached_property
    def _names(self) -> dict[int, str]:
        return {}

    def token(self, token_id: int) -> str:
        """A token as text."""
        if token_id not in self._names:
            self._names[token_id] = text_of_token(self.runner.tokenizer, token_id)
        return self._names[token_id]

    @cached_property
    def n_active(self) -> dict[int, int]:
        """The published number of active tokens of each feature."""
        table = self.published["features"]
        return dict(zip(table["feature"].tolist(), table["n_active"].tolist(), strict=True))

    @cached_property
    def case(self) -> formulas.Case:
        """The sampled features, dense, with undecided activations settled; features are numbered as in the sample."""
        columns = settle(self.seen, self.sample, self.n_active)
        return dense_case(self.seen, columns, self.text_ids, self.categories)

    @cached_property
    def keep(self) -> list[list[bool]]:
        """Which tokens of each text are not massive."""
        return [self.seen.counted[a:b].tolist() for a, b in pairwise(self.seen.offsets)]

    @cached_property
    def slack(self) -> dict[int, float]:
        """Largest expected rounding error of each sampled feature's activations."""
        return {f: float(self.seen.slack[self.seen.features == f].max(initial=0)) for f in self.sample}

    @cached_property
    def scores(self) -> "Scores":
        return Scores(self.published["text_scores"], self.place)


class Scores:
    """The published text scores by feature, without rows of unknown texts (which are reported elsewhere)."""

    def __init__(self, table: pd.DataFrame, place: dict[str, int]):
        places = table["text"].map(place)
        known = places.notna().to_numpy()
        self.n_texts = len(place)
        self._places = places[known].to_numpy(dtype=np.int64)
        self._values = table["score"].to_numpy(dtype=np.float64)[known]
        groups = pd.Series(np.arange(known.sum())).groupby(table["feature"].to_numpy()[known]).indices
        self._rows: dict[int, np.ndarray] = {int(str(feature)): np.asarray(rows) for feature, rows in groups.items()}

    @property
    def features(self) -> list[int]:
        """The features that fired on a text."""
        return sorted(self._rows)

    @property
    def values(self) -> Float64[np.ndarray, "row"]:
        """Every score above 0."""
        return self._values

    def of(self, feature: int) -> Float64[np.ndarray, "text"]:
        """The score of each text, 0 if it has none."""
        column = np.zeros(self.n_texts)
        rows = self._rows.get(feature, np.zeros(0, np.int64))
        column[self._places[rows]] = self._values[rows]
        return column


def gather(
    published: Published,
    runner: Runner,
    sample: list[int],
    report: Report,
    progress: Progress,
    measured: bool = False,
) -> Evidence:
    """Run the published texts of the corpus and of the concepts through the model and the SAE.

    `measured` is that of `Tolerance`.
    """
    limit = float(published.manifest["health"]["norm_limit"])
    tolerance = replace(TOLERANCES[published.settings["dtype"]], measured=measured)

    nothing = pd.DataFrame({"content": [], "special_tokens": [], "n_excluded": [], "n_tokens": []})

    def run(name: str, what: str) -> Pass:
        table = published.get(name, nothing)
        columns = (table[name].tolist() for name in ("content", "special_tokens", "n_excluded"))
        texts = [RunText(*cells) for cells in zip(*columns, strict=True)]
        with progress.bar(what, int(table["n_tokens"].sum()), " tokens") as bar:
            return run_texts(runner, texts, limit, tolerance, bar.update)

    corpus, concepts = run("texts", "rerun texts"), run("concept_texts", "rerun concepts")
    return Evidence(published, runner, sample, corpus, concepts, report)
