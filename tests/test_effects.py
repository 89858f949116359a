"""Effects by ablation, against one context at a time with plain hooks."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from conftest import CONTEXT, SILENT, SaeKind
from harvesting import run

from saecatalog.config import EffectsConfig
from saecatalog.effects import EFFECTS, ablation, stage
from saecatalog.effects.kept import PART
from saecatalog.effects.proof import check_resuming
from saecatalog.effects.stage import Job, measure_effects
from saecatalog.models.language_model import NoSuchHook
from saecatalog.progress import noticed_by
from saecatalog.store import Store, read_store
from saecatalog.tables import Tables
from saecatalog.verify.ablation import REACH, Context, contribution, control, divergence, log_probabilities

KINDS = {
    "llama": SaeKind("standard"),
    "gpt2": SaeKind("jumprelu", hook="blocks.1.hook_mlp_out"),
    "gemma": SaeKind("standard", hook="blocks.1.hook_attn_out", normalize="layer_norm"),
    "sink": SaeKind("gated", hook="blocks.2.hook_resid_post"),
}
FEATURES = (2, 5, 11, 17, 30)
CONTEXTS = 12


class Nowhere:
    """A bar that shows nothing."""

    def __init__(self) -> None:
        self.done = 0

    def update(self, n: int = 1) -> None:
        self.done += n


class Stops(Nowhere):
    """Interrupts the run before it is done."""

    def update(self, n: int = 1) -> None:
        super().update(n)
        if self.done > 30:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def measure(subjects: Callable, texts: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tables]:
    """Returns the tables of effects of a model's kind of SAE."""

    @cache
    def harvested(shape: str, kind: SaeKind) -> Store:
        return read_store(run(subjects(shape, kind), texts, tmp_path_factory.mktemp("effects") / "store"))

    def measured(
        shape: str,
        features: tuple[int, ...] = FEATURES,
        kept: Path | None = None,
        kind: SaeKind | None = None,
        bar: Any = None,
        remote: Any = None,
        **settings: Any,
    ) -> Tables:
        kind = kind or KINDS[shape]
        folder = tmp_path_factory.mktemp("effects")
        kept = kept or tmp_path_factory.mktemp("kept")
        config = EffectsConfig("notable", **{"contexts": CONTEXTS, **settings})
        job = Job(subjects(shape, kind), texts, harvested(shape, kind), features, config, 4.0, 256, remote)
        measure_effects(job, folder, kept, lambda n: nullcontext(bar or Nowhere()))
        return Tables(folder)

    return measured


@pytest.fixture(scope="session")
def found(measure: Callable) -> Callable[[str], Tables]:
    return cache(lambda shape: measure(shape))


class Slow:
    """One model's contexts, one at a time."""

    def __init__(self, shape: str, models: Callable, saes: Callable, texts: list[Any]):
        self.kind = KINDS[shape]
        self.folder, self.sae_folder = models(shape), saes(shape, self.kind)
        self.model, self.sae = reference.model_of(self.folder), reference.sae_of(self.sae_folder)
        self.texts = {text.id: text for text in texts}
        self.median = np.median(np.concatenate([np.linalg.norm(self.values(text.id)[1], axis=1) for text in texts]))

    def values(self, text: str) -> tuple[list[int], np.ndarray]:
        bos = reference.bos_of(self.folder)
        return reference.residuals(self.folder, self.kind.hook, self.texts[text].content, CONTEXT, bos)

    def context(self, text: str, position: int, feature: int) -> Context:
        """The window of a token up to it, with what the feature adds at the last tokens that are not massive."""
        ids, read = self.values(text)
        start = position - position % (CONTEXT - 1)
        mine = read[start : position + 1]
        active = reference.encode(self.sae_folder, mine)[:, feature]
        active[np.linalg.norm(mine, axis=1) > 5 * self.median] = 0
        active[:-REACH] = 0
        window = [reference.bos_of(self.folder), *ids[start : position + 1]]
        # What is read at BOS is never used.
        return Context(window, np.concatenate([mine[:1], mine]), np.concatenate([[0.0], active]))

    def log_p(self, context: Context, removed: np.ndarray) -> np.ndarray:
        return log_probabilities(self.model, self.kind.hook, context.ids, removed)


