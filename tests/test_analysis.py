"""Every figure of the catalog against loops over dense arrays, on harvested stores and on stores made by hand."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import CONSTANT, CONTEXT, SHAPES, SILENT, TWIN_A, TWIN_B, SaeKind
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy import sparse, stats

from saecatalog.analysis import coactivation
from saecatalog.analysis.activations import include
from saecatalog.analysis.categories import category_rows, category_table, second_half
from saecatalog.analysis.coactivation import MIN_SUPPORT, PARTNERS, cluster_table, pair_table
from saecatalog.analysis.concepts import concept_rows
from saecatalog.analysis.contexts import AFTER, BEFORE, PER_BAND, band_bounds
from saecatalog.analysis.health import explained_variance
from saecatalog.analysis.rankings import rank_features
from saecatalog.analysis.run import Findings, Inputs, analyse
from saecatalog.analysis.scores import TextScores, score_texts
from saecatalog.analysis.statistics import benjamini_hochberg, column_ranks, rank_sum_test, wilson
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.analysis.token_view import CodeCounts, best_rules
from saecatalog.config import AnalysisConfig
from saecatalog.corpus import Text
from saecatalog.harvest import harvest
from saecatalog.lens import make_lens
from saecatalog.schemas import SCHEMAS, arrow_schema
from saecatalog.store import Lens, read_lens, read_store
from saecatalog.verify import reference
from saecatalog.verify.reference import Case
from saecatalog.windows import tokenize

LENS_ENTRIES = 6
TOP = 5


@dataclass(frozen=True)
class Study:
    """A corpus run through the analyses, and the same corpus as dense arrays."""

    shape: str
    kind: SaeKind
    config: AnalysisConfig
    inputs: Inputs
    findings: Findings
    case: Case
    """Without massive positions."""
    raw: Case
    keep: list[list[bool]]
    scores: dict[tuple[int, int], tuple[float, int]]
    concept_scores: dict[tuple[int, int], tuple[float, int]]

    def table(self, name: str) -> pd.DataFrame:
        return self.findings.tables[name]

    @property
    def n_texts(self) -> int:
        return len(self.case.text_ids)

    @property
    def matrix(self) -> np.ndarray:
        """Text scores, dense."""
        return reference.score_matrix(self.scores, self.n_texts, self.case.d_sae)

    @property
    def concept_matrix(self) -> np.ndarray:
        return reference.score_matrix(self.concept_scores, len(self.inputs.concept_texts), self.case.d_sae)

    @property
    def fired(self) -> list[int]:
        return [f for f in range(self.case.d_sae) if any(rows[:, f].any() for rows in self.case.activations)]

    @property
    def tokens_active(self) -> np.ndarray:
        """`[counted token, feature]`, true where active."""
        rows = np.concatenate(self.case.activations)
        return rows[np.concatenate(self.keep)] > 0


STUDIES = {
    "llama-max": ("llama", SaeKind("standard"), AnalysisConfig(top=TOP)),
    "gpt2-last": ("gpt2", SaeKind("jumprelu"), AnalysisConfig(top=TOP, text_score="last", strong=3.5)),
    "sink-mean": ("sink", SaeKind("gated"), AnalysisConfig(top=3, text_score="mean", strong=0.25)),
    "gpt2-topk": ("gpt2", SaeKind("topk"), AnalysisConfig(top=100)),
}


@pytest.fixture(scope="session", params=list(STUDIES))
def study(
    request: pytest.FixtureRequest,
    subjects: Callable,
    texts: list[Text],
    concept_texts: list[Text],
    tmp_path_factory: pytest.TempPathFactory,
) -> Study:
    shape, kind, config = STUDIES[request.param]
    folder = tmp_path_factory.mktemp("study")
    subject = subjects(shape, kind)
    for name, part in (("corpus", texts), ("concepts", concept_texts)):
        (folder / name).mkdir()
        harvest(subject, tokenize(part, subject.tokenizer), 256, folder / name, lambda n: None)
    (folder / "lens").mkdir()
    make_lens(subject, LENS_ENTRIES, folder / "lens", lambda n: None)
    vocabulary = json.loads((folder / "lens" / "vocabulary.json").read_text(encoding="utf-8"))
    inputs = Inputs(
        texts,
        read_store(folder / "corpus"),
        concept_texts,
        read_store(folder / "concepts"),
        read_lens(folder / "lens"),
        vocabulary,
    )
    return make_study(shape, kind, config, inputs, folder)


def make_study(shape: str, kind: SaeKind, config: AnalysisConfig, inputs: Inputs, folder: Path) -> Study:
    raw = reference.case_of(folder / "corpus", [t.id for t in inputs.texts], [t.category for t in inputs.texts])
    case, keep = reference.without_massive(raw, config.outlier_multiple)
    concept_ids = [t.id for t in inputs.concept_texts]
    concepts = reference.case_of(folder / "concepts", concept_ids, [t.category for t in inputs.concept_texts])
    median = reference.median_norm(raw)
    concepts, concept_keep = reference.without_massive(concepts, config.outlier_multiple, median)
    return Study(
        shape,
        kind,
        config,
        inputs,
        run_analyses(inputs, config, folder / "tables"),
        case,
        raw,
        keep,
        reference.text_scores(case, keep, config.text_score),
        reference.text_scores(concepts, concept_keep, config.text_score),
    )


def run_analyses(inputs: Inputs, config: AnalysisConfig, folder: Path) -> Findings:
    folder.mkdir(parents=True)
    return analyse(inputs, config, "all", folder)


def close(found: Any, wanted: Any, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(wanted, float), rtol=rtol, atol=atol)


# The corpus itself does what it is meant to do


def test_the_studies_are_not_trivial(study: Study) -> None:
    n_excluded = sum(not k for kept in study.keep for k in kept)
    assert (n_excluded > 0) == (study.shape == "sink")
    assert SILENT not in study.fired
    assert CONSTANT in study.fired
    assert len(study.fired) > 30
    assert len({len(ids) for ids in study.case.tokens}) > 8
    assert min(len(ids) for ids in study.case.tokens) == 1
    assert max(len(ids) for ids in study.case.tokens) > 2 * CONTEXT
    assert 0 < sum(v[0] > study.findings.strong for v in study.scores.values()) < len(study.scores)


# Per feature


def test_features_table(study: Study) -> None:
    table = study.table("features")
    assert table["feature"].tolist() == list(range(study.case.d_sae))
    n_tokens = sum(sum(kept) for kept in study.keep)
    for row in table.itertuples():
        values = [v for _, _, v in reference.active_values(study.case, row.feature)]
        assert row.n_tokens == n_tokens
        assert row.n_active == len(values)
        assert row.density == len(values) / n_tokens
        close([row.density_low, row.density_high], reference.wilson(len(values), n_tokens), atol=1e-12)
        mean = math.fsum(values) / len(values) if values else 0.0
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values)) if values else 0.0
        assert row.max == max(values, default=0.0)
        close([row.mean_active, row.std_active], [mean, spread], rtol=1e-5, atol=1e-6)
        wanted = [reference.quantile(values, q) for q in (0.25, 0.5, 0.75, 0.9, 0.99)]
        close([row.q25, row.q50, row.q75, row.q90, row.q99], wanted, rtol=1e-5)


def test_features_table_counts_texts(study: Study) -> None:
    matrix = study.matrix
    for row in study.table("features").itertuples():
        column = matrix[:, row.feature].tolist()
        assert row.n_texts == study.n_texts
        assert row.n_texts_active == sum(s > 0 for s in column)
        assert row.n_texts_strong == sum(s > study.findings.strong for s in column)
        wanted = study.case.text_ids[column.index(max(column))] if max(column) > 0 else ""
        assert row.top_text == wanted


def test_silent_and_always_active_features(study: Study) -> None:
    table = study.table("features").set_index("feature")
    silent, constant = table.loc[SILENT], table.loc[CONSTANT]
    numbers = ["n_active", "density", "density_low", "max", "mean_active", "std_active", "q50", "n_texts_active"]
    assert not silent[numbers].any()
    assert silent["density_high"] > 0
    assert (silent["top_text"], silent["token_rule"], silent["notable"]) == ("", "", "")
    assert silent["label"] == "silent"
    assert constant["n_active"] == constant["n_tokens"]
    assert (constant["density"], constant["density_high"]) == (1, 1)
    assert constant["density_low"] < 1
    for name in ("contexts", "tokens", "histograms", "text_scores", "text_top", "categories", "concepts", "rankings"):
        assert SILENT not in study.table(name)["feature"].tolist()


def test_histograms(study: Study) -> None:
    table = study.table("histograms")
    assert table["feature"].tolist() == study.fired
    for row in table.itertuples():
        values = [v for _, _, v in reference.active_values(study.case, row.feature)]
        bins = len(row.counts)
        counts = [0] * bins
        for value in values:
            counts[min(int(Fraction(value) / Fraction(max(values)) * bins), bins - 1)] += 1
        assert list(row.counts) == counts
        assert sum(row.counts) == len(values)
        close(row.edges, [max(values) * i / bins for i in range(bins + 1)])


def test_tokens_table(study: Study) -> None:
    table = study.table("tokens")
    assert sorted(set(table["feature"])) == study.fired
    for feature, rows in table.groupby("feature"):
        figures = reference.token_figures(study.case, study.keep, feature)
        total = sum(f.total for f in figures.values())
        wanted = reference.ranked(list(figures), lambda i, f=figures: (-round(f[i].total, 9), i), 10)
        assert rows["token_id"].tolist() == wanted
        assert rows["rank"].tolist() == list(range(len(wanted)))
        assert rows["n_active"].tolist() == [figures[i].n_active for i in wanted]
        assert rows["n_occurrences"].tolist() == [figures[i].n_occurrences for i in wanted]
        assert rows["p_active"].tolist() == [figures[i].n_active / figures[i].n_occurrences for i in wanted]
        close(rows["mean_active"], [figures[i].total / figures[i].n_active for i in wanted])
        close(rows["share"], [figures[i].total / total for i in wanted])


def test_best_single_token_rule(study: Study, models: Callable) -> None:
    for row in study.table("features").itertuples():
        figures = reference.token_figures(study.case, study.keep, row.feature)
        if not figures:
            assert (row.token_rule, row.token_precision, row.token_recall) == ("", 0, 0)
            continue
        best = reference.best_token(figures)
        n_active = sum(f.n_active for f in figures.values())
        assert row.token_rule == reference.token_text(models(study.shape), best)
        close(row.token_precision, figures[best].n_active / figures[best].n_occurrences)
        close(row.token_recall, figures[best].n_active / n_active)


# Contexts


def test_top_contexts(study: Study, models: Callable) -> None:
    table = study.table("contexts")
    top = table[table["band"] == "top"]
    assert sorted(set(top["feature"])) == study.fired
    for feature, rows in top.groupby("feature"):
        wanted = reference.top_contexts(study.case, feature, study.config.top)
        assert rows["rank"].tolist() == list(range(len(wanted)))
        assert rows["text"].tolist() == [study.case.text_ids[t] for t, *_ in wanted]
        assert rows["category"].tolist() == [study.case.categories[t] for t, *_ in wanted]
        assert rows["position"].tolist() == [position for _, position, _, _ in wanted]
        assert rows["activation"].tolist() == [value for _, _, value, _ in wanted]
        assert rows["similar_hidden"].tolist() == [hidden for *_, hidden in wanted]
        ids = [study.case.tokens[t][position] for t, position, _, _ in wanted]
        assert rows["token"].tolist() == [reference.token_text(models(study.shape), i) for i in ids]


def test_duplicates_are_hidden_and_counted(study: Study) -> None:
    """The corpus holds one text three times, so every feature that peaks there has near-duplicates."""
    top = study.table("contexts").query("band == 'top'")
    assert top["similar_hidden"].max() >= 2
    assert (top["activation"] > 0).all()
    assert not top.duplicated(["feature", "text"]).any()
    assert (top.groupby("feature").size() <= study.config.top).all()


def test_bands_are_equal_count_slices_of_the_ranks(study: Study) -> None:
    table = study.table("contexts")
    shown = table[table["band"] != "top"]
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    slices = {feature: reference.bands(study.case, feature) for feature in study.fired}
    for row in shown.itertuples():
        assert (where[row.text], row.position) in slices[row.feature][row.band]
        assert row.activation == study.case.activations[where[row.text]][row.position, row.feature]
        assert row.activation > 0
    assert (shown["similar_hidden"] == 0).all()
    for _, rows in shown.groupby(["feature", "band"]):
        assert len(rows) <= PER_BAND
        assert rows["rank"].tolist() == list(range(len(rows)))
    if study.config.top < 10:
        assert set(shown["band"]) == {"q75-100", "q50-75", "q25-50", "q0-25"}


def test_the_quartiles_of_the_features_table_are_the_ends_of_the_bands(study: Study) -> None:
    quartiles = study.table("features").set_index("feature")
    ends = {"q75-100": ("q75", "max"), "q50-75": ("q50", "q75"), "q25-50": ("q25", "q50"), "q0-25": ("", "q25")}
    for row in study.table("contexts").query("band != 'top'").itertuples():
        low, high = ends[row.band]
        figures = quartiles.loc[row.feature]
        assert (figures[low] if low else 0) <= row.activation <= figures[high]


@pytest.mark.parametrize("n", range(1, 30))
def test_bands_meet_at_the_quartiles_of_any_number_of_tokens(n: int) -> None:
    """A token above a quartile is in a band above it, one below in a band below; sizes differ by one at most."""
    values = np.arange(n, 0, -1.0)
    bounds = band_bounds(n)
    sizes = np.diff(bounds)
    assert (bounds[0], bounds[-1]) == (0, n)
    assert max(sizes) - min(sizes) <= 1
    for place, share in ((1, 0.75), (2, 0.5), (3, 0.25)):
        quartile = np.quantile(values, share)
        assert (values[: bounds[place]] >= quartile).all()
        assert (values[bounds[place] :] < quartile).all()
    names = [reference.band_of(rank, n) for rank in range(n)]
    assert names == [name for name, size in zip(reference.BANDS, sizes, strict=True) for _ in range(size)]


def test_no_text_is_shown_twice_for_a_feature(study: Study) -> None:
    table = study.table("contexts")
    assert not table.duplicated(["feature", "text"]).any()
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    for _, rows in table.groupby("feature"):
        around = [reference.surroundings(study.case, where[r.text], r.position) for r in rows.itertuples()]
        assert len(set(around)) == len(around)


def test_an_example_has_its_part_shown_and_every_activation_of_its_text(study: Study) -> None:
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    beyond = 0
    for row in study.table("contexts").itertuples():
        values = study.case.activations[where[row.text]][:, row.feature]
        start, end = max(0, row.position - BEFORE), min(len(values), row.position + AFTER + 1)
        assert (row.window_start, row.window_end) == (start, end)
        active = [i for i, value in enumerate(values) if value > 0]
        beyond += sum(not start <= i < end for i in active)
        assert list(row.active_positions) == active
        assert list(row.active_values) == [values[i] for i in active]
    assert beyond > 0 or max(map(len, study.case.tokens)) <= BEFORE + 1


# Texts


def test_texts_table(study: Study, models: Callable) -> None:
    table = study.table("texts")
    assert table["text"].tolist() == study.case.text_ids
    for t, row in enumerate(table.itertuples()):
        text = study.inputs.texts[t]
        assert (row.category, row.source, row.content) == (text.category, text.source, text.content)
        assert row.n_tokens == len(study.case.tokens[t])
        assert row.n_excluded == sum(not k for k in study.keep[t])
        pieces = [reference.token_bytes(models(study.shape), i) for i in study.case.tokens[t]]
        assert list(row.token_ends) == reference.token_ends(pieces, text.content)


def test_text_scores_table(study: Study) -> None:
    table = study.table("text_scores")
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    found = {(where[r.text], r.feature): (r.score, r.position) for r in table.itertuples()}
    assert len(found) == len(table)
    assert set(found) == set(study.scores)
    for key, (score, position) in study.scores.items():
        assert found[key][1] == position
        close(found[key][0], score)
        if study.config.text_score != "mean":
            assert found[key][0] == score
    assert [study.case.categories[where[t]] for t in table["text"]] == table["category"].tolist()


def test_text_top_table(study: Study) -> None:
    table = study.table("text_top")
    matrix = study.matrix
    for t, name in enumerate(study.case.text_ids):
        rows = table[table["text"] == name]
        active = [f for f in range(study.case.d_sae) if matrix[t, f] > 0]
        wanted = reference.ranked(active, lambda f, s=matrix[t]: (-s[f], f), 10)
        assert rows["feature"].tolist() == wanted
        assert rows["rank"].tolist() == list(range(len(wanted)))
        close(rows["score"], matrix[t, wanted])
        assert rows["position"].tolist() == [study.scores[t, f][1] for f in wanted]
        for row in rows.itertuples():
            values = study.case.activations[t][:, row.feature]
            assert list(row.active_positions) == np.flatnonzero(values).tolist()
            assert list(row.active_values) == values[values > 0].tolist()


@pytest.mark.parametrize("kind", ["max", "last", "mean"])
def test_every_text_score_on_every_study(study: Study, kind: str) -> None:
    scores = score_texts(include(study.inputs.store, study.config.outlier_multiple), kind)
    wanted = reference.score_matrix(
        reference.text_scores(study.case, study.keep, kind), study.n_texts, study.case.d_sae
    )
    found = scores.by_feature.toarray()
    np.testing.assert_array_equal(found > 0, wanted > 0)
    close(found, wanted)


def test_strong_threshold(study: Study) -> None:
    if study.config.strong is not None:
        assert study.findings.strong == study.config.strong
        return
    value = reference.quantile(sorted(score for score, _ in study.scores.values()), 0.9)
    assert study.findings.strong == float(f"{value:.2g}")


# Categories


def test_categories_table(study: Study) -> None:
    table, matrix = study.table("categories"), study.matrix
    names = sorted(set(study.case.categories))
    shown = [f for f in range(study.case.d_sae) if matrix[:, f].any()]
    assert list(zip(table["category"], table["feature"], strict=True)) == list(itertools.product(names, shown))
    strong = study.findings.strong
    for row in table.itertuples():
        inside, outside = split(matrix[:, row.feature], study.case.categories, row.category)
        assert (row.n_inside, row.n_outside) == (len(inside), len(outside))
        assert (row.active_inside, row.active_outside) == (count(inside, 0), count(outside, 0))
        assert (row.strong_inside, row.strong_outside) == (count(inside, strong), count(outside, strong))
        assert row.specialist_score == count(inside, strong) - count(outside, strong)
        close([row.max_inside, row.mean_inside], [max(inside), math.fsum(inside) / len(inside)])
        close(row.auroc, reference.auroc(inside, outside), atol=1e-12)
        close(row.lift, lift(inside, outside, strong))
        close(row.active_lift, lift(inside, outside, 0))


def lift(inside: list[float], outside: list[float], above: float) -> float:
    rate_in, rate_out = count(inside, above) / len(inside), count(outside, above) / len(outside)
    return 0.0 if not rate_in else math.inf if not rate_out else rate_in / rate_out


def split(scores: np.ndarray, names: list[str], name: str) -> tuple[list[float], list[float]]:
    inside = [float(s) for s, n in zip(scores, names, strict=True) if n == name]
    return inside, [float(s) for s, n in zip(scores, names, strict=True) if n != name]


def count(values: list[float], above: float) -> int:
    return sum(v > above for v in values)


def test_p_and_q_values(study: Study) -> None:
    table, matrix = study.table("categories"), study.matrix
    for row in table.itertuples():
        inside, outside = split(matrix[:, row.feature], study.case.categories, row.category)
        if len(set(inside + outside)) == 1:
            assert row.p_value == 1
            continue
        test = stats.mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic")
        close(row.p_value, test.pvalue, atol=1e-12)
        close(row.auroc, test.statistic / (len(inside) * len(outside)), atol=1e-12)
    close(table["q_value"], reference.benjamini_hochberg(table["p_value"].tolist()), atol=1e-12)


# Concepts


def test_concepts_table(study: Study) -> None:
    """`mean_all` divides by all texts of the concept; dividing by one would give a sum."""
    table, matrix, concept_matrix = study.table("concepts"), study.matrix, study.concept_matrix
    names = [t.category for t in study.inputs.concept_texts]
    keys = [
        (name, feature)
        for name in sorted(set(names))
        for feature in range(study.case.d_sae)
        if any(split(concept_matrix[:, feature], names, name)[0])
    ]
    assert list(zip(table["concept"], table["feature"], strict=True)) == keys
    for row in table.itertuples():
        scores, _ = split(concept_matrix[:, row.feature], names, row.concept)
        active = [s for s in scores if s > 0]
        n_strong = count(scores, study.findings.strong)
        assert (row.n_texts, row.n_active, row.n_strong) == (len(scores), len(active), n_strong)
        assert row.consistency == n_strong / len(scores)
        close(row.mean_all, math.fsum(scores) / len(scores))
        close(row.mean_active, math.fsum(active) / len(active))
        close(row.auroc, reference.auroc(scores, matrix[:, row.feature].tolist()), atol=1e-12)
    assert (table["mean_all"] < table["mean_active"] * 0.99).any()


def test_an_always_active_feature_does_not_win_a_concept(study: Study) -> None:
    table = study.table("concepts")
    constant = table[table["feature"] == CONSTANT]
    assert len(constant) == len({t.category for t in study.inputs.concept_texts})
    # A text of nothing but a massive token scores 0 on every feature.
    n_empty = sum(not any(kept) for kept in study.keep)
    close(constant["auroc"], np.full(len(constant), 0.5 + n_empty / study.n_texts / 2), atol=1e-6)


# Co-activation


def test_coactivation_table(study: Study, saes: Callable) -> None:
    decoder = load_file(saes(study.shape, study.kind) / "sae_weights.safetensors")["W_dec"].astype(np.float64)
    table = study.table("coactivation")
    for level, active in (("token", study.tokens_active), ("text", study.matrix > 0)):
        assert_pairs(table[table["level"] == level], active, MIN_SUPPORT[level], decoder)


def assert_pairs(table: pd.DataFrame, active: np.ndarray, support: int, decoder: np.ndarray) -> None:
    """Every figure of every pair, and that just the best partners of each feature are there."""
    both, n = reference.pair_counts(active), len(active)
    phi = reference.correlations(active)
    for row in table.itertuples():
        a, b = row.feature_a, row.feature_b
        assert a < b
        assert (row.n_a, row.n_b, row.n_both) == (both[a, a], both[b, b], both[a, b])
        assert row.n_both >= support
        close(row.jaccard, both[a, b] / (active[:, a] | active[:, b]).sum())
        close(row.lift, (both[a, b] / n) / ((both[a, a] / n) * (both[b, b] / n)))
        close(row.phi, phi[a, b], atol=1e-12)
        cosine = decoder[a] @ decoder[b] / np.linalg.norm(decoder[a]) / np.linalg.norm(decoder[b])
        close(row.decoder_cosine, cosine, rtol=1e-4, atol=1e-6)
    assert not table.duplicated(["feature_a", "feature_b"]).any()
    assert (np.diff(table["phi"]) <= 0).all()
    found = set(zip(table["feature_a"], table["feature_b"], strict=True))
    must, may = best_partners(phi, both, support)
    assert must <= found <= may


def best_partners(phi: np.ndarray, both: np.ndarray, support: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that are surely among a feature's best partners, and pairs that may be (equal to its last one)."""
    must: set[tuple[int, int]] = set()
    may: set[tuple[int, int]] = set()
    for a in range(len(phi)):
        partners = [b for b in range(len(phi)) if b != a and both[a, b] >= support and phi[a, b] > 1e-9]
        partners.sort(key=lambda b, row=phi[a]: (-row[b], b))
        last = phi[a, partners[PARTNERS - 1]] if len(partners) > PARTNERS else 0.0
        must |= {(min(a, b), max(a, b)) for b in partners if phi[a, b] > last + 1e-9}
        may |= {(min(a, b), max(a, b)) for b in partners if phi[a, b] > last - 1e-9}
    return must, may


