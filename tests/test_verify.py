"""`verify`: correct sites pass, and every planted error is found."""

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reference
import test_models_hub
from conftest import CONSTANT, CONTEXT, D_SAE, SILENT, SaeKind

import saecatalog.verify
from saecatalog.cli import main
from saecatalog.judged import NO_FIGURES, UNJUDGED
from saecatalog.progress import Progress
from saecatalog.schemas import SCHEMAS, arrow_schema
from saecatalog.verify.evidence import Evidence, gather
from saecatalog.verify.pages import why_not
from saecatalog.verify.published import Published, choose_features
from saecatalog.verify.report import Report
from saecatalog.verify.run import CHECKS, run_checks
from saecatalog.verify.runner import Runner, SubjectSources, load_runner
from saecatalog.verify.sae import Sae

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CLOSE = 20
"""The feature whose threshold is moved next to an activation."""
SAMPLE = [*range(12), CLOSE]
"""The features that are checked for planted errors: those in which one is planted, because each takes time."""
GOOD, FOUND, MISTAKE = 0, 1, 2
QUIET = Progress(quiet=True)
hub = test_models_hub.hub


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def sites(workshop: Path, saes: Callable[..., Path]) -> Callable[..., Path]:
    """Returns the folder of a catalog built for a model, a kind of SAE and settings."""

    @cache
    def catalog(shape: str, kind: SaeKind, *words: str) -> Path:
        out = workshop / f"verify-{shape}-{kind.slug}-{'-'.join(words).strip('-')}"
        read = ["--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts"), "--notable", "6"]
        places = ["--cache", str(workshop / "verify-cache"), "--device", "cpu", "--quiet", "--out", str(out)]
        assert main(["build", "--sae", str(saes(shape, kind)), *read, *places, *words]) == GOOD
        (manifest,) = out.rglob("data/manifest.json")
        return manifest.parent.parent

    return catalog


@pytest.fixture(scope="module")
def site(sites: Callable[..., Path]) -> Path:
    """The catalog that most tests read; tests must not change it."""
    return sites("llama", SaeKind("jumprelu"))


@pytest.fixture(scope="module")
def runner(site: Path, workshop: Path) -> Runner:
    """The model and the SAE of that catalog, loaded once."""
    return load_runner(Published(site).manifest, SubjectSources(workshop / "verify-cache"))


@pytest.fixture
def copy(site: Path, tmp_path: Path) -> Path:
    """A copy of that catalog in another place, for tests to change."""
    return shutil.copytree(site, tmp_path / "elsewhere" / "copy")


@pytest.fixture
def figures(site: Path, tmp_path: Path) -> Path:
    """A copy, for tests to change, of what the checks of figures read: the data, and which features have pages."""
    for name in ("data", "features"):
        shutil.copytree(site / name, tmp_path / "figures" / name)
    return tmp_path / "figures"


def verify(capsys: pytest.CaptureFixture[str], workshop: Path, *words: str) -> tuple[int, str]:
    """Run the command; returns its exit code and output."""
    capsys.readouterr()
    code = main(["verify", *words, "--cache", str(workshop / "verify-cache"), "--quiet"])
    said = capsys.readouterr()
    return code, said.out + said.err


def in_json(capsys: pytest.CaptureFixture[str], workshop: Path, *words: str) -> Any:
    """What the command prints with --json if it finds a mismatch: nothing else may be on standard output."""
    capsys.readouterr()
    assert main(["verify", *words, "--cache", str(workshop / "verify-cache"), "--json"]) == FOUND
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def evidence(site: Path, runner: Runner) -> Evidence:
    """That catalog with its texts run again."""
    return gather(Published(site), runner, SAMPLE, Report(), QUIET)


def lines_of(catalog: Path, evidence: Evidence, table: str = "", again: bool = False) -> list[str]:
    """The mismatches that the checks of a table report for a changed copy; changed texts are run `again`."""
    published, report = Published(catalog), Report()
    published.report_problems(report)
    spoiled = replace(evidence, published=published, report=report)
    if again:
        spoiled = gather(published, evidence.runner, evidence.sample, report, QUIET)
    run_checks(spoiled, QUIET, [(check, tables) for check, tables in CHECKS if not table or table in tables])
    return [str(line) for line in report.found]


# Sites that are right

