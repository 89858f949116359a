"""One corpus under analysis: inputs flow in, everything that several analyses need flows out.

What blocks of features share grows with tokens, texts and the vocabulary; what belongs to one block travels with it. So
an engine can send the blocks of a dictionary of any size to workers that hold only the former.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt32

from saecatalog.analysis.activations import Activations, Block, CorpusTokens, UnreadBlock, include
from saecatalog.analysis.auroc_intervals import Sources
from saecatalog.analysis.categories import second_half
from saecatalog.analysis.concepts import ConceptTexts
from saecatalog.analysis.contexts import surroundings
from saecatalog.analysis.label_rows import Labelling
from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.scores import TextScores, score_texts
from saecatalog.analysis.statistics import quantile
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.analysis.token_view import Codes, bigram_codes, token_codes
from saecatalog.config import AnalysisConfig
from saecatalog.engines import Engine
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


@dataclass(frozen=True)
class Shared:
    """What the analyses of every block of features share: about 120 bytes a token, the texts and the vocabulary.

    Nothing in it grows with the dictionary.
    """

    top: int
    """Most top contexts of a feature."""
    strong: float
    """The score above which a text is strong."""
    tokens: CorpusTokens
    # Strings are in object arrays, so that an index array selects many at once and repeats share one object.
    text_ids: Shaped[np.ndarray, "text"]
    categories: Shaped[np.ndarray, "text"]
    vocabulary: Shaped[np.ndarray, "d_vocab"]
    groups: TextGroups
    """The texts by category."""
    sources: Sources
    second: Bool[np.ndarray, "text"]
    """The texts of the second half."""
    surroundings: UInt32[np.ndarray, "token"]
    codes: Codes
    """The tokens by id."""
    bigrams: Codes
    bigram_tokens: Int64[np.ndarray, "code 2"]
    """The token ids of each code of `bigrams`."""
    labelling: Labelling
    concepts: ConceptTexts | None
    """None if there are no concepts."""

    @classmethod
    def of(cls, inputs: Inputs, top: int, strong: float, tokens: CorpusTokens) -> "Shared":
        categories, contents = [text.category for text in inputs.texts], [text.content for text in inputs.texts]
        groups, second = TextGroups.of(categories), second_half(categories)
        ends = np.asarray(inputs.store.token_ends)
        corpus = Corpus(tokens.ids, ends, tokens.texts, tokens.positions, contents, categories, inputs.vocabulary)
        concepts = inputs.concept_texts
        concept_names, concept_contents = [text.category for text in concepts], [text.content for text in concepts]
        return cls(
            top,
            strong,
            tokens,
            np.array([text.id for text in inputs.texts], object),
            np.array(categories, object),
            np.array(inputs.vocabulary, object),
            groups,
            Sources.of(groups, [text.file for text in inputs.texts]),
            second,
            surroundings(tokens),
            token_codes(tokens),
            *bigram_codes(tokens),
            Labelling.of(tokens, Readings(corpus), second),
            ConceptTexts.of(concept_names, concept_contents, contents, second) if inputs.concept_store else None,
        )


@dataclass(frozen=True)
class Part:
    """One block of features with everything that belongs to it alone."""

    block: Block | UnreadBlock
    scores: TextScores
    concept_scores: TextScores | None
    """Its scores on the texts of the concepts; None if there are no concepts."""


class Study:
    """One corpus under analysis: its matrices, which grow with the dictionary, and what the blocks of it share."""

    def __init__(self, inputs: Inputs, config: AnalysisConfig, scratch: Path, progress: Progress, engine: Engine):
        self.inputs, self.config, self.scratch, self.progress, self.engine = inputs, config, scratch, progress, engine
        self.activations = include(inputs.store, config.outlier_multiple, scratch=scratch, engine=engine)
        # Workers may do that too, so it is done before they are given work on the result.
        _ = self.activations.by_feature
        with self.bar("text scores") as bar:
            self.scores = score_texts(self.activations, config.text_score, bar.update, engine)
        self.strong, self.strong_rule = strong_threshold(self.scores, config.strong)
        self.shared = Shared.of(inputs, config.top, self.strong, self.activations.tokens)
        self.concepts = Concepts(self, inputs.concept_store) if inputs.concept_store else None

    def parts(self) -> Iterator[Part]:
        """The whole dictionary, block by block."""
        for block in self.activations.blocks():
            features = block.first, block.first + len(block)
            concept_scores = self.concepts.scores.block(*features) if self.concepts else None
            yield Part(block, self.scores.block(*features), concept_scores)

    def bar(self, what: str) -> AbstractContextManager[Bar]:
        """A progress bar over the features of the dictionary."""
        return self.progress.bar(what, self.inputs.store.d_sae, " features")


class Concepts:
    """The activations on the texts of the concepts; massive positions are judged by the median norm of the corpus."""

    def __init__(self, study: Study, store: Store):
        config = study.config
        self.activations: Activations = include(
            store, config.outlier_multiple, study.activations.norm_median, study.scratch
        )
        self.scores: TextScores = score_texts(self.activations, config.text_score, engine=study.engine)


def strong_threshold(scores: TextScores, given: float | None) -> tuple[float, str]:
    """The threshold above which a text score is strong, and a sentence that explains it."""
    if given is not None:
        return given, "Set in the catalog's settings."
    value = quantile(scores.by_feature.data, STRONG_QUANTILE)
    return float(f"{value:.2g}"), (
        f"The {STRONG_QUANTILE:.0%} quantile of all text scores above 0 of this SAE on this corpus, "
        "rounded to two significant digits."
    )