def pairs_of(active: np.ndarray, decoder: np.ndarray) -> pd.DataFrame:
    matrix = sparse.csr_matrix(active.astype(np.float32))
    return pair_table(matrix, matrix.tocsc(), np.ones(len(active), bool), "token", decoder.astype(np.float32))


@pytest.mark.parametrize("density", [0.01, 0.03, 0.4])
def test_pairs_of_sparse_and_dense_matrices(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wider than a block, on both sides of the choice between sparse and dense products, with correlated columns."""
    monkeypatch.setattr(coactivation, "BLOCK", 128)
    generator = np.random.default_rng(5)
    active = generator.random((400, 300)) < density
    for column in range(0, 300, 3):
        for other in (1, 2, 7, 150):
            same = generator.random(400) < 0.8
            active[same, (column + other) % 300] = active[same, column]
    active[:, 299], active[:, 7], active[:, 258] = True, False, active[:, 12]
    decoder = generator.normal(size=(300, 8))
    table = pairs_of(active, decoder)
    assert len(table) > 100
    assert_pairs(table, active, MIN_SUPPORT["token"], decoder)


FREQUENCIES = {
    "even": np.full(90, 0.2),
    "from always to never": np.linspace(1, 0, 90),
    "few of all, many of hardly any": np.where(np.arange(90) % 30 == 0, 0.98, 0.03),
    "each half as frequent as the one before": np.maximum(0.5 ** np.arange(90), 0.02),
    "never but for twins": np.where(np.arange(90) % 45 == 7, 0.5, 0.0),
    "one alone": np.where(np.arange(90) == 44, 0.5, 0.0),
}


@pytest.mark.parametrize("width", [89, 90])
@pytest.mark.parametrize("name", FREQUENCIES)
def test_both_ways_of_counting_are_exact(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks that do not divide the dictionary, parts that cut features, and rows of which some do not count."""
    generator = np.random.default_rng(3)
    active = generator.random((230, width)) < FREQUENCIES[name][:width]
    keep = generator.random(230) < 0.9
    matrix = sparse.csr_matrix(active.astype(np.float32))
    by_feature = sparse.csr_matrix((active & keep[:, None]).astype(np.float32)).tocsc()
    counted = active[keep].astype(np.int64)
    for block, gathered, rows in ((16, 40, 7), (7, 100_000, 200), (512, 1, 4095)):
        monkeypatch.setattr(coactivation, "BLOCK", block)
        monkeypatch.setattr(coactivation, "GATHERED", gathered)
        monkeypatch.setattr(coactivation, "DENSE_ROWS", rows)
        doubled = coactivation.two_in_one(matrix, keep, None)
        for first in range(0, width, block):
            wanted = counted[:, first : first + block].T @ counted
            np.testing.assert_array_equal(coactivation.count_dense(doubled, width, first), wanted)
            np.testing.assert_array_equal(coactivation.count_gathered(matrix, by_feature, first), wanted)
        table = pair_table(matrix, by_feature, keep, "token", np.eye(width, dtype=np.float32))
        assert_pairs(table, active[keep], MIN_SUPPORT["token"], np.eye(width))


def test_dense_counts_are_exact_where_everything_fires() -> None:
    """The largest counts that share a number, over more rows than one product takes."""
    active = sparse.csr_matrix(np.ones((2 * coactivation.DENSE_ROWS + 3, 5), np.float32))
    doubled = coactivation.two_in_one(active, np.ones(active.shape[0], bool), None)
    assert (coactivation.count_dense(doubled, 5, 0) == active.shape[0]).all()


@pytest.mark.parametrize("most", [3, 40, 200, 2000])
def test_no_partner_of_features_that_are_hardly_ever_silent_is_lost(most: int) -> None:
    """Their counts differ by a few in a million, which single precision cannot tell apart."""
    n, width = 1_000_000, 64
    for seed in range(15):
        chance = np.random.default_rng(seed)
        silent = np.zeros((width, 2 * most))
        for row in silent:
            row[chance.choice(2 * most, chance.integers(1, most), replace=False)] = 1
        count = silent.sum(1)
        both = n - (count[:, None] + count - silent @ silent.T)
        counts = both.diagonal().copy()
        me, partner, _ = coactivation._candidates(0, both.astype(np.float32), counts, n, 5)
        found = set(zip(me.tolist(), partner.tolist(), strict=True))
        phis = coactivation.phi(both, counts[:, None], counts, n)
        for a in range(width):
            best = sorted((b for b in range(width) if b != a and phis[a, b] > 0), key=lambda b, a=a: (-phis[a, b], b))
            assert {(a, b) for b in best[:PARTNERS]} <= found


@pytest.mark.parametrize("width", [3, 10, 11, 63, 64, 200, 700])
def test_no_partner_is_lost_in_the_quick_choice(width: int) -> None:
    """What is asked of a candidate is never more than the tenth largest value, and not far below it."""
    values = np.random.default_rng(width).normal(size=(50, width)).astype(np.float32)
    values[0], values[1, : width // 2] = 0.5, 0.25
    least = coactivation._at_least(values)
    last = np.sort(values)[:, max(0, width - PARTNERS)]
    assert (least <= last).all()
    assert ((values >= least[:, None]).sum(1) <= 6 * PARTNERS)[2:].all()


def test_partners_that_tie_go_by_index() -> None:
    """Of 14 identical features, each keeps the ten others with the smallest index."""
    active = np.zeros((40, 14), np.float32)
    active[:9] = 1
    table = pairs_of(active, np.eye(14))
    wanted = set()
    for a in range(14):
        partners = [b for b in range(14) if b != a][:PARTNERS]
        wanted |= {(min(a, b), max(a, b)) for b in partners}
    assert list(zip(table["feature_a"], table["feature_b"], strict=True)) == sorted(wanted)


def test_pairs_of_nothing() -> None:
    decoder = np.eye(4)
    for shape in ((0, 4), (1, 4), (9, 4)):
        assert pairs_of(np.zeros(shape), decoder).empty
    assert pairs_of(np.ones((9, 4)), decoder).empty


def test_clusters(study: Study) -> None:
    active = study.tokens_active
    both, phi = reference.pair_counts(active), reference.correlations(active)
    d_sae = study.case.d_sae
    joined = {a: [b for b in range(d_sae) if a != b and both[a, b] >= 5 and phi[a, b] >= 0.5] for a in range(d_sae)}
    groups, seen = [], set()
    for start in range(d_sae):
        group, queue = set(), [start]
        while queue:
            feature = queue.pop()
            if feature not in seen:
                seen.add(feature)
                group.add(feature)
                queue += joined[feature]
        if len(group) > 1:
            groups.append(sorted(group))
    groups.sort(key=lambda g: (-len(g), g[0]))
    table = study.table("clusters")
    assert [g["feature"].tolist() for _, g in table.groupby("cluster")] == groups
    if study.kind.architecture != "topk":
        assert any({TWIN_A, TWIN_B} <= set(g) for g in groups)


def test_clusters_join_chains_and_go_by_size() -> None:
    pairs = pd.DataFrame(
        [(0, 5, "token", 0.9), (2, 3, "token", 0.5), (3, 4, "token", 0.6), (1, 6, "text", 0.9), (6, 7, "token", 0.49)],
        columns=["feature_a", "feature_b", "level", "phi"],
    )
    table = cluster_table(pairs, 8)
    assert table.to_numpy().tolist() == [[0, 2], [0, 3], [0, 4], [1, 0], [1, 5]]


# Rankings


def test_rankings_of_features(study: Study) -> None:
    rows = [r for r in study.table("features").itertuples() if r.n_active]
    strong = [r for r in rows if r.n_texts_strong]
    assert_ranking(study, "strongest", rows, lambda r: (-r.max, r.feature), lambda r: r.max)
    assert_ranking(study, "frequent", rows, lambda r: (-r.n_texts_active, r.feature), lambda r: r.n_texts_active)
    assert_ranking(
        study, "selective", strong, lambda r: (r.n_texts_strong, -r.max, r.feature), lambda r: r.n_texts_strong
    )


def assert_ranking(study: Study, name: str, rows: list[Any], key: Callable, value: Callable) -> None:
    wanted = reference.ranked(rows, key, study.config.top)
    rankings = study.table("rankings")
    found = rankings[rankings["ranking"] == name]
    assert found["feature"].tolist() == [r.feature for r in wanted]
    assert found["rank"].tolist() == list(range(len(wanted)))
    close(found["value"], [value(r) for r in wanted])


def test_rankings_of_categories(study: Study) -> None:
    for name, rows in study.table("categories").groupby("category"):
        every = list(rows.itertuples())
        specialists = [r for r in every if r.balanced_score > 0]
        assert_ranking(
            study,
            f"specialist:{name}",
            specialists,
            lambda r: (-r.balanced_score, -r.auroc, r.feature),
            lambda r: r.balanced_score,
        )
        common = [r for r in every if r.active_inside * 2 > r.n_inside]
        assert_ranking(
            study, f"common:{name}", common, lambda r: (-more(r), -r.active_inside, r.feature), lambda r: float(more(r))
        )


def more(row: Any) -> Fraction:
    """How much larger the active rate is inside, exactly."""
    return Fraction(row.active_inside, row.n_inside) - Fraction(row.active_outside, row.n_outside)


def test_rankings_of_concepts(study: Study) -> None:
    for name, rows in study.table("concepts").groupby("concept"):
        every = list(rows.itertuples())
        assert_ranking(
            study,
            f"consistent:{name}",
            [r for r in every if r.n_strong],
            lambda r: (-Fraction(r.n_strong, r.n_texts), -r.mean_all, r.feature),
            lambda r: r.consistency,
        )
        assert_ranking(study, f"strong:{name}", every, lambda r: (-r.mean_all, r.feature), lambda r: r.mean_all)
        assert_ranking(
            study,
            f"contrast:{name}",
            [r for r in every if r.n_active * 2 > r.n_texts],
            lambda r: (-r.auroc, -r.mean_all, r.feature),
            lambda r: r.auroc,
        )


def test_equal_features_are_ranked_by_index(study: Study) -> None:
    if study.kind.architecture == "topk":
        pytest.skip("no two features of this SAE are equal")
    rankings = study.table("rankings")
    together = [
        rows.set_index("feature")["rank"]
        for _, rows in rankings.groupby("ranking")
        if {TWIN_A, TWIN_B} <= set(rows["feature"])
    ]
    assert all(rank[TWIN_B] > rank[TWIN_A] for rank in together)
    only_b = [name for name, rows in rankings.groupby("ranking") if TWIN_A not in set(rows["feature"])]
    assert not rankings[rankings["ranking"].isin(only_b)]["feature"].eq(TWIN_B).any()


def test_notable_features_have_reasons_from_the_rankings(study: Study) -> None:
    rankings = study.table("rankings")
    wanted: dict[int, set[str]] = {}
    for row in rankings.itertuples():
        kind, _, name = row.ranking.partition(":")
        if kind in ("strongest", "frequent", "selective"):
            wanted.setdefault(row.feature, set()).add(kind)
        if kind == "specialist":
            wanted.setdefault(row.feature, set()).add(f"specialist:{name}")
        if kind in ("consistent", "contrast"):
            wanted.setdefault(row.feature, set()).add(f"concept:{name}")
    for row in study.table("features").itertuples():
        assert set(filter(None, row.notable.split(","))) == wanted.get(row.feature, set())


# Health


def test_health(study: Study, models: Callable, saes: Callable, texts: list[Text]) -> None:
    health = study.findings.health
    active = study.tokens_active
    per_token = [int(row.sum()) for row in active]
    mean = sum(per_token) / len(per_token)
    spread = math.sqrt(sum((n - mean) ** 2 for n in per_token) / len(per_token))
    close([health["l0_mean"], health["l0_std"]], [mean, spread], rtol=6e-6)
    assert health["silent"] == study.case.d_sae - len(study.fired)
    assert health["excluded_positions"] == sum(not k for kept in study.keep for k in kept)
    median = reference.median_norm(study.raw)
    close(health["norm_median"], median, rtol=6e-6)
    close(health["norm_limit"], reference.norm_limit(median, study.config.outlier_multiple), rtol=6e-6)
    density = [math.log10(active[:, f].mean()) for f in study.fired]
    edges = health["density_edges"]
    wanted = [sum(a <= d < b for d in density) for a, b in itertools.pairwise(edges)]
    wanted[-1] += sum(d == edges[-1] for d in density)
    assert health["density_counts"] == wanted


def test_explained_variance(study: Study, models: Callable, saes: Callable) -> None:
    """From the residual stream and reconstruction of every counted position, dense."""
    folder = models(study.shape)
    rows = []
    for text in study.inputs.texts:
        rows.append(reference.residuals(folder, study.kind.hook, text.content, CONTEXT, reference.bos_of(folder))[1])
    x = np.concatenate(rows)[np.concatenate(study.keep)]
    sae = saes(study.shape, study.kind)
    wanted = reference.explained_variance(x, reference.decode(sae, reference.encode(sae, x), x))
    close(study.findings.health["explained_variance"], wanted, rtol=1e-4, atol=1e-5)


def test_massive_positions_are_left_out_of_everything(study: Study) -> None:
    if study.shape != "sink":
        pytest.skip("this model has no massive activations")
    mark = study.inputs.vocabulary.index("?")
    dropped = {
        (t, i, study.case.tokens[t][i]) for t, kept in enumerate(study.keep) for i, k in enumerate(kept) if not k
    }
    assert {token for *_, token in dropped} == {mark}
    assert len(dropped) == sum(ids.count(mark) for ids in study.case.tokens)
    assert mark not in study.table("tokens")["token_id"].tolist()
    names = study.case.text_ids
    shown = set(zip(study.table("contexts")["text"], study.table("contexts")["position"], strict=True))
    assert not shown & {(names[t], i) for t, i, _ in dropped}
    alone = next(name for name, ids in zip(names, study.case.tokens, strict=True) if ids == [mark])
    assert alone not in study.table("text_scores")["text"].tolist()
    assert study.table("texts").set_index("text")["n_excluded"][alone] == 1


# The weights


@pytest.fixture(scope="session", params=[(s, h) for s in SHAPES for h in ("blocks.2.hook_resid_pre", "mlp_out")])
def lens(
    request: pytest.FixtureRequest, subjects: Callable, saes: Callable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, np.ndarray, Lens]:
    """Model, decoder and lens."""
    shape, hook = request.param
    kind = SaeKind("standard", hook="blocks.1.hook_mlp_out" if hook == "mlp_out" else hook)
    folder = tmp_path_factory.mktemp("lens")
    make_lens(subjects(shape, kind), LENS_ENTRIES, folder, lambda n: None)
    decoder = load_file(saes(shape, kind) / "sae_weights.safetensors")["W_dec"]
    return shape, decoder.astype(np.float64), read_lens(folder)


def test_direct_logit_effects(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    shape, decoder, found = lens
    for feature, direction in enumerate(decoder):
        effects = reference.logit_effects(models(shape), direction)
        promoted = np.sort(effects)[::-1][:LENS_ENTRIES]
        close(found.promoted_logits[feature], promoted, rtol=1e-3, atol=1e-4)
        close(effects[found.promoted_ids[feature]], promoted, rtol=1e-3, atol=1e-4)
        suppressed = np.sort(effects)[:LENS_ENTRIES]
        close(found.suppressed_logits[feature], suppressed, rtol=1e-3, atol=1e-4)
        close(effects[found.suppressed_ids[feature]], suppressed, rtol=1e-3, atol=1e-4)
        assert len(set(found.promoted_ids[feature].tolist())) == LENS_ENTRIES


def test_direct_logit_effects_by_formula(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    """RMS norm: (d * w) @ W_U. LayerNorm: ((d - mean of d) * w) @ W_U. Both less the mean over the vocabulary."""
    shape, decoder, found = lens
    if shape == "gemma":
        pytest.skip("Gemma adds 1 to its norm's weights; the module itself is the reference there")
    model = reference.model_of(models(shape))
    gpt2 = shape == "gpt2"
    weight = (model.transformer.ln_f if gpt2 else model.model.norm).weight.detach().double().numpy()
    unembedding = model.lm_head.weight.detach().double().numpy().T
    for feature, direction in enumerate(decoder):
        effects = ((direction - direction.mean() if gpt2 else direction) * weight) @ unembedding
        effects -= effects.mean()
        close(found.promoted_logits[feature], np.sort(effects)[::-1][:LENS_ENTRIES], rtol=1e-3, atol=1e-4)


def test_the_spread_of_direct_effects(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    shape, decoder, found = lens
    for feature in range(0, len(decoder), 5):
        effects = reference.logit_effects(models(shape), decoder[feature])
        moments = [effects.std(), stats.skew(effects), stats.kurtosis(effects)]
        close(found.logit_moments[feature], moments, rtol=1e-3, atol=1e-4)
        edges, counts = found.logit_edges[feature], found.logit_counts[feature]
        close(edges, np.linspace(effects.min(), effects.max(), len(counts) + 1), rtol=1e-4, atol=1e-5)
        assert counts.sum() == len(effects)
        # A value within rounding of an edge may fall on either side of it.
        for bin_, count_ in enumerate(counts.tolist()):
            low, high, slack = edges[bin_], edges[bin_ + 1], 1e-5 * np.abs(effects).max()
            surely = (effects > low + slack) & (effects < high - slack)
            maybe = (effects >= low - slack) & (effects <= high + slack)
            assert surely.sum() <= count_ <= maybe.sum()


def test_decoder_neighbours(lens: tuple[str, np.ndarray, Lens]) -> None:
    _, decoder, found = lens
    for feature, row in enumerate(decoder):
        cosines = np.array([row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in decoder])
        assert feature not in found.neighbour_ids[feature]
        others = np.delete(cosines, feature)
        close(found.neighbour_cosines[feature], np.sort(others)[::-1][:LENS_ENTRIES], rtol=1e-4, atol=1e-6)
        close(cosines[found.neighbour_ids[feature]], found.neighbour_cosines[feature], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.decoder, decoder, rtol=1e-6)


def test_ties_in_the_weights_go_by_index(subjects: Callable, tmp_path: Path) -> None:
    """Tokens that never occurred often share one unembedding, and dead features one decoder row."""
    import torch

    subject = subjects("llama", SaeKind("standard")).replica()
    decoder = torch.zeros_like(subject.sae.W_dec)
    decoder[:, 0] = 1.0
    decoder[30:, 1] = 1.0
    subject.sae.W_dec = torch.nn.Parameter(decoder)
    make_lens(subject, LENS_ENTRIES, tmp_path, lambda n: None)
    ids = np.load(tmp_path / "neighbour_ids.npy")
    for feature in range(len(decoder)):
        same = range(30) if feature < 30 else range(30, len(decoder))
        assert ids[feature].tolist() == [f for f in same if f != feature][:LENS_ENTRIES]


def test_no_logits_where_the_sae_does_not_write_to_the_residual_stream(subjects: Callable, tmp_path: Path) -> None:
    subject = subjects("llama", SaeKind("jumprelu", hook="blocks.2.attn.hook_z"))
    make_lens(subject, LENS_ENTRIES, tmp_path, lambda n: None)
    assert read_lens(tmp_path).promoted_ids.shape[1] == 0


def test_weight_tables(study: Study) -> None:
    lens = study.inputs.lens
    logits = study.table("logits").set_index(["feature", "direction", "rank"])
    neighbours = study.table("neighbours").set_index(["feature", "rank"])
    assert len(logits) == 2 * study.case.d_sae * LENS_ENTRIES
    for feature, rank in itertools.product(range(study.case.d_sae), range(LENS_ENTRIES)):
        for direction, ids, values in (
            ("promoted", lens.promoted_ids, lens.promoted_logits),
            ("suppressed", lens.suppressed_ids, lens.suppressed_logits),
        ):
            row = logits.loc[(feature, direction, rank)]
            token = int(ids[feature, rank])
            assert (row["token_id"], row["token"]) == (token, study.inputs.vocabulary[token])
            assert row["logit"] == values[feature, rank]
        row = neighbours.loc[(feature, rank)]
        assert row["neighbour"] == lens.neighbour_ids[feature, rank]
        assert row["cosine"] == lens.neighbour_cosines[feature, rank]


# Stores made by hand


def make_case(
    activations: list[Any], categories: list[str] | None = None, tokens: list[list[int]] | None = None
) -> Case:
    dense = [np.array(rows, np.float32) for rows in activations]
    lengths = [len(rows) for rows in dense]
    return Case(
        [f"t{t:02d}" for t in range(len(dense))],
        categories or ["one"] * len(dense),
        tokens or [list(range(sum(lengths[:t]), sum(lengths[: t + 1]))) for t in range(len(dense))],
        dense,
        [np.full(n, 2.0, np.float32) for n in lengths],
        [np.ones(n, np.float32) for n in lengths],
    )


def empty_lens(d_sae: int) -> Lens:
    none, ids = np.zeros((d_sae, 0), np.float32), np.zeros((d_sae, 0), np.int32)
    empty = {f.name: ids if f.name.endswith("_ids") else none for f in fields(Lens)}
    moments = np.zeros((d_sae, 3), np.float32)
    return Lens(**{**empty, "decoder": np.ones((d_sae, 2), np.float32), "logit_moments": moments})


def analyse_case(
    folder: Path, case: Case, config: AnalysisConfig, concepts: Case | None = None, residual: Any = None
) -> Findings:
    reference.save_case(folder / "store", case, residual)
    texts = [Text(i, c, "here", "x" * 99) for i, c in zip(case.text_ids, case.categories, strict=True)]
    concept_texts, concept_store = [], None
    if concepts is not None:
        reference.save_case(folder / "concepts", concepts)
        concept_texts = [
            Text(i, c, "here", "x" * 99) for i, c in zip(concepts.text_ids, concepts.categories, strict=True)
        ]
        concept_store = read_store(folder / "concepts")
    vocabulary = [f"w{i}" for i in range(500)]
    store = read_store(folder / "store")
    inputs = Inputs(texts, store, concept_texts, concept_store, empty_lens(case.d_sae), vocabulary)
    return run_analyses(inputs, config, folder / "tables")


def assert_every_table_is_there(findings: Findings) -> None:
    """Every table, whether it has rows or not, is a file with the columns of its schema."""
    assert set(findings.tables) == set(SCHEMAS)
    for name in SCHEMAS:
        assert pq.read_schema(findings.tables.folder / f"{name}.parquet").equals(arrow_schema(name))
        assert list(findings.tables[name]) == list(SCHEMAS[name])


def test_every_table_of_a_study_is_there(study: Study) -> None:
    assert_every_table_is_there(study.findings)


def test_every_table_is_there_without_concepts(tmp_path: Path) -> None:
    assert_every_table_is_there(analyse_case(tmp_path, make_case([[[1.0]], [[2.0]]]), AnalysisConfig()))


def test_every_table_is_there_without_activations(tmp_path: Path) -> None:
    case, concepts = make_case([np.zeros((3, 4)), np.zeros((2, 4))], ["a", "b"]), make_case([np.zeros((1, 4))], ["c"])
    assert_every_table_is_there(analyse_case(tmp_path, case, AnalysisConfig(), concepts))


def test_one_text_of_one_token(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[0.0, 2.5]]]), AnalysisConfig(strong=1.0))
    feature = found.tables["features"].loc[1]
    assert (feature["n_tokens"], feature["n_active"], feature["max"], feature["std_active"]) == (1, 1, 2.5, 0)
    assert feature["token_rule"] == "w0"
    row = found.tables["categories"].iloc[0]
    assert (row["n_inside"], row["n_outside"], row["auroc"], row["p_value"]) == (1, 0, 0.5, 1)
    contexts = found.tables["contexts"]
    assert contexts[["band", "position", "window_start", "window_end"]].to_numpy().tolist() == [["top", 0, 0, 1]]
    assert found.tables["coactivation"].empty
    assert found.health["l0_mean"] == 1


def test_one_category(tmp_path: Path) -> None:
    case = make_case([[[0, 1]], [[0, 2]], [[3, 0]]])
    table = analyse_case(tmp_path, case, AnalysisConfig(strong=1.5)).tables["categories"]
    assert (table["n_inside"] == 3).all()
    assert (table["n_outside"] == 0).all()
    assert (table["auroc"] == 0.5).all()
    assert (table["p_value"] == 1).all()
    assert (table["q_value"] == 1).all()
    assert table["specialist_score"].tolist() == [1, 1]


def test_lift_where_there_is_no_outside(tmp_path: Path) -> None:
    """`lift` is never an undefined number: infinite where the feature is active inside only."""
    case = make_case([[[0, 1]], [[0, 2]], [[3, 0]]])
    table = analyse_case(tmp_path, case, AnalysisConfig()).tables["categories"]
    assert not table["lift"].isna().any()


def test_nothing_fires(tmp_path: Path) -> None:
    case = make_case([np.zeros((3, 4)), np.zeros((2, 4))], ["a", "b"])
    concepts = make_case([np.zeros((1, 4))], ["c"])
    found = analyse_case(tmp_path, case, AnalysisConfig(), concepts)
    for name in ("contexts", "tokens", "histograms", "text_scores", "categories", "concepts", "rankings", "clusters"):
        assert found.tables[name].empty, name
    assert found.health["silent"] == 4
    assert (found.tables["features"]["label"] == "silent").all()


def test_everything_fires_equally(tmp_path: Path) -> None:
    case = make_case([np.full((3, 2), 1.5), np.full((1, 2), 1.5), np.full((2, 2), 1.5)], ["a", "b", "b"])
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=1.0, top=2))
    features = found.tables["features"]
    assert features["density_high"].tolist() == [1, 1]
    assert features["top_text"].tolist() == ["t00", "t00"]
    assert features["std_active"].tolist() == [0, 0]
    assert features["token_rule"].tolist() == ["w0", "w0"], "all tokens tie, so the smallest id is the rule"
    assert (found.tables["categories"]["p_value"] == 1).all()
    assert found.tables["coactivation"].empty
    strongest = found.tables["rankings"].query("ranking == 'strongest'")
    assert strongest["feature"].tolist() == [0, 1]
    histogram = found.tables["histograms"]["counts"][0]
    assert histogram[-1] == 6
    assert sum(histogram) == 6
    top = found.tables["contexts"].query("band == 'top' and feature == 0")
    assert top[["text", "position"]].to_numpy().tolist() == [["t00", 0], ["t01", 0]]