@pytest.mark.parametrize("shape", KINDS)
def test_every_context_is_as_computed_slowly(
    shape: str, found: Callable, models: Callable, saes: Callable, texts: list[Any]
) -> None:
    slow, table = Slow(shape, models, saes, texts), found(shape)["effect_contexts"]
    assert len(table) > 40
    changes: dict[int, list[np.ndarray]] = {}
    for row in table.itertuples():
        context = slow.context(row.text, row.position, row.feature)
        own = contribution(slow.sae, context.read, row.feature, context.activations)
        with_, without = slow.log_p(context, np.zeros_like(own)), slow.log_p(context, own)
        assert row.activation == pytest.approx(context.activations[-1], rel=1e-4)
        assert row.kl == pytest.approx(divergence(with_, without), abs=2e-5, rel=2e-3)
        assert row.kl > 1e-6
        changes.setdefault(row.feature, []).append(with_ - without)
        ids = slow.values(row.text)[0]
        if row.position + 1 < len(ids):
            following = ids[row.position + 1]
            assert row.next_token == reference.token_text(slow.folder, following)
            assert row.p_with == pytest.approx(np.exp(with_[following]), abs=1e-5)
            assert row.p_without == pytest.approx(np.exp(without[following]), abs=1e-5)
            assert row.loss_change == pytest.approx(with_[following] - without[following], abs=1e-3)
        else:
            assert row.next_token == ""
            assert np.isnan([row.p_with, row.p_without, row.loss_change]).all()
        if row.control_feature >= 0:
            encoded = reference.encode(slow.sae_folder, context.read[-1:])[0]
            assert encoded[row.control_feature] > 0
            assert row.control_feature != row.feature
            other = slow.log_p(context, control(slow.sae, context, row.feature, row.control_feature))
            assert row.control_kl == pytest.approx(divergence(with_, other), abs=2e-5, rel=2e-3)
    check_tokens(found(shape), changes)


def check_tokens(tables: Tables, changes: dict[int, list[np.ndarray]]) -> None:
    """The tokens that each feature raises and lowers, from the changes of its contexts."""
    for feature, own in changes.items():
        mean = np.mean(own, axis=0)
        for direction, sign in (("raised", 1), ("lowered", -1)):
            table = tables["effect_tokens"]
            rows = table[(table["feature"] == feature) & (table["direction"] == direction)]
            wanted = np.sort(sign * mean)[::-1][: len(rows)]
            np.testing.assert_allclose(sign * rows["change"], wanted, atol=1e-4)
            np.testing.assert_allclose(sign * mean[rows["token_id"]], wanted, atol=1e-4)
            assert list(rows["rank"]) == list(range(10))


@pytest.mark.parametrize("shape", KINDS)
def test_means_are_those_of_the_contexts(shape: str, found: Callable) -> None:
    tables = found(shape)
    contexts = tables["effect_contexts"]
    contexts = contexts.assign(kl_excess=contexts["kl"] - contexts["control_kl"])
    for row in tables["effects"].itertuples():
        own = contexts[contexts["feature"] == row.feature]
        own = own if row.group_kind == "all" else own[own[row.group_kind] == row.group]
        assert (row.n_contexts, row.n_next) == (len(own), own["loss_change"].notna().sum())
        assert (row.n_texts, row.n_control) == (own["text"].nunique(), (own["control_feature"] >= 0).sum())
        for name in ("loss_change", "kl", "control_loss_change", "control_kl", "kl_excess"):
            np.testing.assert_allclose(getattr(row, name), own[name].mean(), rtol=1e-12)
        assert np.isnan(row.kl_low) == (row.n_texts < 8)
        assert np.isnan(row.kl_low) or 0 <= row.kl_low <= row.kl <= row.kl_high
        assert np.isnan(row.direct_correlation) == (row.group_kind != "all")
    assert set(tables["effects"]["feature"]) == set(contexts["feature"])


def test_a_silent_feature_has_no_rows(measure: Callable) -> None:
    assert set(measure("llama", (SILENT, 5))["effects"]["feature"]) == {5}
    assert not len(measure("llama", (SILENT,))["effects"])


