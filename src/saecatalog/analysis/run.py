"""All analyses in order: stores, texts and the lens flow in, every table of the catalog flows out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Activations, include
from saecatalog.analysis.categories import category_table
from saecatalog.analysis.coactivation import cluster_table, pair_table
from saecatalog.analysis.concepts import concept_table
from saecatalog.analysis.contexts import context_table, text_top_table
from saecatalog.analysis.features import feature_table, histogram_table
from saecatalog.analysis.health import sae_health
from saecatalog.analysis.rankings import choose_notable, make_labels, rank_features
from saecatalog.analysis.scores import TextScores, score_texts
from saecatalog.analysis.token_view import token_pairs, token_rules, token_table
from saecatalog.config import AnalysisConfig
from saecatalog.corpus import Text
from saecatalog.store import Lens, Store
from saecatalog.tables import SCHEMAS

STRONG_QUANTILE = 0.9
"""The strong threshold that an SAE's own activations suggest: this quantile of the text scores above 0."""

STEPS = ("text scores", "features", "tokens", "contexts", "categories", "concepts", "co-activation", "rankings")
"""Names of the analyses, in order."""

TEXT_TOP = 10
"""Features kept of each text."""


@dataclass(frozen=True)
class Findings:
    """What the analyses found."""

    tables: dict[str, pd.DataFrame]
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


def analyse(
    inputs: Inputs,
    config: AnalysisConfig,
    pages: str | tuple[int, ...],
    step: Callable[[str], object] = lambda name: None,
) -> Findings:
    """Make every table; `step` is told the name of each analysis as it begins.

    `pages` says which features get a page: `notable`, `all`, or their numbers.
    """
    step("text scores")
    activations = include(inputs.store, config.outlier_multiple)
    scores = score_texts(activations, config.text_score)
    strong, rule = strong_threshold(scores, config.strong)
    categories = [text.category for text in inputs.texts]
    text_ids = [text.id for text in inputs.texts]
    step("features")
    features = feature_table(activations, scores, strong, text_ids)
    step("tokens")
    pairs = token_pairs(activations)
    tables = {
        "tokens": token_table(pairs, inputs.vocabulary),
        "histograms": histogram_table(activations, features["max"].to_numpy()),
        "texts": text_table(inputs.texts, activations),
        "text_scores": text_score_table(scores, text_ids, categories),
        "text_top": text_top_table(activations, scores, TEXT_TOP, text_ids),
    }
    step("contexts")
    tables["contexts"] = context_table(activations, config.top, text_ids, categories, inputs.vocabulary)
    step("categories")
    tables["categories"] = category_table(scores, categories, strong)
    step("concepts")
    tables["concepts"] = _concepts(inputs, activations, scores, config, strong)
    step("co-activation")
    tables["coactivation"] = _pairs(activations, scores, inputs.lens)
    tables["clusters"] = cluster_table(tables["coactivation"], activations.d_sae)
    step("rankings")
    tables["logits"] = logit_table(inputs.lens, inputs.vocabulary)
    tables["neighbours"] = neighbour_table(inputs.lens)
    tables["rankings"] = rank_features(features, tables["categories"], tables["concepts"], config.top)
    rules = token_rules(pairs, features["n_active"].to_numpy(), inputs.vocabulary)
    notable = choose_notable(tables["rankings"], config.notable)
    tables["features"] = features.assign(
        **rules,
        label=make_labels(features, tables["tokens"], tables["categories"]),
        notable=[",".join(notable.get(f, [])) for f in range(activations.d_sae)],
        page=_pages(pages, notable, activations.d_sae),
    )
    return Findings(tables, sae_health(activations), strong, rule)


def strong_threshold(scores: TextScores, given: float | None) -> tuple[float, str]:
    """The threshold above which a text score is strong, and a sentence on where it comes from."""
    if given is not None:
        return given, "Set in the catalog's settings."
    positive = scores.matrix.data
    value = float(np.quantile(positive, STRONG_QUANTILE)) if len(positive) else 0.0
    return float(f"{value:.2g}"), (
        f"The {STRONG_QUANTILE:.0%} quantile of all text scores above 0 of this SAE on this corpus, "
        "rounded to two significant digits."
    )