def test_no_concepts(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[1.0]], [[2.0]]]), AnalysisConfig())
    assert found.tables["concepts"].empty
    assert list(found.tables["concepts"]) == list(SCHEMAS["concepts"])


def test_concept_means_by_hand(tmp_path: Path) -> None:
    """Scores 4, 0 and 2: their mean is 2, over the active ones 3, and neither is their sum."""
    corpus = make_case([[[1.0]], [[2.0]], [[0.0]], [[9.0]]])
    concepts = make_case([[[4.0]], [[0.0]], [[1.0], [2.0]]], ["k", "k", "k"])
    row = analyse_case(tmp_path, corpus, AnalysisConfig(strong=3.0), concepts).tables["concepts"].iloc[0]
    assert (row["n_texts"], row["n_active"], row["n_strong"]) == (3, 2, 1)
    assert (row["mean_all"], row["mean_active"]) == (2, 3)
    assert row["consistency"] == 1 / 3
    # 4 beats three of four; 0 ties with one; 2 beats two and ties with one.
    assert row["auroc"] == (3 + 0.5 + 2.5) / 12


def test_near_duplicates_go_by_nine_tokens(tmp_path: Path) -> None:
    """Same peak and four tokens on each side: hidden. A difference four away: shown. Five away: hidden."""
    middle = [10, 11, 12, 13, 14, 15, 16, 17, 18]
    tokens = [[1, *middle, 2], [3, *middle, 4], [1, 99, *middle[1:], 2], [5, *middle, 6], middle]
    rows = np.zeros((11, 1))
    rows[5] = 1
    activations = [rows * 5, rows * 4, rows * 3, rows * 2, rows[1:10] * 1]
    table = analyse_case(tmp_path, make_case(activations, None, tokens), AnalysisConfig()).tables["contexts"]
    top = table[table["band"] == "top"]
    assert top[["text", "activation", "similar_hidden"]].to_numpy().tolist() == [["t00", 5, 3], ["t02", 3, 0]]


