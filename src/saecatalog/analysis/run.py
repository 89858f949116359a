"""All analyses in order: stores, texts and the lens flow in, every table of the catalog flows out into a folder.

Text scores come first, for the strong threshold hangs on all of them. Then the dictionary goes by block by block, each
block through every analysis of single features. What compares features with each other comes last.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from saecatalog.analysis import categories as category
from saecatalog.analysis import concepts as concept
from saecatalog.analysis import token_view
from saecatalog.analysis.activations import BLOCK_FEATURES, Activations, Block, include
from saecatalog.analysis.coactivation import cluster_table, pair_table
from saecatalog.analysis.contexts import context_rows, surroundings, text_top_rows
from saecatalog.analysis.features import feature_rows, histogram_rows
from saecatalog.analysis.health import sae_health
from saecatalog.analysis.labels import make_labels, telling_words
from saecatalog.analysis.rankings import choose_notable, rank_features
from saecatalog.analysis.scores import TextScores, score_texts
from saecatalog.analysis.statistics import quantile
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.config import AnalysisConfig
from saecatalog.constants import TEXT_TOP
from saecatalog.corpus import Text
from saecatalog.progress import Progress
from saecatalog.schemas import SCHEMAS
from saecatalog.store import Lens, Store
from saecatalog.tables import Coded, Columns, Lists, Tables, TableWriter
from saecatalog.threads import in_order

STRONG_QUANTILE = 0.9
"""The strong threshold that an SAE's own activations suggest: this quantile of the text scores above 0."""


@dataclass(frozen=True)
class Findings:
    """What the analyses found."""

    tables: Tables
    health: dict[str, object]
    strong: float
    strong_rule: str


@dataclass(frozen=True)
class Inputs:
    """What the analyses read."""

    texts: list[Text]
    store: Store
    concept_texts: list[Text]
    concept_store: Store | None
    lens: Lens
    vocabulary: list[str]


class Study:
    """One corpus under analysis: what every block of features needs."""

    def __init__(self, inputs: Inputs, config: AnalysisConfig, scratch: Path, progress: Progress):
        self.inputs, self.config, self.scratch, self.progress = inputs, config, scratch, progress
        self.activations = include(inputs.store, config.outlier_multiple, scratch=scratch)
        with self.bar("text scores") as bar:
            self.scores = score_texts(self.activations, config.text_score, bar.update)
        self.strong, self.strong_rule = strong_threshold(self.scores, config.strong)
        self.contents = [text.content for text in inputs.texts]
        self.text_ids = np.array([text.id for text in inputs.texts], object)
        self.categories = [text.category for text in inputs.texts]
        self.category_of = np.array(self.categories, object)
        self.groups = TextGroups.of(self.categories)
        self.second = category.second_half(self.categories)
        self.vocabulary = np.array(inputs.vocabulary, object)
        self.surroundings = surroundings(self.activations)
        self.tokens = token_view.token_codes(self.activations)
        self.bigrams, self.bigram_tokens = token_view.bigram_codes(self.activations)
        store, median = inputs.concept_store, self.activations.norm_median
        self.concepts = (
            Concepts(inputs, include(store, config.outlier_multiple, median, scratch), config) if store else None
        )

    def bar(self, what: str) -> "AbstractContextManager[tqdm[None]]":
        """A bar over the features of the dictionary."""
        return self.progress.bar(what, self.inputs.store.d_sae, " features")


class Concepts:
    """The concepts' texts, judged by the corpus they are compared with."""

    def __init__(self, inputs: Inputs, activations: Activations, config: AnalysisConfig):
        self.activations = activations
        self.scores = score_texts(activations, config.text_score)
        names = [text.category for text in inputs.concept_texts]
        self.groups = TextGroups.of(names)
        contents, corpus = ([text.content for text in texts] for texts in (inputs.concept_texts, inputs.texts))
        self.in_corpus = concept.texts_in_common(names, contents, corpus)


