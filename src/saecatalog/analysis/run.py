"""All analyses in order: stores, texts and the lens flow in, every table of the catalog flows out into a folder.

Text scores come first, because the strong threshold depends on all of them. Then the dictionary goes block by block
through every analysis of single features. Comparisons between features come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from saecatalog.analysis import FINDINGS, token_view
from saecatalog.analysis import categories as category
from saecatalog.analysis.activations import Block
from saecatalog.analysis.by_feature import ByFeature
from saecatalog.analysis.category_pairs import category_pair_table
from saecatalog.analysis.clearest import clearest_rankings
from saecatalog.analysis.coactivation import cluster_table, pair_table
from saecatalog.analysis.concepts import ConceptFigures, concept_rows, concept_table
from saecatalog.analysis.contexts import context_rows
from saecatalog.analysis.features import feature_rows, histogram_rows
from saecatalog.analysis.firings import choose_compared, firing_rows
from saecatalog.analysis.health import sae_health
from saecatalog.analysis.label_detection import detection_rows
from saecatalog.analysis.label_rows import label_rows
from saecatalog.analysis.labels import in_category
from saecatalog.analysis.lens_rows import logit_histogram_rows, logit_moments, logit_rows, neighbour_rows
from saecatalog.analysis.page_choice import choose_pages
from saecatalog.analysis.pair_counts import ActiveRows
from saecatalog.analysis.rankings import choose_notable, rank_features
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.study import Inputs, Part, Shared, Study
from saecatalog.analysis.text_rows import concept_text_rows, text_rows, text_score_rows, text_top_rows
from saecatalog.config import AnalysisConfig
from saecatalog.engines import Engine, Threads
from saecatalog.json_files import write_json
from saecatalog.progress import Progress
from saecatalog.schemas import SCHEMAS
from saecatalog.tables import Columns, Tables, TableWriter


@dataclass(frozen=True)
class Findings:
    """The results of the analyses."""

    tables: Tables
    health: dict[str, object]
    strong: float
    """The score above which a text is strong."""
    strong_rule: str
    """A sentence that explains the threshold."""
    counts: dict[str, int]
    """Number of included tokens, features that fired, and notable features."""
    notable: list[int]
    """The notable features."""


def analyse(
    inputs: Inputs,
    config: AnalysisConfig,
    pages: str | tuple[int, ...],
    folder: Path,
    progress: Progress | None = None,
    noted: Sequence[int] = (),
    engine: Engine | None = None,
) -> Findings:
    """Write every table and the findings into `folder`; `progress` shows the progress of each long part.

    `pages` says which features get a page, as the setting `features` does. Features with a note by the author (`noted`)
    always get one. The engine (default `Threads`) does the work on blocks of features; no byte depends on it.
    """
    with TemporaryDirectory(dir=folder) as scratch, TableWriter(folder) as writer:
        study = Study(inputs, config, Path(scratch), progress or Progress(quiet=True), engine or Threads())
        shared = study.shared
        features, by_category, by_concept = _analyse_blocks(study, writer)
        features = features.assign(label=in_category(features["label"], features["label_kind"], by_category))
        ranked = rank_features(features, by_category, by_concept, config.top)
        rankings = pd.concat([clearest_rankings(features), ranked], ignore_index=True)
        notable = choose_notable(rankings, config.notable, noted)
        pairs = _pairs(study)
        clusters, text_top = cluster_table(pairs, len(features)), text_top_rows(study)
        named = [rankings["feature"].tolist(), text_top["feature"].tolist(), clusters["feature"].tolist()]
        paged = choose_pages(pages, len(features), notable, noted, named)
        tables: dict[str, Columns] = {
            "features": features.assign(
                **logit_moments(inputs.lens),
                notable=[",".join(notable.get(f, [])) for f in range(len(features))],
                page=[f"features/{f}.html" if f in paged else "" for f in range(len(features))],
            ),
            "categories": by_category,
            "held_out": category.held_out_table(by_category, shared.groups, shared.second),
            "category_pairs": category_pair_table(study.scores, shared.groups, shared.sources, study.strong),
            "concepts": by_concept,
            "concept_texts": concept_text_rows(study),
            "rankings": rankings,
            "coactivation": pairs,
            "clusters": clusters,
            "texts": text_rows(study),
            "text_top": text_top,
            "neighbours": neighbour_rows(inputs.lens),
            "logit_histograms": logit_histogram_rows(inputs.lens),
        }
        for name, columns in tables.items():
            writer.write(name, columns)
        compared = choose_compared(features["n_active"].to_numpy(), notable, paged)
        writer.write("firings", firing_rows(study.activations, inputs.lens.decoder, compared))
        for found in detection_rows(study, pd.DataFrame(tables["features"])):
            writer.write("detection", found)
        for part in logit_rows(inputs.lens, shared.vocabulary):
            writer.write("logits", part)
    n_fired = int((features["n_active"] > 0).sum())
    counts = {"tokens": study.activations.n_tokens, "features_fired": n_fired, "notable": len(notable)}
    health = sae_health(study.activations)
    findings = Findings(Tables(folder), health, study.strong, study.strong_rule, counts, sorted(notable))
    write_json(folder / FINDINGS, {name: value for name, value in vars(findings).items() if name != "tables"})
    return findings


def _analyse_blocks(study: Study, writer: TableWriter) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every analysis of single features: the features, and their rows by category and concept."""
    features, by_concept = [], []
    by_category = category.AllFigures(study.scratch)
    with study.bar("features") as bar:
        for found in study.engine.in_order(_analyse_block, study.shared, study.parts()):
            for name, columns in found.tables.items():
                writer.write(name, columns)
            features.append(found.features)
            by_category.add(found.categories)
            by_concept += found.concepts
            bar.update(len(found.features))
    return (
        pd.concat(features, ignore_index=True),
        by_category.table(study.shared.groups),
        concept_table(by_concept) if by_concept else pd.DataFrame({name: [] for name in SCHEMAS["concepts"]}),
    )