def test_an_end_of_a_text_is_not_a_token_of_the_next(tmp_path: Path) -> None:
    """Surroundings stop at the text's ends, even where the neighbouring text continues alike."""
    tokens = [[7, 8], [9, 7, 8], [9]]
    activations = [[[2.0], [0.0]], [[0.0], [3.0], [0.0]], [[0.0]]]
    table = analyse_case(tmp_path, make_case(activations, None, tokens), AnalysisConfig()).tables["contexts"]
    assert table.query("band == 'top'")["text"].tolist() == ["t01", "t00"]


def test_bands_show_weak_firings(tmp_path: Path) -> None:
    values = np.arange(1, 41, dtype=np.float32)[:, None, None]
    table = analyse_case(tmp_path, make_case(list(values)), AnalysisConfig(top=4)).tables["contexts"]
    for band, low, high in (("q75-100", 31, 40), ("q50-75", 21, 30), ("q25-50", 11, 20), ("q0-25", 1, 10)):
        shown = table[table["band"] == band]["activation"]
        assert len(shown) == PER_BAND
        assert shown.between(low, high).all()
    assert table.query("band == 'top'")["activation"].tolist() == [40, 39, 38, 37]


def test_specialists_survive_unequal_categories(tmp_path: Path) -> None:
    """Strong on 3 of 3 inside and 5 of 30 outside: the notebook's score is negative, the balanced one is not."""
    inside = [[[9.0]]] * 3
    outside = [[[8.0]]] * 5 + [[[0.0]]] * 25
    case = make_case(inside + outside, ["small"] * 3 + ["large"] * 30)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    row = found.tables["categories"].query("category == 'small'").iloc[0]
    assert row["specialist_score"] == 3 - 5
    close(row["lift"], 6.0)
    assert row["auroc"] == 1
    close(row["balanced_score"], 3 * (1 - 5 / 30))
    rankings = found.tables["rankings"]
    assert rankings[rankings["ranking"] == "specialist:small"]["feature"].tolist() == [0]
    assert "specialist:large" not in set(rankings["ranking"])