def analyse(
    inputs: Inputs,
    config: AnalysisConfig,
    pages: str | tuple[int, ...],
    folder: Path,
    progress: Progress | None = None,
    noted: Sequence[int] = (),
) -> Findings:
    """Write every table into `folder`; `progress` shows how far each long part is.

    `pages` says which features get a page: `notable`, `all`, or their numbers; `noted`, those the author has written
    about, always do.
    """
    study = Study(inputs, config, folder, progress or Progress(quiet=True))
    with TableWriter(folder) as writer:
        features, words, by_category, by_concept = _analyse_blocks(study, writer)
        rankings = rank_features(features, by_category, by_concept, config.top)
        notable = choose_notable(rankings, config.notable, noted)
        pairs = _pairs(study, inputs.lens)
        tables: dict[str, Columns] = {
            "features": features.assign(
                **_logit_moments(inputs.lens),
                label=make_labels(words, by_category),
                notable=[",".join(notable.get(f, [])) for f in range(len(features))],
                page=_pages(pages, notable, noted, len(features)),
            ),
            "categories": by_category,
            "held_out": category.held_out_table(by_category, study.groups, study.second),
            "concepts": by_concept,
            "concept_texts": _concept_text_rows(study),
            "rankings": rankings,
            "coactivation": pairs,
            "clusters": cluster_table(pairs, len(features)),
            "texts": text_rows(study),
            "text_top": text_top_rows(study.activations, study.scores, TEXT_TOP, study.text_ids),
            "neighbours": neighbour_rows(inputs.lens),
            "logit_histograms": logit_histogram_rows(inputs.lens),
        }
        for name, columns in tables.items():
            writer.write(name, columns)
        logit_rows(inputs.lens, study.vocabulary, writer)
    return Findings(Tables(folder), sae_health(study.activations), study.strong, study.strong_rule)


def _analyse_blocks(
    study: Study, writer: TableWriter
) -> tuple[pd.DataFrame, list[dict[str, float]], pd.DataFrame, pd.DataFrame]:
    """Every analysis of single features: the features, their telling words, and their rows by category and concept."""
    features, words, by_category, by_concept = [], [], [], []
    with study.bar("features") as bar:
        for found in in_order(lambda block: _analyse_block(study, block), study.activations.blocks()):
            for name, columns in found.tables.items():
                writer.write(name, columns)
            features.append(found.features)
            words += found.words
            by_category.append(found.categories)
            by_concept += found.concepts
            bar.update(len(found.features))
    concepts = [*by_concept, pd.DataFrame({name: [] for name in SCHEMAS["concepts"]})][: max(1, len(by_concept))]
    return (
        pd.concat(features, ignore_index=True),
        words,
        category.category_table(by_category),
        pd.concat(concepts, ignore_index=True).sort_values(["concept", "feature"], ignore_index=True),
    )


@dataclass(frozen=True)
class BlockFindings:
    """What a block of features has of each table."""

    features: pd.DataFrame
    words: list[dict[str, float]]
    categories: category.Figures
    concepts: list[pd.DataFrame]
    """One part; none where there are no concepts."""
    tables: dict[str, Columns]
    """The tables that need no other block."""


def _analyse_block(study: Study, block: Block) -> BlockFindings:
    first, stop = block.first, block.first + len(block)
    scores, shared, concepts = study.scores.block(first, stop), study.concepts, []
    rows, tokens = _token_view(study, block, scores)
    if shared:
        mine = shared.scores.block(first, stop)
        concepts = [concept.concept_rows(mine, shared.groups, scores, shared.in_corpus, study.strong, first)]
    return BlockFindings(
        rows,
        telling_words(study.activations, block, rows, tokens, study.contents),
        category.category_rows(scores, study.groups, study.second, study.strong, first),
        concepts,
        {
            "tokens": tokens,
            "histograms": histogram_rows(block),
            "text_scores": _text_score_rows(study, block, scores),
            "contexts": _contexts(study, block),
        },
    )


def _token_view(study: Study, block: Block, scores: TextScores) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the features table so far, with the token rules, and those of the tokens table."""
    single = token_view.count_codes(block.columns, block.tokens, block.values, study.tokens)
    double = token_view.count_bigrams(block, single, study.bigrams)
    rules = token_view.rule_rows(block, single, double, study.bigram_tokens, study.vocabulary)
    rows = feature_rows(study.activations, block, scores, study.strong, study.text_ids)
    return rows.join(rules), token_view.token_rows(block, single, study.vocabulary)


def _contexts(study: Study, block: Block) -> Columns:
    return context_rows(
        study.activations,
        block,
        study.config.top,
        study.surroundings,
        study.text_ids,
        study.category_of,
        study.vocabulary,
    )


def strong_threshold(scores: TextScores, given: float | None) -> tuple[float, str]:
    """The threshold above which a text score is strong, and a sentence on where it comes from."""
    if given is not None:
        return given, "Set in the catalog's settings."
    value = quantile(scores.by_feature.data, STRONG_QUANTILE)
    return float(f"{value:.2g}"), (
        f"The {STRONG_QUANTILE:.0%} quantile of all text scores above 0 of this SAE on this corpus, "
        "rounded to two significant digits."
    )


def _pages(pages: str | tuple[int, ...], notable: dict[int, list[str]], noted: Sequence[int], d_sae: int) -> list[str]:
    """The page of each feature, "" where it has none."""
    wanted = set(range(d_sae)) if pages == "all" else set(notable) if pages == "notable" else {*pages, *noted}
    return [f"features/{f}.html" if f in wanted else "" for f in range(d_sae)]


def text_rows(study: Study) -> Columns:
    """One row per text, with the ends of its tokens."""
    store, texts = study.activations.store, study.inputs.texts
    n_tokens = np.diff(store.text_offsets)
    return {
        "text": study.text_ids,
        "category": study.category_of,
        "source": [t.source for t in texts],
        "half": Coded(category.HALVES, study.second.astype(np.int32)),
        "n_tokens": n_tokens,
        "n_excluded": n_tokens - study.activations.tokens_per_text,
        "content": study.contents,
        "token_ends": Lists(np.asarray(store.token_ends), np.asarray(store.text_offsets)),
    }


def _concept_text_rows(study: Study) -> Columns:
    """The concepts' texts, which are not part of the corpus."""
    texts, found = study.inputs.concept_texts, study.concepts and study.concepts.activations
    n_tokens = np.diff(found.store.text_offsets) if found else np.empty(0, np.int64)
    return {
        "concept": [t.category for t in texts],
        "text": [t.id for t in texts],
        "source": [t.source for t in texts],
        "n_tokens": n_tokens,
        "n_excluded": n_tokens - found.tokens_per_text if found else n_tokens,
        "content": [t.content for t in texts],
    }