@dataclass(frozen=True)
class BlockFindings:
    """The results of the analyses for one block of features."""

    features: pd.DataFrame
    categories: category.Figures
    concepts: list[ConceptFigures]
    """One entry, or none if there are no concepts."""
    tables: dict[str, Columns]
    """Rows of the tables that do not depend on other blocks and can be written immediately."""


def _analyse_block(shared: Shared, part: Part) -> BlockFindings:
    block, scores, first, concepts = part.block.read(), part.scores, part.block.first, []
    rows, tokens = _token_view(shared, block, scores)
    if shared.concepts and part.concept_scores:
        concepts = [concept_rows(part.concept_scores, scores, shared.concepts, shared.strong, first)]
    return BlockFindings(
        rows.join(label_rows(shared.labelling, block, rows, tokens)),
        category.category_rows(scores, shared.groups, shared.sources, shared.second, shared.strong, first),
        concepts,
        {
            "tokens": tokens,
            "histograms": histogram_rows(block),
            "text_scores": text_score_rows(shared, block, scores),
            "contexts": _contexts(shared, block),
        },
    )


def _token_view(shared: Shared, block: Block, scores: TextScores) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the features table, as far as they are known, with the token rules; and those of the tokens table."""
    single = token_view.count_codes(block.columns, block.tokens, block.values, shared.codes)
    double = token_view.count_bigrams(block, single, shared.bigrams)
    rules = token_view.rule_rows(block, single, double, shared.bigram_tokens, shared.vocabulary)
    rows = feature_rows(shared.tokens, block, scores, shared.strong, shared.text_ids)
    return rows.join(rules), token_view.token_rows(block, single, shared.vocabulary)


def _contexts(shared: Shared, block: Block) -> Columns:
    return context_rows(
        shared.tokens,
        block,
        shared.top,
        shared.surroundings,
        shared.text_ids,
        shared.categories,
        shared.vocabulary,
    )


def _pairs(study: Study) -> pd.DataFrame:
    """The pairs of features active on the same tokens, then of those active on the same texts."""
    activations, scores, decoder = study.activations, study.scores, np.asarray(study.inputs.lens.decoder)
    by_feature = activations.by_feature
    matrices = {
        "token": (ActiveRows.of_store(activations.store, by_feature.in_files), by_feature, activations.included),
        "text": (ActiveRows.of(scores.matrix), ByFeature.of(scores.by_feature), np.ones(scores.n_texts, bool)),
    }
    levels = []
    for level, matrix in matrices.items():
        with study.bar(f"{level} pairs") as bar:
            levels.append(pair_table(*matrix, level, decoder, study.scratch, bar.update, study.engine))
    return pd.concat(levels, ignore_index=True)