def test_equal_rates_make_no_specialist(tmp_path: Path) -> None:
    """Strong on 1 of 3, 1 of 6 and 1 of 6 texts: exactly half of the balanced strong texts are in the first."""
    rows = [[9.0]] + [[0.0]] * 2 + ([[9.0]] + [[0.0]] * 5) * 2
    case = make_case([[row] for row in rows], ["a"] * 3 + ["b"] * 6 + ["c"] * 6)
    table = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["categories"].set_index("category")
    assert table.loc["a", "balanced_score"] == 0
    close(table.loc["b", "balanced_score"], 6 * (1 / 6 - 1 / 3 - 1 / 6))
    close(table.loc["a", ["strong_inside_low", "strong_inside_high"]], reference.wilson(1, 3))
    close(table.loc["a", ["strong_outside_low", "strong_outside_high"]], reference.wilson(2, 12))


def test_a_large_category_does_not_win_by_its_size(tmp_path: Path) -> None:
    """Strong on 6 of 30 in the large category and on 3 of 3 in the small one: the notebook's score is 3."""
    case = make_case([[[9.0]]] * 6 + [[[0.0]]] * 24 + [[[9.0]]] * 3, ["large"] * 30 + ["small"] * 3)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    row = found.tables["categories"].query("category == 'large'").iloc[0]
    assert row["specialist_score"] == 3
    close(row["balanced_score"], 30 * (0.2 - 1))
    assert "specialist:large" not in set(found.tables["rankings"]["ranking"])