def _text_score_rows(study: Study, block: Block, scores: TextScores) -> Columns:
    """The text scores above 0 of a block's features, by text and feature: text after text takes the least room."""
    matrix = scores.by_feature
    entries = np.arange(matrix.nnz, dtype=np.int32)
    by_text = sparse.csc_matrix((entries, matrix.indices, matrix.indptr), shape=matrix.shape).tocsr()
    texts = np.repeat(np.arange(scores.n_texts), np.diff(by_text.indptr))
    return {
        "text": Coded(study.text_ids, texts),
        "category": Coded(study.groups.names, study.groups.member[texts]),
        "feature": block.first + by_text.indices,
        "score": matrix.data[by_text.data],
        "position": scores.positions[by_text.data],
    }


def _pairs(study: Study, lens: Lens) -> pd.DataFrame:
    """The pairs on tokens, then those on texts."""
    activations, scores, decoder = study.activations, study.scores, np.asarray(lens.decoder)
    matrices = {
        "token": (activations.by_token, activations.by_feature, activations.included),
        "text": (scores.matrix, scores.by_feature, np.ones(scores.n_texts, bool)),
    }
    levels = []
    for level, matrix in matrices.items():
        with study.bar(f"pairs, {level}s") as bar:
            levels.append(pair_table(*matrix, level, decoder, study.scratch, bar.update))
    return pd.concat(levels, ignore_index=True)


def _logit_moments(lens: Lens) -> dict[str, np.ndarray]:
    return dict(zip(("logit_std", "logit_skew", "logit_kurtosis"), np.asarray(lens.logit_moments).T, strict=True))


def logit_rows(lens: Lens, vocabulary: np.ndarray, writer: TableWriter) -> None:
    """Write the tokens that each feature promotes and suppresses most."""
    sides = {
        "promoted": (lens.promoted_ids, lens.promoted_logits),
        "suppressed": (lens.suppressed_ids, lens.suppressed_logits),
    }
    for start in range(0, len(lens.decoder), BLOCK_FEATURES):
        part = slice(start, start + BLOCK_FEATURES)
        ids = np.stack([np.asarray(side[0][part]) for side in sides.values()], axis=1)
        logits = np.stack([np.asarray(side[1][part]) for side in sides.values()], axis=1)
        n, _, k = ids.shape
        columns = {
            "feature": np.repeat(np.arange(start, start + n), 2 * k),
            "direction": Coded(list(sides), np.tile(np.repeat([0, 1], k), n)),
            "rank": np.tile(np.arange(k), 2 * n),
            "token_id": ids.ravel(),
            "token": vocabulary[ids.ravel()],
            "logit": logits.ravel(),
        }
        writer.write("logits", columns)


def logit_histogram_rows(lens: Lens) -> Columns:
    """The spread of each feature's effects on the logits; no row where there is none."""
    edges, counts = np.asarray(lens.logit_edges), np.asarray(lens.logit_counts)
    n = len(edges) if edges.shape[1] else 0
    return {
        "feature": np.arange(n),
        "edges": Lists(edges.ravel(), np.arange(n + 1) * edges.shape[1]),
        "counts": Lists(counts.ravel(), np.arange(n + 1) * counts.shape[1]),
    }


def neighbour_rows(lens: Lens) -> Columns:
    """The features whose decoder rows are nearest to each feature's."""
    n, k = lens.neighbour_ids.shape
    return {
        "feature": np.repeat(np.arange(n), k),
        "rank": np.tile(np.arange(k), n),
        "neighbour": np.asarray(lens.neighbour_ids).ravel(),
        "cosine": np.asarray(lens.neighbour_cosines).ravel(),
    }