@pytest.mark.parametrize("shape", KINDS)
@torch.inference_mode()
def test_without_an_inactive_feature_nothing_changes_and_without_all_the_error_and_the_bias_are_left(
    shape: str, subjects: Callable
) -> None:
    subject = subjects(shape, KINDS[shape])
    ids = torch.arange(3, 15)[None]
    read, written = (values[0] for values in subject.values(ids))
    activations = subject.encode(read)
    n, d_sae = activations.shape
    whole = torch.zeros_like(written)
    for feature in range(d_sae):
        part = ablation.contribution(subject, read, torch.full((n,), feature), activations[:, feature])
        assert not part[activations[:, feature] == 0].any()
        whole += part
    twice = read.repeat(2, 1)
    subject.encode(twice)
    reconstruction, nothing = subject.decode(torch.cat([activations, 0 * activations]), twice).split(n)
    error = written - reconstruction
    torch.testing.assert_close(written - whole, error + nothing, atol=1e-4, rtol=1e-4)
    inactive = int((activations == 0).all(0).nonzero()[0])
    none = ablation.contribution(subject, read, torch.full((n,), inactive), activations[:, inactive])
    logits = subject.model.logits(ids)
    with subject.model.changing(subject.info.hook_out, lambda value: ablation.subtracted(subject, value, none[None])):
        torch.testing.assert_close(subject.model.logits(ids), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_results_do_not_depend_on_what_is_run_together(
    shape: str, found: Callable, measure: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the other features, nor on how many contexts and windows are run at once."""
    monkeypatch.setattr(stage, "KEPT_BYTES", 40_000)
    monkeypatch.setattr(ablation, "GATHERED_BYTES", 1)
    monkeypatch.setattr(stage, "SUMMED_BYTES", 1)
    again = measure(shape, FEATURES[1:3])
    for name in stage.TABLES:
        wanted = found(shape)[name]
        wanted = wanted[wanted["feature"].isin(FEATURES[1:3])].reset_index(drop=True)
        pd.testing.assert_frame_equal(again[name], wanted, rtol=1e-3, atol=2e-6)


def test_an_interrupted_run_resumes(measure: Callable, found: Callable, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(stage, "KEPT_BYTES", 40_000)
    with pytest.raises(KeyboardInterrupt):
        measure("llama", kept=tmp_path, bar=Stops())
    finished = list(tmp_path.glob("*.npz"))
    assert finished
    assert not (tmp_path / PART).exists()
    finished[0].write_bytes(finished[0].read_bytes()[:-1])
    runs: list[int] = []
    remember = stage.Remembering.remember
    monkeypatch.setattr(
        stage.Remembering,
        "remember",
        lambda self, windows, *a: runs.append(len(windows)) or remember(self, windows, *a),
    )
    notices: list[str] = []
    with noticed_by(notices.append):
        again = measure("llama", kept=tmp_path)
    assert ["damaged" in line for line in notices] == [True]
    assert not list(tmp_path.iterdir())
    all_runs = len(runs)
    runs.clear()
    fresh = measure("llama", kept=tmp_path)
    assert len(runs) == all_runs + len(finished) - 1
    for name in stage.TABLES:
        pd.testing.assert_frame_equal(again[name], fresh[name])


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_workers_give_the_bytes_of_one_process(
    shape: str, measure: Callable, elsewhere: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a run is interrupted, and one process or workers finish it."""
    monkeypatch.setattr(stage, "KEPT_BYTES", 40_000)
    monkeypatch.setattr(stage, "SUMMED_BYTES", 12 * 2 * 400)
    remote, here, n_kept = elsewhere(shape, KINDS[shape]), Nowhere(), list[int]()
    wanted = files_of(measure(shape, bar=here))
    assert len(wanted) == 4
    for first, second in ((None, remote), (remote, None)):
        with pytest.raises(KeyboardInterrupt):
            measure(shape, kept=tmp_path, bar=Stops(), remote=first)
        n_kept.append(len(list(tmp_path.glob("*.npz"))))
        bar = Nowhere()
        assert files_of(measure(shape, kept=tmp_path, bar=bar, remote=second)) == wanted
        assert bar.done == here.done
        assert not list(tmp_path.iterdir())
    assert min(n_kept) > 0
    finishing, whole = (len(items) for _, _, items in remote.engine.calls[-2:])
    assert finishing == whole - n_kept[0]


def files_of(tables: Tables) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tables.folder.iterdir()}


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("blocks.3.hook_resid_post", "No layer is after the hook"),
        ("blocks.3.hook_mlp_out", "No layer is after the hook"),
    ],
)
def test_without_a_layer_after_the_hook_there_are_no_effects(hook: str, words: str, measure: Callable) -> None:
    tables = measure("llama", kind=SaeKind("standard", hook=hook))
    assert not any(len(tables[name]) for name in stage.TABLES)
    facts = json.loads((tables.folder / EFFECTS).read_text())
    assert list(facts) == ["reason"]
    assert words in facts["reason"]
    assert hook in facts["reason"]


def test_a_device_without_double_precision_has_no_effects(subjects: Callable) -> None:
    subject = subjects("llama", SaeKind("standard")).replica()
    subject.device = torch.device("mps")
    with pytest.raises(NoSuchHook, match="which the device mps does not have"):
        check_resuming(subject)