def test_halves_are_looked_at_alone(tmp_path: Path) -> None:
    """Feature 0 is strong on every text of a; feature 1 only on those of the second half, the odd ones."""
    rows = [[9.0, 0.0], [9.0, 9.0], [9.0, 0.0], [9.0, 9.0], [0.0, 1.0], [0.0, 1.0]]
    case = make_case([[row] for row in rows], ["a"] * 4 + ["b"] * 2)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    assert found.tables["texts"]["half"].tolist() == ["first", "second"] * 3
    table = found.tables["categories"].query("category == 'a'").set_index("feature")
    assert table["held_out"].tolist() == ["both", "second"]
    close(table["score_first"], [2, 0])
    close(table["score_second"], [2, 2])
    # On the first half the texts of a score 0 on feature 1, below the one of b.
    close(table["auroc_first"], [1, 0])
    close(table["auroc_second"], [1, 1])
    row = found.tables["held_out"].query("category == 'a'").iloc[0]
    assert row[["texts_first", "texts_second", "found_first", "found_second", "found_both"]].tolist() == [2, 2, 1, 2, 1]
    close([row["expected_both"], row["auroc_held_out"]], [1 * 2 / 2, (1 + 1 + 0) / 3])
    nothing = found.tables["held_out"].query("category == 'b'").iloc[0]
    assert nothing["found_first"] == 0
    assert math.isnan(nothing["auroc_held_out"])


