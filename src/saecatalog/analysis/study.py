"""One corpus under analysis: inputs flow in, everything that several analyses need flows out."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saecatalog.analysis.activations import Activations, include
from saecatalog.analysis.auroc_intervals import Sources
from saecatalog.analysis.categories import second_half
from saecatalog.analysis.concepts import ConceptTexts
from saecatalog.analysis.contexts import surroundings
from saecatalog.analysis.label_rows import Labelling
from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.scores import TextScores, score_texts
from saecatalog.analysis.statistics import quantile
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.analysis.token_view import bigram_codes, token_codes
from saecatalog.config import AnalysisConfig
from saecatalog.progress import Bar, Progress
from saecatalog.store import Harvested, Lens, Store, read_lens
from saecatalog.texts.corpus import Text

STRONG_QUANTILE = 0.9
"""If the settings give no strong threshold, it is this quantile of the text scores above 0."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of the analyses."""

    texts: list[Text]
    store: Store
    concept_texts: list[Text]
    """Empty if there are no concepts."""
    concept_store: Store | None
    lens: Lens
    vocabulary: list[str]
    """Each token id as readable text."""

    @classmethod
    def read(cls, corpus: Harvested, concepts: Harvested | None, lens: Path) -> "Inputs":
        """Open the outputs of the earlier stages; `lens` is the folder that `make_lens` filled."""
        return cls(
            texts=corpus.texts,
            store=corpus.store,
            concept_texts=concepts.texts if concepts else [],
            concept_store=concepts.store if concepts else None,
            lens=read_lens(lens),
            vocabulary=json.loads((lens / "vocabulary.json").read_text(encoding="utf-8")),
        )


class Study:
    """One corpus under analysis, with everything that each block of features needs."""

    def __init__(self, inputs: Inputs, config: AnalysisConfig, scratch: Path, progress: Progress):
        self.inputs, self.config, self.scratch, self.progress = inputs, config, scratch, progress
        self.activations = include(inputs.store, config.outlier_multiple, scratch=scratch)
        with self.bar("text scores") as bar:
            self.scores = score_texts(self.activations, config.text_score, bar.update)
        self.strong, self.strong_rule = strong_threshold(self.scores, config.strong)
        self.contents = [text.content for text in inputs.texts]
        # Strings are in object arrays, so that an index array selects many at once and repeats share one object.
        self.text_ids = np.array([text.id for text in inputs.texts], object)
        self.categories = [text.category for text in inputs.texts]
        self.category_of = np.array(self.categories, object)
        self.vocabulary = np.array(inputs.vocabulary, object)
        self.groups = TextGroups.of(self.categories)
        self.sources = Sources.of(self.groups, [text.file for text in inputs.texts])
        self.second = second_half(self.categories)
        self.surroundings = surroundings(self.activations)
        self.tokens = token_codes(self.activations)
        self.bigrams, self.bigram_tokens = bigram_codes(self.activations)
        readings = Readings(
            Corpus(
                self.tokens.of_token,
                np.asarray(inputs.store.token_ends),
                self.activations.token_texts,
                self.activations.token_positions,
                self.contents,
                self.categories,
                inputs.vocabulary,
            )
        )
        self.labelling = Labelling.of(self.activations, readings, self.second)
        self.concepts = Concepts(self, inputs.concept_store) if inputs.concept_store else None

    def bar(self, what: str) -> AbstractContextManager[Bar]:
        """A progress bar over the features of the dictionary."""
        return self.progress.bar(what, self.inputs.store.d_sae, " features")


class Concepts:
    """The texts of the concepts; massive positions are judged by the median norm of the corpus."""

    def __init__(self, study: Study, store: Store):
        config, texts = study.config, study.inputs.concept_texts
        self.activations: Activations = include(
            store, config.outlier_multiple, study.activations.norm_median, study.scratch
        )
        self.scores: TextScores = score_texts(self.activations, config.text_score)
        names, contents = [text.category for text in texts], [text.content for text in texts]
        self.texts = ConceptTexts.of(names, contents, study.contents, study.second)


def strong_threshold(scores: TextScores, given: float | None) -> tuple[float, str]:
    """The threshold above which a text score is strong, and a sentence that explains it."""
    if given is not None:
        return given, "Set in the catalog's settings."
    value = quantile(scores.by_feature.data, STRONG_QUANTILE)
    return float(f"{value:.2g}"), (
        f"The {STRONG_QUANTILE:.0%} quantile of all text scores above 0 of this SAE on this corpus, "
        "rounded to two significant digits."
    )