def _pages(pages: str | tuple[int, ...], notable: dict[int, list[str]], d_sae: int) -> list[str]:
    """The page of each feature, "" where it has none."""
    wanted = set(range(d_sae)) if pages == "all" else set(notable) if pages == "notable" else set(pages)
    return [f"features/{f}.html" if f in wanted else "" for f in range(d_sae)]


def text_table(texts: list[Text], activations: Activations) -> pd.DataFrame:
    """One row per text, with the ends of its tokens."""
    store = activations.store
    n_tokens = np.diff(store.text_offsets)
    return pd.DataFrame(
        {
            "text": [t.id for t in texts],
            "category": [t.category for t in texts],
            "source": [t.source for t in texts],
            "n_tokens": n_tokens.astype(np.int32),
            "n_excluded": (n_tokens - activations.tokens_per_text).astype(np.int32),
            "content": [t.content for t in texts],
            "token_ends": np.split(np.asarray(store.token_ends), store.text_offsets[1:-1]),
        }
    )


def text_score_table(scores: TextScores, text_ids: list[str], categories: list[str]) -> pd.DataFrame:
    """The text scores above 0, by text and feature."""
    return pd.DataFrame(
        {
            "text": np.array(text_ids, object)[scores.rows],
            "category": np.array(categories, object)[scores.rows],
            "feature": scores.matrix.indices.astype(np.int32),
            "score": scores.matrix.data,
            "position": scores.positions,
        }
    )


def _concepts(
    inputs: Inputs, activations: Activations, scores: TextScores, config: AnalysisConfig, strong: float
) -> pd.DataFrame:
    if inputs.concept_store is None:
        return pd.DataFrame({column: [] for column in SCHEMAS["concepts"]})
    concept = include(inputs.concept_store, config.outlier_multiple, activations.norm_median)
    names = [text.category for text in inputs.concept_texts]
    return concept_table(score_texts(concept, config.text_score), names, scores, strong)


def _pairs(activations: Activations, scores: TextScores, lens: Lens) -> pd.DataFrame:
    decoder = np.asarray(lens.decoder)
    tokens = activations.by_token[np.flatnonzero(activations.included)]
    levels = [pair_table(tokens, "token", decoder), pair_table(scores.matrix, "text", decoder)]
    return pd.concat(levels, ignore_index=True)


def logit_table(lens: Lens, vocabulary: list[str]) -> pd.DataFrame:
    """The tokens that each feature promotes and suppresses most."""
    parts = []
    for direction, ids, values in (
        ("promoted", lens.promoted_ids, lens.promoted_logits),
        ("suppressed", lens.suppressed_ids, lens.suppressed_logits),
    ):
        n, k = ids.shape
        token_ids = np.asarray(ids).ravel()
        parts.append(
            pd.DataFrame(
                {
                    "feature": np.repeat(np.arange(n, dtype=np.int32), k),
                    "direction": direction,
                    "rank": np.tile(np.arange(k, dtype=np.int32), n),
                    "token_id": token_ids,
                    "token": np.array(vocabulary, object)[token_ids],
                    "logit": np.asarray(values).ravel(),
                }
            )
        )
    both = pd.concat(parts, ignore_index=True)
    return both.sort_values(["feature", "direction", "rank"], kind="stable", ignore_index=True)


def neighbour_table(lens: Lens) -> pd.DataFrame:
    """The features whose decoder rows are nearest to each feature's."""
    n, k = lens.neighbour_ids.shape
    return pd.DataFrame(
        {
            "feature": np.repeat(np.arange(n, dtype=np.int32), k),
            "rank": np.tile(np.arange(k, dtype=np.int32), n),
            "neighbour": np.asarray(lens.neighbour_ids).ravel(),
            "cosine": np.asarray(lens.neighbour_cosines).ravel(),
        }
    )