RIGHT: list[tuple[str, SaeKind, tuple[str, ...]]] = [
    ("llama", SaeKind("jumprelu"), ()),
    ("llama", SaeKind("standard"), ("--features", "all")),
    ("gpt2", SaeKind("standard", normalize="layer_norm"), ("--strong", "3.5")),
    ("gpt2", SaeKind("topk"), ("--top", "100")),
    ("llama", SaeKind("topk", rescale=True), ()),
    ("llama", SaeKind("gated", prepend_bos=False), ()),
    ("gpt2", SaeKind("batchtopk"), ("--text-score", "last")),
    ("llama", SaeKind("batchtopk", rescale=True), ("--text-score", "mean")),
    ("sink", SaeKind("gated"), ("--text-score", "mean", "--strong", "0.25", "--top", "3")),
    ("gemma", SaeKind("jumprelu"), ("--limit-tokens", "250")),
    ("gpt2", SaeKind("jumprelu", hook="blocks.1.hook_mlp_out"), ()),
    ("llama", SaeKind("standard", hook="blocks.2.attn.hook_z"), ("--concepts", "nowhere")),
]


@pytest.mark.parametrize(("shape", "kind", "words"), RIGHT, ids=lambda v: getattr(v, "slug", None) or "".join(v))
def test_a_right_site_is_found_right(
    shape: str,
    kind: SaeKind,
    words: tuple[str, ...],
    sites: Callable[..., Path],
    workshop: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalog = sites(shape, kind, *words)
    code, said = verify(capsys, workshop, str(catalog), "--sample", str(D_SAE))
    assert said.splitlines()[-1].startswith("Checked "), said
    assert said.endswith("; 0 mismatches\n"), said
    assert f"{D_SAE} features (of {D_SAE})" in said
    assert "not compared" not in said
    assert code == GOOD


def test_build_check_and_verify_count_pages_and_tokens_alike(
    sites: Callable[..., Path], saes: Callable[..., Path], workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A catalog with excluded tokens, texts in several windows that overlap, BOS in each, and a few chosen pages.

    All three commands agree with its tables and files.
    """
    words = ("--features", "1,2,3", "--overlap", "3", "--notable", "6")
    catalog = sites("sink", SaeKind("gated"), *words)
    texts, pages = pq.read_table(catalog / "data/texts.parquet").to_pandas(), list(catalog.rglob("*.html"))
    tokens, excluded = int(texts["n_tokens"].sum()), int(texts["n_excluded"].sum())
    settings = Published(catalog).settings
    assert excluded
    assert settings["overlap"] == 3
    assert texts["n_tokens"].max() > settings["context"]
    assert Published(catalog).manifest["sae"]["prepend_bos"]
    corpus = f"{len(texts):,} texts, {tokens:,} tokens ({tokens - excluded:,} counted); "
    of_pages = f"{len(pages):,} pages, 3 of them feature pages"
    features = pq.read_table(catalog / "data/features.parquet").to_pandas()
    assert set(features["n_tokens"]) == {tokens - excluded}
    assert (features["page"] != "").sum() == 3

    read = ["--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts")]
    places = ["--cache", str(workshop / "verify-cache"), "--device", "cpu"]
    capsys.readouterr()
    out = ["--out", str(catalog.parent.parent)]
    assert main(["build", "--sae", str(saes("sink", SaeKind("gated"))), *read, *places, *out, *words]) == GOOD
    built = capsys.readouterr().out
    assert main(["check", str(catalog.parent.parent)]) == GOOD
    checked = capsys.readouterr().out
    verified = verify(capsys, workshop, str(catalog), "--sample", "2")[1]
    for said in (built, checked, verified):
        assert corpus in said
        assert of_pages in said


def test_every_catalog_of_a_site_that_was_moved(
    sites: Callable[..., Path], tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sites("llama", SaeKind("jumprelu")), tmp_path / "moved" / "a" / "one")
    shutil.copytree(sites("gpt2", SaeKind("topk"), "--top", "100"), tmp_path / "moved" / "b" / "two")
    code, said = verify(capsys, workshop, str(tmp_path / "moved"), "--sample", "3")
    assert said.count("Checked ") == 2
    assert code == GOOD


def test_the_model_and_the_sae_may_lie_elsewhere(
    copy: Path, models: Callable, saes: Callable, tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(models("llama"), tmp_path / "model")
    sae = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    change_manifest(copy, lambda m: (m["model"].update(source="/gone/model"), m["sae"].update(name="/gone/sae")))
    code, said = verify(capsys, workshop, str(copy))
    assert code == MISTAKE
    assert "/gone/sae" in said
    words = ["--model", str(model), "--sae", str(sae)]
    code, said = verify(capsys, workshop, str(copy), "--sample", "2", *words)
    # The pages were made with the old names.
    assert all(line.endswith(".html: differs from its data") for line in said.splitlines()[:-1])
    assert code == FOUND


def test_other_weights_are_found_out(
    site: Path, saes: Callable, tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import load_file, save_file

    sae = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    weights = load_file(sae / "sae_weights.safetensors")
    weights["b_enc"] = weights["b_enc"] + np.float32(1e-6)
    save_file(weights, sae / "sae_weights.safetensors")
    code, said = verify(capsys, workshop, str(site), "--sae", str(sae), "--sample", "2")
    assert code == FOUND
    assert "manifest.json, sae.weights_sha256: published" in said


def test_a_site_of_the_hub(
    hub: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPT-2 by its alias, and an SAE that expects everything written to the residual stream to have mean 0."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
    corpus = ["--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts"), "--device", "cpu"]
    cache, site = ["--cache", str(tmp_path / "cache"), "--quiet"], str(tmp_path / "site")
    assert main(["build", "--sae", test_models_hub.SAE, *corpus, *cache, "--out", site]) == GOOD
    assert main(["verify", site, "--sample", "1000", *cache]) == GOOD
    assert capsys.readouterr().out.endswith("; 0 mismatches\n")


# The sample


def test_the_sample_is_always_the_same_and_covers_the_extremes(site: Path) -> None:
    published = Published(site)
    table = published["features"]
    fired = table[table["n_active"] > 0]
    chosen = choose_features(published, 8)
    assert chosen == choose_features(Published(site), 8)
    assert len(set(chosen)) == 8
    assert {SILENT, CONSTANT} <= set(chosen)
    assert int(table["max"].idxmax()) in chosen
    assert fired["n_active"].min() in fired.loc[fired["feature"].isin(chosen), "n_active"].to_list()
    assert choose_features(published, 10**6) == list(range(D_SAE))
    assert len(choose_features(published, 1)) == 1


# Planted errors


def change_table(catalog: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Read a table, change it in place or replace it, and write it back."""
    path = catalog / "data" / f"{name}.parquet"
    table = pq.read_table(path).to_pandas()
    changed = change(table)
    table = table if changed is None else changed
    pq.write_table(pa.Table.from_pandas(table, schema=arrow_schema(name), preserve_index=False), path)


def change_manifest(catalog: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = catalog / "data" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def put(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], None]:
    """A change of one cell: to a value, or to the result of a function of the old one."""

    def change(table: pd.DataFrame) -> None:
        old = table.at[row, column]
        table.at[row, column] = value(old) if callable(value) else value

    return change


def swap(column: str, a: int, b: int) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[[a, b], column] = table.loc[[b, a], column].to_numpy()

    return change


def drop(row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.drop(index=row)


def explain(table: pd.DataFrame) -> pd.DataFrame:
    row = {"feature": 3, "rank": 0, "description": "x", "model": "", "type": "", "source": "", "unscored": "not judged"}
    row |= UNJUDGED._asdict() | NO_FIGURES
    return pd.concat([table, pd.DataFrame([row])], ignore_index=True)


def mean_over_active(table: pd.DataFrame) -> None:
    """The sum divided by the number of texts that fired: the mistake that `mean_inside` warns about."""
    active = table["active_inside"].clip(lower=1)
    table["mean_inside"] = (table["mean_inside"] * table["n_inside"] / active).astype(np.float32)


def sum_for_mean(table: pd.DataFrame) -> None:
    """A sum that is labelled as a mean."""
    table["mean_all"] = table["mean_all"] * table["n_texts"].astype(np.float32)


def one_percent(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[:1] * np.float32(1.01), values[1:]])


def move_one(counts: np.ndarray) -> np.ndarray:
    """One value in the wrong bin."""
    changed, full = counts.copy(), int(np.flatnonzero(counts)[0])
    changed[full] -= 1
    changed[(full + 1) % len(counts)] += 1
    return changed


def to_a_silent_token(table: pd.DataFrame) -> None:
    """Moves an example to a token of its window on which the feature is silent."""
    for row in table.itertuples():
        silent = [i for i in range(row.window_start, row.window_end) if i not in row.active_positions]
        if silent:
            table.loc[row.Index, "position"] = silent[0]
            return


def forget_what_is_not_shown(table: pd.DataFrame) -> None:
    """Makes an example list only activations in the part shown, as if the rest of its text were silent."""
    for row in table.itertuples():
        kept = (row.active_positions >= row.window_start) & (row.active_positions < row.window_end)
        if not kept.all():
            table.at[row.Index, "active_positions"] = row.active_positions[kept]
            table.at[row.Index, "active_values"] = row.active_values[kept]
            return
    raise AssertionError("no example is active beyond the part shown")


def smallest_p_of_0(table: pd.DataFrame) -> None:
    """The smallest of the sampled features, rounded to 0."""
    sampled = table["feature"].isin(SAMPLE)
    put("p_value", int(table.loc[sampled, "p_value"].idxmin()), 0.0)(table)


def swap_leaders(table: pd.DataFrame) -> None:
    """Swaps the two strongest features."""
    first = int(table["ranking"].eq("strongest").idxmax())
    swap("feature", first, first + 1)(table)


def far_text(table: pd.DataFrame) -> pd.DataFrame:
    """Removes an example of the strongest feature and renumbers the ranks."""
    table = table.drop(index=1).reset_index(drop=True)
    table.loc[1 : table["feature"].ne(table["feature"][0]).idxmax() - 1, "rank"] -= 1
    return table


@dataclass(frozen=True)
class Planted:
    """A planted error: where it is, how it is made, and what the report must name."""

    name: str
    table: str
    change: Callable[[pd.DataFrame], pd.DataFrame | None]
    said: str
    """Table, place and column as the report must name them."""


PLANTED = [
    Planted("n_active", "features", put("n_active", 5, lambda n: n + 1), "features.parquet, feature 5, n_active"),
    Planted("swapped features", "features", swap("feature", 7, 8), "features.parquet, feature: published"),
    Planted("swapped columns", "features", swap("q50", 7, 8), "features.parquet, feature 7, q50"),
    Planted("density rounded", "features", lambda t: t.assign(density=t["density"].round(3)), "density: published"),
    Planted("interval", "features", put("density_high", 9, 1.0), "features.parquet, feature 9, density_high"),
    Planted("rule of three", "features", put("silent_below", SILENT, 0.0), f"feature {SILENT}, silent_below"),
    Planted("largest", "features", put("max", 6, lambda v: v * 1.01), "features.parquet, feature 6, max"),
    Planted("spread", "features", put("std_active", 6, lambda v: v * 1.01), "feature 6, std_active"),
    Planted("top text", "features", put("top_text", 6, "prose-0"), "features.parquet, feature 6, top_text"),
    Planted("token rule", "features", put("token_rule", 6, "q"), "features.parquet, feature 6, token_rule"),
    Planted("invented bigram", "features", put("bigram_first", 6, "q"), "features.parquet, feature 6, bigram_first"),
    Planted("bigram recall", "features", put("bigram_recall", 6, 0.123), "feature 6, bigram_recall"),
    Planted("start share", "features", put("start_share", 6, 0.9), "features.parquet, feature 6, start_share"),
    Planted("skew", "features", put("logit_skew", 6, lambda v: v + 0.1), "feature 6, logit_skew"),
    Planted("label", "features", put("label", SILENT, "dead"), f"features.parquet, feature {SILENT}, label"),
    Planted("token's F1", "features", put("token_f1", 6, lambda v: v + 0.01), "feature 6, token_f1"),
    Planted("token's share", "features", put("token_share", 6, lambda v: v + 0.01), "feature 6, token_share"),
    Planted("label's half", "features", put("label_half", 6, ""), "feature 6, label_half"),
    Planted("label's precision", "features", put("label_precision", 6, lambda v: v + 0.01), "6, label_precision"),
    Planted("label's share", "features", put("label_share", 6, lambda v: v + 0.01), "feature 6, label_share"),
    Planted("rule of another", "features", swap("label_rule", 6, 7), "feature 6, label_recall"),
    Planted("words of another", "features", put("label", 6, "emoji"), "feature 6, label"),
    Planted("clearness", "features", put("clearness", 6, lambda v: v + 0.01), "feature 6, clearness"),
    Planted("end of clearness", "features", put("clearness_high", 6, 1.0), "feature 6, clearness_high"),
    Planted("reason", "features", put("notable", SILENT, "strongest"), f"feature {SILENT}, notable"),
    Planted("page", "features", put("page", SILENT, ""), f"feature {SILENT}, page"),
    Planted("position", "contexts", put("position", 0, lambda p: p + 1), "contexts.parquet, feature 1, top 0"),
    Planted("silent token", "contexts", to_a_silent_token, "position: the feature is silent at token"),
    Planted("context category", "contexts", put("category", 0, "news"), "contexts.parquet, feature 1, top 0, category"),
    Planted("context token", "contexts", put("token", 0, "zz"), "contexts.parquet, feature 1, top 0, token"),
    Planted("context value", "contexts", put("activation", 0, lambda v: v * 1.01), "feature 1, top 0, activation"),
    Planted("only the window", "contexts", forget_what_is_not_shown, "active_positions: published ["),
    Planted("one of many", "contexts", put("active_values", 0, one_percent), "feature 1, top 0, active_values"),
    Planted(
        "window", "contexts", put("window_end", 0, lambda w: w - 1), "contexts.parquet, feature 1, top 0, window_end"
    ),
    Planted("similar", "contexts", put("similar_hidden", 0, lambda n: n + 1), "feature 1, top 0, similar_hidden"),
    Planted("swapped ranks", "contexts", swap("rank", 0, 1), "contexts.parquet, feature 1, rank: published [1, 0"),
    Planted("left out", "contexts", far_text, "contexts.parquet, feature 1, text"),
    Planted("histogram", "histograms", put("counts", 4, move_one), "histograms.parquet, feature 5, counts["),
    Planted("token count", "tokens", put("n_occurrences", 3, lambda n: n + 1), "token"),
    Planted("token share", "tokens", put("share", 3, lambda v: v * 1.01), "share: published"),
    Planted("tokens swapped", "tokens", swap("token_id", 0, 1), "tokens.parquet, feature 1, token_id"),
    Planted("score", "text_scores", put("score", 11, lambda v: v * np.float32(1.01)), "score: published"),
    Planted("score's place", "text_scores", put("position", 200, lambda p: p + 1), "position: published"),
    Planted("score of another", "text_scores", swap("feature", 0, len("feature") * 100), "text_scores.parquet"),
    Planted("score missing", "text_scores", drop(20), "score: published nothing"),
    Planted("top of a text", "text_top", swap("feature", 0, 1), "text_top.parquet, code-"),
    Planted("value in a text", "text_top", put("active_values", 2, one_percent), "active_values"),
    Planted("category of a text", "texts", put("category", 0, "prose"), "texts.parquet, code-"),
    Planted("content", "texts", put("content", 0, lambda c: c + "!"), "manifest.json, corpus.sha256"),
    Planted("ends", "texts", put("token_ends", 2, lambda e: e - 1), "token_ends: published"),
    Planted("BOS counted", "texts", lambda t: t.assign(n_tokens=t["n_tokens"] + 1), "n_tokens: published"),
    Planted("half", "texts", put("half", 3, "third"), "half: published 'third'"),
    Planted("hit", "detection", put("n_hit", 3, lambda n: n + 1), "label, n_hit: published"),
    Planted("matched text", "detection", put("n_texts_matched", 3, lambda n: n + 1), "label, n_texts_hit: published"),
    Planted("share", "detection", put("share", 3, lambda v: v + 0.001), "label, share: published"),
    Planted("rule's AUROC", "detection", put("token_auroc", 3, lambda v: v - 0.001), "label, token_auroc: published"),
    Planted("AUROC on texts", "detection", put("text_auroc", 3, lambda v: v - 0.001), "label, text_auroc: published"),
    Planted("control", "detection", put("shuffled_high", 3, lambda v: v - 0.001), "label, shuffled_high: published"),
    Planted("untested", "detection", drop(3), "detection.parquet, feature: published"),
    Planted("mean of active", "categories", mean_over_active, "mean_inside: published"),
    Planted("p of 0", "categories", smallest_p_of_0, "p_value: published 0"),
    Planted("q", "categories", put("q_value", 4, lambda q: q / 2), "q_value: published"),
    Planted("AUROC", "categories", put("auroc", 4, lambda v: v + 0.001), "auroc: published"),
    Planted("AUROC's interval", "categories", put("auroc_low", 4, lambda v: v + 0.001), "auroc_low: published"),
    Planted("sources", "categories", put("sources_outside", 4, lambda n: n + 1), "sources_outside: published"),
    Planted("file of a text", "texts", put("file", 0, "elsewhere.txt"), "file: the source names another file"),
    Planted("balanced", "categories", put("balanced_score", 4, lambda v: v + 1), "balanced_score: published"),
    Planted("lift", "categories", put("lift", 4, 7.5), "lift: published 7.5"),
    Planted("held out", "categories", put("held_out", 4, "first or so"), "held_out: published"),
    Planted("found both", "held_out", put("found_both", 1, lambda n: n + 1), "held_out.parquet, letters, found_both"),
    Planted("expected", "held_out", put("expected_both", 2, 99.0), "held_out.parquet, prose, expected_both"),
    Planted("pair missing", "coactivation", drop(0), "is missing"),
    Planted("pair count", "coactivation", put("n_both", 0, lambda n: n - 1), "n_both: published"),
    Planted("phi", "coactivation", put("phi", 3, lambda v: v * 0.99), "phi: published"),
    Planted("pair of others", "coactivation", put("feature_b", 0, D_SAE - 1), "coactivation.parquet, token, "),
    Planted("cluster", "clusters", drop(0), "clusters.parquet, cluster 0, feature"),
    Planted("sum for mean", "concepts", sum_for_mean, "mean_all: published"),
    Planted("consistency", "concepts", put("consistency", 2, 0.77), "consistency: published 0.77"),
    Planted("contrast", "concepts", put("auroc", 2, lambda v: v - 0.01), "auroc: published"),
    Planted("concept missing", "concepts", drop(3), "feature: the row is missing"),
    Planted("concept text", "concept_texts", put("n_tokens", 0, 99), "concept_texts.parquet, animals-"),
    Planted("promoted", "logits", swap("token_id", 0, 1), "logits.parquet, feature 0, promoted"),
    Planted("logit", "logits", put("logit", 1, lambda v: v * 1.01), "logits.parquet, feature 0, promoted 1, logit"),
    Planted("effects", "logit_histograms", put("counts", 3, move_one), "logit_histograms.parquet, feature 3, counts["),
    Planted("neighbour", "neighbours", put("neighbour", 0, lambda n: (n + 7) % D_SAE), "neighbours.parquet, feature 0"),
    Planted(
        "cosine", "neighbours", put("cosine", 0, lambda v: v - 0.01), "neighbours.parquet, feature 0, rank 0, cosine"
    ),
    Planted("ranking", "rankings", swap_leaders, "rankings.parquet, strongest, feature: published"),
    Planted("value", "rankings", put("value", 0, 77.0), "value: published 77"),
    Planted("explanation", "explanations", explain, "explanations.parquet: 1 rows, but the manifest names 0"),
    Planted("outside", "rankings", put("feature", 0, D_SAE), "outside the dictionary"),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_a_planted_error_is_found(planted: Planted, figures: Path, evidence: Evidence) -> None:
    change_table(figures, planted.table, planted.change)
    lines = lines_of(figures, evidence, planted.table, again=planted.table in ("texts", "concept_texts"))
    assert any(planted.said in line for line in lines), lines[:20]
    assert any(line.startswith(f"{planted.table}.parquet") for line in lines) or "manifest" in planted.said


def test_every_table_is_read_by_a_check() -> None:
    assert {table for _, tables in CHECKS for table in tables} == set(SCHEMAS)


def test_nothing_is_found_where_nothing_was_planted(figures: Path, evidence: Evidence) -> None:
    for name in SCHEMAS:
        change_table(figures, name, lambda table: None)
    assert lines_of(figures, evidence) == []


FACTS = [
    ("health", "explained_variance", lambda v: v + 0.001),
    ("health", "l0_mean", lambda v: v * 1.01),
    ("health", "l0_std", lambda v: v * 1.01),
    ("health", "silent", lambda v: v + 1),
    ("health", "excluded_positions", lambda v: v + 1),
    ("health", "norm_median", lambda v: v * 1.01),
    ("health", "norm_limit", lambda v: v * 1.1),
    ("health", "density_counts", lambda v: [v[-1], *v[:-1]]),
    ("counts", "tokens", lambda v: v + 1),
    ("counts", "features_fired", lambda v: v - 1),
    ("counts", "notable", lambda v: v - 1),
    ("corpus", "tokens", lambda v: v + 1),
    ("corpus", "categories", lambda v: {**v, "prose": {"texts": 1, "tokens": 1}}),
    ("settings", "strong_threshold", lambda v: v * 1.1),
    ("sae", "architecture", lambda v: "standard"),
    ("sae", "hook", lambda v: v.replace("2", "1")),
    ("sae", "prepend_bos", lambda v: not v),
]


@pytest.mark.parametrize(("part", "key", "change"), FACTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_fact_of_the_manifest_is_found(
    part: str, key: str, change: Callable[[Any], Any], figures: Path, evidence: Evidence
) -> None:
    change_manifest(figures, lambda manifest: manifest[part].update({key: change(manifest[part][key])}))
    lines = lines_of(figures, evidence, "features", again=key == "norm_limit")
    assert any(line.startswith(f"manifest.json, {part}.{key}") for line in lines), lines[:20]


def test_a_missing_column_and_a_missing_table_are_told(figures: Path, evidence: Evidence) -> None:
    path = figures / "data" / "features.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["bigram_first"]), path)
    (figures / "data" / "clusters.parquet").unlink()
    (figures / "data" / "logits.parquet").write_bytes(b"PAR1")
    lines = lines_of(figures, evidence)
    assert "features.parquet: features.parquet has no column bigram_first" in lines
    assert "clusters.parquet: the file is missing" in lines
    assert any(line.startswith("logits.parquet: the file cannot be read") for line in lines)
    assert len(lines) == 3


def test_a_catalog_of_a_version_that_knew_neither_overlap_nor_special_tokens(figures: Path, evidence: Evidence) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        for part, names in (("sae", ("hook_out", "d_out", "cross_layer")), ("settings", ("overlap", "special_tokens"))):
            for name in names:
                del manifest[part][name]
        del manifest["model"]["library"]

    change_manifest(figures, forget)
    for name, columns in (("texts", ["title", "link", "special_tokens"]), ("concept_texts", ["special_tokens"])):
        path = figures / "data" / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(columns), path)
    assert lines_of(figures, evidence, again=True) == []
    change_manifest(figures, lambda manifest: manifest["settings"].update(special_tokens=False))
    assert "texts.parquet: texts.parquet has no column special_tokens" in lines_of(figures, evidence)


def test_a_change_of_a_page_is_found(copy: Path, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = next(p for p in sorted((copy / "features").glob("*.html")) if p.stem.isdigit())
    page.write_text(page.read_text(encoding="utf-8").replace("0", "1"), encoding="utf-8")
    (copy / "texts" / "mine.html").write_text("mine", encoding="utf-8")
    script = min((copy / "texts").glob("*.js"))
    script.write_text(script.read_text(encoding="utf-8").replace("9", "8"), encoding="utf-8")
    (copy / "about.html").unlink()
    names = copy / "charts" / "names.js"
    names.write_text(names.read_text(encoding="utf-8") + " ", encoding="utf-8")
    code, said = verify(capsys, workshop, str(copy), "--sample", "2")
    assert code == FOUND
    assert said.splitlines()[:5] == [
        "about.html: missing, although the data requires it",
        "charts/names.js: differs from its data",
        f"features/{page.name}: differs from its data",
        f"texts/{script.name}: differs from its data",
        "texts/mine.html: nothing in the data requires this file",
    ]
    assert said.splitlines()[-1].endswith("5 mismatches")


def test_pages_of_another_version_are_not_compared(copy: Path, workshop: Path, capsys: Any) -> None:
    change_manifest(copy, lambda manifest: manifest["program"].update(version="0.0.1"))
    (copy / "about.html").unlink()
    code, said = verify(capsys, workshop, str(copy), "--sample", "1")
    assert "The pages were not compared: the site was written by version 0.0.1" in said
    assert code == GOOD


def test_pages_of_other_templates_are_not_compared(copy: Path) -> None:
    assert why_not(Published(copy)) == ""
    path = copy / "data" / "files.json"
    made_of = json.loads(path.read_text(encoding="utf-8"))
    made_of["templates"]["about.html"] = "0" * 24
    path.write_text(json.dumps(made_of), encoding="utf-8")
    assert "other page templates" in why_not(Published(copy))


# Open decisions


@pytest.mark.parametrize("shift", [1e-7, 1e-3])
@pytest.mark.parametrize("side", ["active", "silent"])
def test_an_activation_too_close_to_call_is_no_mismatch(
    side: str, shift: float, site: Path, evidence: Evidence, texts: list[Any], models: Callable
) -> None:
    """A threshold is moved just beyond one activation, so that the recomputed decision differs."""
    feature = CLOSE
    runner, folder = evidence.runner, models("llama")
    rows = [reference.residuals(folder, runner.hook, t.content, CONTEXT, runner.bos)[1] for t in texts]
    before = np.concatenate([x @ runner.sae.w["W_enc"] for x in rows])[:, feature] + runner.sae.w["b_enc"][feature]
    if runner.sae.config["apply_b_dec_to_input"]:
        before -= runner.sae.w["b_dec"] @ runner.sae.w["W_enc"][:, feature]
    old = runner.sae.w["threshold"][feature]
    new = before[before > old].min() + shift if side == "active" else before[before <= old].max() - shift
    moved = Sae(runner.sae.config, {**runner.sae.w, "threshold": runner.sae.w["threshold"].copy()})
    moved.w["threshold"][feature] = new
    spoiled = gather(Published(site), replace(runner, sae=moved), evidence.sample, Report(), QUIET)
    run_checks(spoiled, QUIET)
    lines = [str(line) for line in spoiled.report.found]
    if shift < 1e-5:
        assert lines == []
        assert spoiled.seen.n_undecided == 1
    else:
        assert any(line.startswith(f"features.parquet, feature {feature}, n_active") for line in lines)


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "site folder does not exist"),
        (["tests"], "contains no catalog"),
        (["{site}", "--sample", "0"], "--sample 0"),
        (["{site}", "--sae", "nowhere"], "No SAE release or folder has this name"),
        (["{site}", "--model", "tests"], "model cannot be loaded"),
    ],
)
def test_a_mistake_is_told(
    words: list[str], said: str, site: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = verify(capsys, workshop, *(word.format(site=site) for word in words))
    assert code == MISTAKE
    assert said in told
    assert "Traceback" not in told


def test_a_broken_manifest_is_told(copy: Path, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_manifest(copy, lambda manifest: manifest["health"].pop("norm_limit"))
    code, said = verify(capsys, workshop, str(copy))
    assert code == MISTAKE
    assert "The manifest lacks health.norm_limit." in said
    (copy / "data" / "manifest.json").write_text("{", encoding="utf-8")
    code, said = verify(capsys, workshop, str(copy))
    assert code == MISTAKE
    assert "The manifest cannot be read." in said


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda c: (c / "data/manifest.json").unlink(), "The manifest cannot be read."),
    "no manifest and no list": (
        lambda c: [(c / "data" / name).unlink() for name in ("manifest.json", "files.json")],
        "The manifest cannot be read.",
    ),
    "manifest cut": (lambda c: (c / "data/manifest.json").write_text("{"), "The manifest cannot be read."),
    "manifest of another kind": (lambda c: (c / "data/manifest.json").write_text("[]"), "The manifest cannot be read."),
    "part of another kind": (lambda c: change_manifest(c, lambda m: m.update(sae=[])), "The manifest lacks sae.name"),
    "unknown hook": (
        lambda c: change_manifest(c, lambda m: m["sae"].update(hook="blocks.2.hook_nonsense")),
        "does not support this SAE",
    ),
    "hook that is no hook": (lambda c: change_manifest(c, lambda m: m["sae"].update(hook="x")), "support this SAE"),
    "model missing": (
        lambda c: change_manifest(c, lambda m: m["model"].update(source="/none", name="none")),
        "The model",
    ),
    "number format": (
        lambda c: change_manifest(c, lambda m: m["settings"].update(dtype="int3")),
        "settings.dtype int3",
    ),
    "no width": (lambda c: change_manifest(c, lambda m: m["sae"].update(d_sae="wide")), "ValueError: "),
    "no context": (lambda c: change_manifest(c, lambda m: m["settings"].update(context=1)), "could not be verified. "),
    "no limit": (lambda c: change_manifest(c, lambda m: m["health"].update(norm_limit=None)), "TypeError: "),
}


def test_catalogs_that_cannot_be_verified_do_not_stop_the_others(
    site: Path, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    good = shutil.copytree(site, whole / "m" / "good")
    shutil.copytree(site, whole / "m" / ".good-abc")
    for name, (spoil, _) in BROKEN.items():
        spoil(shutil.copytree(site, whole / "m" / name))
    code, said = verify(capsys, workshop, str(whole), "--sample", "1")
    assert code == MISTAKE
    assert ".good-abc" not in said
    assert said.count("error: ") == len(BROKEN)
    for name, (_, words) in BROKEN.items():
        (part,) = [part for part in said.split("error: ") if part.startswith(f"{whole / 'm' / name} could not be")]
        assert words in part, name
    assert said.startswith("m/good:\nChecked ")
    table = pd.read_parquet(good / "data" / "features.parquet")
    table.assign(max=table["max"] * 2).to_parquet(good / "data" / "features.parquet")
    found = in_json(capsys, workshop, str(whole), "--sample", "1")
    assert {fact["folder"] for fact in found if "error" in fact} == {f"m/{name}" for name in BROKEN}
    (told,) = [fact for fact in found if "error" not in fact]
    assert told["folder"] == "m/good"
    assert "features.parquet" in {mismatch["table"] for mismatch in told["mismatches"]}
    assert told["texts"] == len(pd.read_parquet(good / "data" / "texts.parquet"))
    assert (told["features"], told["d_sae"]) == (1, D_SAE)


# Independence


VERIFY = Path(saecatalog.verify.__file__).parent
TESTS = ROOT / "tests"
REFERENCE = {
    VERIFY / "formulas.py": set(),
    VERIFY / "tokens.py": set(),
    VERIFY / "places.py": set(),
    VERIFY / "model.py": {"saecatalog.verify.places"},
    VERIFY / "encoded.py": set(),
    VERIFY / "pursuit.py": {"saecatalog.verify.encoded"},
    VERIFY / "sae.py": {"saecatalog.verify.encoded", "saecatalog.verify.pursuit"},
    TESTS / "reference.py": {f"saecatalog.verify.{name}" for name in ("tokens", "model", "sae")},
    TESTS / "cases.py": {"saecatalog.verify.formulas"},
}
"""The modules of the slow reference, and what each may import of the package."""


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports or imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    return found


def test_the_reference_stands_alone() -> None:
    """It imports nothing from the package; the additions for tests import only the reference itself."""
    for path, allowed in REFERENCE.items():
        imported = imports_of(path)
        assert imported
        assert {name for name in imported if name.split(".")[0] == "saecatalog"} == allowed
        assert not {name.split(".")[0] for name in imported} & {"sae_lens", "transformer_lens", "importlib"}


def test_no_check_takes_its_figures_from_the_analyses() -> None:
    for path in VERIFY.glob("*.py"):
        assert "saecatalog.analysis" not in path.read_text(encoding="utf-8"), path.name