def test_a_rule_of_two_tokens(tmp_path: Path) -> None:
    """Active on token 7 after 3 only: the token alone is right half of the time, the pair always."""
    tokens = [[3, 7, 1, 7], [2, 7, 3, 7], [7, 7]]
    case = make_case([[[0], [2], [0], [0]], [[0], [0], [0], [2]], [[0], [0]]], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["token_rule"], row["bigram_first"], row["bigram_second"]) == ("w7", "w3", "w7")
    close([row["token_precision"], row["token_recall"]], [2 / 6, 1])
    close([row["bigram_precision"], row["bigram_recall"]], [1, 1])
    assert row["label"] == "w3w7 · w7"


def test_a_rule_for_the_start_of_a_text(tmp_path: Path) -> None:
    tokens = [[7, 7, 7], [7, 1], [2, 7]]
    case = make_case([[[2], [0], [0]], [[2], [0]], [[0], [0]]], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["bigram_first"], row["bigram_second"]) == ("<start>", "w7")
    close([row["bigram_precision"], row["bigram_recall"], row["start_share"]], [1, 1, 1])
    assert row["label"] == "start of text · w7"


def test_a_pair_that_is_hardly_better_is_no_rule(tmp_path: Path) -> None:
    """F1 of the token: 2 * 9 / (10 + 9); of the pair: 1. The difference is below 0.1."""
    case = make_case([[[0], [2]]] * 9 + [[[0], [0]]], tokens=[[3, 7]] * 9 + [[4, 7]])
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert (row["token_rule"], row["bigram_first"], row["bigram_second"], row["bigram_recall"]) == ("w7", "", "", 0)


def test_silent_features_have_an_upper_bound(tmp_path: Path) -> None:
    table = analyse_case(tmp_path, make_case([[[0, 1]] * 30, [[0, 0]] * 20]), AnalysisConfig()).tables["features"]
    assert table["silent_below"].tolist()[0] == 3 / 50
    assert math.isnan(table["silent_below"].tolist()[1])


def test_a_concept_is_compared_with_the_rest_of_the_corpus(tmp_path: Path) -> None:
    """One of the concept's two texts stands in the corpus too; it is no rival of its concept."""
    reference.save_case(tmp_path / "store", make_case([[[5.0]], [[1.0]], [[3.0]]]))
    reference.save_case(tmp_path / "concepts", make_case([[[5.0]], [[2.0]], [[4.0]]]))
    texts = [Text(f"t{i}", "c", "here", content) for i, content in enumerate(["same", "b", "c"])]
    concepts = [
        Text(f"k{i}", name, "here", content)
        for i, (name, content) in enumerate([("k", "same"), ("k", "new"), ("other", "new")])
    ]
    stores = read_store(tmp_path / "store"), read_store(tmp_path / "concepts")
    inputs = Inputs(texts, stores[0], concepts, stores[1], empty_lens(1), [f"w{i}" for i in range(9)])
    table = run_analyses(inputs, AnalysisConfig(), tmp_path / "tables").tables["concepts"]
    # Of k's 5 and 2 against 1 and 3, of other's 4 against 5, 1 and 3.
    close(table["auroc"], [3 / 4, 2 / 3])
    close(table.loc[0, ["consistency_low", "consistency_high"]], reference.wilson(table.loc[0, "n_strong"], 2))


def test_labels_tell_what_is_special(tmp_path: Path) -> None:
    """Token 1 carries most of the activation but is everywhere; token 5 is rare and always active."""
    tokens = [[9, 1, 2, 1, 5], [3, 1, 4, 1, 6], [1, 7, 1, 8]]
    case = make_case([[[0], [2], [0], [2], [3]], [[0], [2], [0], [0], [0]], [[0]] * 4], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert row["token_rule"] == "w1"
    assert row["label"] == "w5 · w1"


def test_labels_name_the_character_of_a_broken_token(tmp_path: Path) -> None:
    content = "Hi 🙂 there"
    case = make_case([[[0], [4], [3], [0]]], tokens=[[0, 1, 2, 3]])
    reference.save_case(tmp_path / "store", case)
    np.save(tmp_path / "store" / "token_ends.npy", np.array([3, 4, 4, 10], np.int32))
    vocabulary = ["Hi ", "<0xF0><0x9F>", "<0x99><0x82>", " there"]
    store = read_store(tmp_path / "store")
    inputs = Inputs([Text("t", "c", "here", content)], store, [], None, empty_lens(1), vocabulary)
    table = run_analyses(inputs, AnalysisConfig(), tmp_path / "tables").tables["features"]
    assert table["label"].tolist() == ["🙂"]


def test_labels_name_a_category_only_where_it_is_clear(tmp_path: Path) -> None:
    inside, outside = [[[9.0, 0.0]]] * 20, [[[0.0, 0.0]]] * 19 + [[[0.0, 9.0]]]
    case = make_case(inside + outside, ["kept-apart"] * 20 + ["rest"] * 20, [[1]] * 40)
    labels = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["features"]["label"].tolist()
    assert labels == ["start of text · w1 (in kept apart)", "start of text · w1"]


def test_selective_ties_go_by_maximum_then_index(tmp_path: Path) -> None:
    rows = [[6.0, 7.0, 7.0, 9.0], [0.0, 0.0, 0.0, 9.0]]
    found = analyse_case(tmp_path, make_case([[r] for r in rows]), AnalysisConfig(strong=5.0))
    ranking = found.tables["rankings"].query("ranking == 'selective'")
    assert ranking["feature"].tolist() == [1, 2, 0, 3]
    assert ranking["value"].tolist() == [1, 1, 1, 2]


def test_strong_means_above_the_threshold(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[5.0, 5.5]], [[5.0, 0.0]]]), AnalysisConfig(strong=5.0))
    assert found.tables["features"]["n_texts_strong"].tolist() == [0, 1]


def test_massive_positions_by_hand(tmp_path: Path) -> None:
    activations = [[[1.0], [50.0], [2.0]], [[60.0]], [[0.0], [3.0]]]
    case = make_case(activations, None, [[7, 7, 8], [7], [9, 7]])
    case.norms[0][1] = case.norms[1][0] = 200.0
    residual = [np.array([[2.0, 0], [200, 0], [0, 2.0]]), np.array([[200.0, 0]]), np.array([[-2.0, 0], [0, -2.0]])]
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0), residual=residual)
    feature = found.tables["features"].loc[0]
    assert (feature["n_tokens"], feature["n_active"], feature["max"]) == (4, 3, 3)
    assert found.tables["texts"]["n_excluded"].tolist() == [1, 1, 0]
    assert found.tables["text_scores"]["text"].tolist() == ["t00", "t02"]
    assert found.health["excluded_positions"] == 2
    tokens = found.tables["tokens"]
    assert tokens[["token_id", "n_active", "n_occurrences"]].to_numpy().tolist() == [[7, 2, 2], [8, 1, 1]]
    close(found.health["norm_limit"], 8.0)
    close(found.health["explained_variance"], 1 - 4 / 16)


def test_mean_score_divides_by_counted_tokens(tmp_path: Path) -> None:
    case = make_case([[[1.0], [50.0], [2.0]], [[0.0], [4.0]], [[0.0], [0.0], [3.0]]])
    case.norms[0][1] = 200.0
    table = analyse_case(tmp_path, case, AnalysisConfig(text_score="mean")).tables["text_scores"]
    assert table["score"].tolist() == [1.5, 2, 1]
    assert table["position"].tolist() == [2, 1, 2]


def test_last_score_of_an_excluded_last_token_is_zero(tmp_path: Path) -> None:
    case = make_case([[[1.0], [50.0]], [[0.0], [4.0]], [[5.0], [0.0]]])
    case.norms[0][1] = 200.0
    table = analyse_case(tmp_path, case, AnalysisConfig(text_score="last")).tables["text_scores"]
    assert table[["text", "score", "position"]].to_numpy().tolist() == [["t01", 4, 1]]


