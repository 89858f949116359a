"""An analysed corpus with its model: the outputs of the stages flow in, answers to every question flow out.

To the questions about tables, which `Catalog` answers, come those that need the model, and the site.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from saecatalog.build import Summary, build_from
from saecatalog.config import override
from saecatalog.errors import CatalogError
from saecatalog.explore import (
    Run,
    check_feature,
    concept_features,
    feature_on_tokens,
    run_texts,
    top_of_texts,
    top_of_tokens,
)
from saecatalog.labels import with_labels
from saecatalog.library.catalog import Catalog
from saecatalog.library.notices import notices_as_warnings
from saecatalog.library.sessions import check_count, checked_settings, known, open_pipeline
from saecatalog.pipeline import Pipeline
from saecatalog.tables import Tables
from saecatalog.texts.corpus import Text


class Analysis(Catalog):
    """A catalog whose model and SAE are at hand; made by `analyse` or `Harvest.analyse`.

    The model is loaded when a method first needs it.
    """

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        with notices_as_warnings():
            super().__init__(Tables(pipeline.analysed.folder), pipeline.manifest)

    def explore(self, feature: int, text: str | Sequence[str]) -> pd.DataFrame:
        """How strongly one feature fires on texts of your own, token by token.

        Positions with massive activations are excluded as in the corpus.

        Returns:
            The columns `text` (from 0), `position`, `token`, `activation` and `counted` (False for a massive
            activation), one row per token.
        """
        check_feature(feature, self._d_sae)
        return feature_on_tokens(self._run(text), feature)

    def features_on(self, text: str | Sequence[str], n: int = 5, each: str = "text") -> pd.DataFrame:
        """Which features fire on texts of your own, the strongest first.

        Args:
            text: One text or several.
            n: Number of features of each text or token.
            each: `text` for the features of each text, `token` for those of each token.

        Returns:
            For texts, the columns `text` (from 0), `rank`, `feature`, `label`, `score`, `position` and `token`; for
            tokens, `text`, `position`, `token`, `counted`, `rank`, `feature`, `label` and `activation`.
        """
        return with_labels(features_on(self._run(text), n, each), self._labels)

    def concept(self, texts: Sequence[str], name: str = "concept") -> pd.DataFrame:
        """How the features respond to texts that share a concept, the most consistent feature first.

        Returns:
            The columns of the table `concepts` (see `meanings`), for each feature that fired on one of the texts.
        """
        made = [
            Text(f"concept-{n}", name, f"{name}, text {n}", content) for n, content in enumerate(contents(texts), 1)
        ]
        with notices_as_warnings():
            rows = concept_features(self._pipeline, made).rows
        order = ["consistency", "mean_all", "feature"]
        rows = rows.sort_values(order, ascending=[False, False, True], ignore_index=True)
        return with_labels(rows, self._labels)

    def build_site(self, out: str | Path, **settings: object) -> Summary:
        """Build the site into a folder, beside the catalogs that are there.

        Args:
            out: Folder of the site.
            **settings: Settings of the section `[site]` of a catalog file, such as `title`, `features` or `live`.

        Returns:
            The manifest, the folder of the catalog, the page to open, whether anything was rebuilt, and its size.
        """
        pipeline = self._pipeline
        config = override(pipeline.config, "site", out=str(out), **checked_settings("site", settings))
        given = replace(pipeline.given, texts=pipeline.texts, concepts=pipeline.concepts)
        with notices_as_warnings(), open_pipeline(config, pipeline.progress, given) as site:
            return build_from(site)

    def _run(self, text: str | Sequence[str]) -> Run:
        with notices_as_warnings():
            return run_texts(self._pipeline, contents(text), self.manifest["health"]["norm_median"])


def contents(text: str | Sequence[str]) -> list[str]:
    """One text or several, as a list; raises CatalogError if there is none."""
    found = [text] if isinstance(text, str) else list(text)
    if not found:
        raise CatalogError("No text was given.", "an empty list", "Give a string, or a list of strings.")
    return found


def features_on(run: Run, n: int, each: str) -> pd.DataFrame:
    """The strongest features of each `text` or each `token` of a run."""
    check_count(n)
    known(each, ("text", "token"), "choice of each")
    return top_of_texts(run, n) if each == "text" else top_of_tokens(run, n)