def test_concepts_are_judged_by_the_corpus_median(tmp_path: Path) -> None:
    corpus = make_case([[[1.0]], [[2.0]], [[3.0]]])
    concepts = make_case([[[5.0]], [[6.0]]], ["k", "k"])
    concepts.norms[0][:], concepts.norms[1][:] = 100.0, 2.0
    row = analyse_case(tmp_path, corpus, AnalysisConfig(), concepts).tables["concepts"].iloc[0]
    assert (row["n_texts"], row["n_active"], row["mean_all"]) == (2, 1, 3)


def test_best_token_ties_go_by_the_smaller_id(tmp_path: Path) -> None:
    """Of 5 active tokens, token 3 has 1 (of 3) and token 4 has 2 (of 11): F1 is 2/8 and 4/16, exactly equal."""
    tokens = [3] * 3 + [4] * 11 + [5] * 20
    active = [[1.0]] + [[0.0]] * 2 + [[1.0]] * 2 + [[0.0]] * 9 + [[1.0]] * 2 + [[0.0]] * 18
    case = make_case([active], None, [tokens])
    assert reference.best_token(reference.token_figures(case, [[True] * 34], 0)) == 3
    found = analyse_case(tmp_path, case, AnalysisConfig())
    assert found.tables["features"]["token_rule"].tolist() == ["w3"]


def test_common_ties_go_by_activity_then_index(tmp_path: Path) -> None:
    """4/5 - 1/5 and 5/5 - 2/5 are equal, so the feature active on more texts of the category comes first."""
    inside = [[[1.0, 1.0]]] * 4 + [[[0.0, 1.0]]]
    outside = [[[1.0, 1.0]], [[0.0, 1.0]]] + [[[0.0, 0.0]]] * 3
    case = make_case(inside + outside, ["in"] * 5 + ["out"] * 5)
    ranking = analyse_case(tmp_path, case, AnalysisConfig()).tables["rankings"].query("ranking == 'common:in'")
    assert ranking["feature"].tolist() == [1, 0]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30)), min_size=1, max_size=8))
def test_best_token_on_random_counts(counts: list[tuple[int, int]]) -> None:
    """Ties are exact: two rules of equal F1 must not be told apart by rounding."""
    figures = {i: reference.TokenFigures(a, a + more, 1.0) for i, (a, more) in enumerate(counts)}
    n = len(figures)
    found = CodeCounts(
        np.zeros(n, np.int64),
        np.arange(n),
        np.array([f.n_active for f in figures.values()]),
        np.array([f.n_occurrences for f in figures.values()]),
        np.ones(n),
        np.arange(n),
    )
    assert best_rules(np.array([sum(a for a, _ in counts)]), found)["code"].tolist() == [reference.best_token(figures)]


@given(st.data())
def test_common_features_on_random_counts(data: st.DataObject) -> None:
    """Equal differences of rates are ties, whatever fractions they come from."""
    n_in, n_out = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    counts = data.draw(
        st.lists(st.tuples(st.integers(0, n_in), st.integers(0, n_out)), min_size=1, max_size=9).filter(any)
    )
    rows = pd.DataFrame(counts, columns=["active_inside", "active_outside"]).assign(
        category="c", n_inside=n_in, n_outside=n_out, balanced_score=0.0, auroc=0.5
    )
    rows["feature"] = np.arange(len(rows))
    features = pd.DataFrame(
        {"feature": rows["feature"], "n_active": 1, "max": 1.0, "n_texts_active": 1, "n_texts_strong": 0}
    )
    concepts = pd.DataFrame({name: [] for name in SCHEMAS["concepts"]})
    table = rank_features(features, rows, concepts, 50)
    common = [r for r in rows.itertuples() if r.active_inside * 2 > n_in]
    wanted = sorted(common, key=lambda r: (-more(r), -r.active_inside, r.feature))
    assert table.query("ranking == 'common:c'")["feature"].tolist() == [r.feature for r in wanted]


# Statistics


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_wilson_against_scipy(n: int, share: float) -> None:
    k = round(n * share)
    low, high = wilson(np.array([k]), n)
    interval = stats.binomtest(k, n).proportion_ci(0.95, method="wilson") if n < 10**5 else reference.wilson(k, n)
    close([low[0], high[0]], list(interval), rtol=1e-6, atol=1e-9)
    assert 0 <= low[0] <= k / n <= high[0] <= 1


def test_wilson_of_nothing() -> None:
    low, high = wilson(np.zeros(2), 0)
    assert (low.tolist(), high.tolist()) == ([0, 0], [1, 1])


SCORES = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.25, 3.0]), min_size=1, max_size=25)


@given(st.lists(SCORES, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_ranks_and_tests_against_scipy(columns: list[list[float]], seed: int) -> None:
    n = min(len(c) for c in columns)
    dense = np.array([c[:n] for c in columns]).T
    matrix = sparse.csc_matrix(dense)
    ranks, ties = column_ranks(matrix)
    wanted = stats.rankdata(dense, axis=0)
    np.testing.assert_array_equal(ranks.toarray()[dense > 0], wanted[dense > 0])
    for column in range(dense.shape[1]):
        sizes = np.unique(dense[:, column], return_counts=True)[1].tolist()
        assert ties[column] == sum(t**3 - t for t in sizes)
    inside = np.random.default_rng(seed).random(n) < 0.4
    sums = np.stack([wanted[inside].sum(0), wanted[~inside].sum(0)])
    sizes = np.array([[inside.sum()], [(~inside).sum()]])
    auroc, p = rank_sum_test(sums, sizes, n, ties)
    for column, scores in enumerate(dense.T):
        for group, member in enumerate((inside, ~inside)):
            mine, rest = scores[member].tolist(), scores[~member].tolist()
            close(auroc[group, column], reference.auroc(mine, rest), atol=1e-12)
            if not mine or not rest or len(set(mine + rest)) == 1:
                assert p[group, column] == 1
                continue
            close(p[group, column], stats.mannwhitneyu(mine, rest, method="asymptotic").pvalue, atol=1e-12)


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_category_table_on_random_scores(columns: list[list[float]], seed: int, strong: float) -> None:
    n = min(len(c) for c in columns)
    dense = np.array([c[:n] for c in columns]).T
    names = np.random.default_rng(seed).choice(["a", "b", "c"], n).tolist()
    table = categories_of(dense, names, strong)
    shown = [f for f in range(dense.shape[1]) if dense[:, f].any()]
    wanted = list(itertools.product(sorted(set(names)), shown))
    assert list(zip(table["category"], table["feature"], strict=True)) == wanted
    for row in table.itertuples():
        inside, outside = split(dense[:, row.feature], names, row.category)
        close(row.auroc, reference.auroc(inside, outside), atol=1e-12)
        assert (row.strong_inside, row.strong_outside) == (count(inside, strong), count(outside, strong))
        close([row.max_inside, row.mean_inside], [max(inside), sum(inside) / len(inside)])


def text_scores_of(dense: np.ndarray) -> TextScores:
    matrix = sparse.csc_matrix(dense.astype(np.float32))
    return TextScores(matrix, np.zeros(matrix.nnz, np.int32))


def categories_of(dense: np.ndarray, names: list[str], strong: float) -> pd.DataFrame:
    """The table of categories, made in two blocks of features."""
    scores, groups, second = text_scores_of(dense), TextGroups.of(names), second_half(names)
    half = dense.shape[1] // 2
    blocks = [(scores.block(0, half), 0), (scores.block(half, dense.shape[1]), half)]
    return category_table([category_rows(part, groups, second, strong, first) for part, first in blocks])


@given(SCORES, SCORES, SCORES, SCORES)
def test_concept_table_on_random_scores(a: list[float], b: list[float], c: list[float], d: list[float]) -> None:
    """Two features, concepts and corpus of any size, with many ties."""
    n, m = min(len(a), len(b)), min(len(c), len(d))
    concept, corpus = np.array([a[:n], b[:n]]).T, np.array([c[:m], d[:m]]).T
    names = ["x" if i % 3 else "y" for i in range(n)]
    common = np.zeros((len(set(names)), m), bool)
    table = concept_rows(text_scores_of(concept), TextGroups.of(names), text_scores_of(corpus), common, 0.75)
    for row in table.itertuples():
        scores, _ = split(concept[:, row.feature], names, row.concept)
        close(row.auroc, reference.auroc(scores, corpus[:, row.feature].tolist()), atol=1e-12)
        close(row.mean_all, sum(scores) / len(scores))
        close(row.mean_active, sum(scores) / sum(s > 0 for s in scores))
    fired = {(n, f) for n in set(names) for f in range(2) if any(split(concept[:, f], names, n)[0])}
    assert set(zip(table["concept"], table["feature"], strict=True)) == fired


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg(p: list[float]) -> None:
    found = benjamini_hochberg(np.array([p]))
    assert found.shape == (1, len(p))
    close(found[0], reference.benjamini_hochberg(p), atol=1e-300)


def test_benjamini_hochberg_of_nothing() -> None:
    assert benjamini_hochberg(np.zeros((3, 0))).shape == (3, 0)


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_explained_variance_of_random_residuals(n: int, d_in: int, seed: int) -> None:
    import tempfile

    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d_in)) + 1
    reconstruction = x + generator.normal(size=x.shape) * 0.3
    case = make_case([np.ones((n, 1))])
    case.norms[0] = np.linalg.norm(x, axis=1).astype(np.float32)
    case.squared_errors[0] = np.square(x - reconstruction).sum(1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_case(Path(folder), case, [x])
        found = explained_variance(include(read_store(Path(folder)), 1e6))
    close(found, reference.explained_variance(x, reconstruction), rtol=1e-4, atol=1e-4)
