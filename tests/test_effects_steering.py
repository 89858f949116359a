"""Steering: against whole passes with plain hooks on modules, one row and one token at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SaeKind
from harvesting import run
from test_hook_matrix import RUNNERS, family_models, load

from saecatalog.constants import CONTINUATION, NEXT_TOKENS
from saecatalog.effects import neutral
from saecatalog.effects.steering import NoSteering, Steering
from saecatalog.errors import CatalogError
from saecatalog.models.vocabulary import token_strings
from saecatalog.schemas import SCHEMAS
from saecatalog.store import Store

__all__ = ["family_models"]

PROMPTS = ("The cat", "Nobody saw the")
MULTIPLES = (1.0, -2.0)
LAYERS = {"llama": "model.layers", "gpt2": "transformer.h", "gemma": "model.layers"}
PRE = "blocks.2.hook_resid_pre"
KINDS = {
    "plain": SaeKind("jumprelu", hook=PRE),
    "normalised": SaeKind("standard", hook=PRE, normalize="layer_norm"),
    "rescaled": SaeKind("standard", hook=PRE, normalize="constant_norm_rescale"),
    "topk": SaeKind("topk", hook=PRE, rescale=True),
    "mlp": SaeKind("standard", hook="blocks.1.hook_mlp_out"),
}


def steering_of(subject: Any, prompts: tuple[str, ...] = PROMPTS) -> Steering:
    vocabulary = token_strings(subject.tokenizer, subject.info.d_vocab)
    return Steering(subject, vocabulary, prompts, MULTIPLES)


@contextmanager
def plain_hook(module: Any, layers: str, sae: Any, hook: str, feature: int, strength: float) -> Iterator[None]:
    """Add what `decode` adds for one feature at this strength, by a hook on one module of `transformers`."""

    def added(value: torch.Tensor) -> torch.Tensor:
        activations = torch.zeros(*value.shape[:-1], sae.cfg.d_sae)
        sae.encode(value)
        without = sae.decode(activations)
        activations[..., feature] = strength
        sae.encode(value)
        return value + sae.decode(activations) - without

    def enter(_: Any, given: Any, named: Any) -> Any:
        return (
            ((added(given[0]), *given[1:]), named)
            if given
            else (given, {**named, "hidden_states": added(named["hidden_states"])})
        )

    if hook.endswith("resid_pre"):
        handle = module.get_submodule(f"{layers}.{hook.split('.')[1]}").register_forward_pre_hook(
            enter, with_kwargs=True
        )
    else:
        mlp = module.get_submodule(f"{layers}.{hook.split('.')[1]}.mlp")
        handle = mlp.register_forward_hook(lambda _, __, out: added(out))
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def written(module: Any, ids: list[int], end: int) -> tuple[torch.Tensor, list[int]]:
    """The probabilities of the next token, and the greedy continuation, by whole passes of one row."""
    chosen: list[int] = []
    while len(chosen) < CONTINUATION and end not in chosen:
        logits = module(torch.tensor([[*ids, *chosen]]), use_cache=False).logits[0, -1]
        first = logits if not chosen else first
        chosen.append(int(logits.argmax()))
    return first.softmax(-1), chosen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma"])
def test_steered_as_by_plain_hooks(shape: str, kind: str, subjects: Callable, models: Callable) -> None:
    from reference import model_of

    if (shape, kind) == ("gemma", "mlp"):
        pytest.skip("the output of Gemma's MLP goes through a norm")
    subject = subjects(shape, KINDS[kind])
    module, tokenizer, end = model_of(models(shape)), subject.tokenizer, subject.tokenizer.eos_token_id
    steering = steering_of(subject)
    steering.check()
    features, maxima = [5, 9], [6.0, 3.0]
    found = steering.steered(features, maxima)
    table, prices = (pd.DataFrame(found[name]) for name in ("steering", "steering_prices"))
    assert table[["feature", "multiple", "prompt"]].to_numpy().tolist() == [
        [f, m, p] for f in features for m in MULTIPLES for p in range(len(PROMPTS))
    ]
    bos = [subject.info.bos_token_id]
    for row in table.itertuples():
        ids = bos + tokenizer(PROMPTS[row.prompt], add_special_tokens=False).input_ids
        strength = row.multiple * maxima[features.index(row.feature)]
        with plain_hook(module, LAYERS[shape], subject.sae, subject.info.hook, row.feature, strength):
            probs, chosen = written(module, ids, end)
        top = probs.topk(NEXT_TOKENS)
        assert row.next_tokens == [steering.vocabulary[i] for i in top.indices.tolist()]
        np.testing.assert_allclose(row.next_probs, top.values, rtol=1e-3)
        whole = tokenizer.decode(ids + chosen)
        assert row.continuation == whole.removeprefix(tokenizer.decode(ids)) or "\ufffd" in whole
    text = torch.tensor([bos + tokenizer(neutral.TEXT, add_special_tokens=False).input_ids])[:, :64]
    for row in prices.itertuples():
        strength = row.multiple * maxima[features.index(row.feature)]
        with (
            torch.inference_mode(),
            plain_hook(module, LAYERS[shape], subject.sae, subject.info.hook, row.feature, strength),
        ):
            steered = module(text, labels=text, use_cache=False).loss
        assert row.loss == pytest.approx(float(steered), rel=1e-4)
        with torch.inference_mode():
            assert row.loss_unsteered == pytest.approx(float(module(text, labels=text).loss), rel=1e-4)
        assert row.n_tokens == text.shape[1] - 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Gemma 2", "Gemma 3"])
@torch.inference_mode()
def test_going_on_from_memory(name: str, runner: str, family_models: Callable[[str], Path]) -> None:
    model = load(name, runner, family_models(name))
    tokens = torch.arange(3, 23).reshape(2, 10)
    hook = "blocks.1.hook_resid_pre"
    model.prove([hook], torch.device("cpu"))
    residual = model.entering(1, tokens)
    with model.changing(hook, lambda value: value + 0.5):
        whole = model.logits(tokens)
        first, memory = model.next_logits(tokens[:, :7])
        torch.testing.assert_close(first, whole[:, 6], atol=1e-4, rtol=1e-4)
        for place in range(7, 10):
            after, memory = model.next_logits(tokens[:, [place]], memory)
            torch.testing.assert_close(after, whole[:, place], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.logits_from(1, tokens, residual, None), whole, atol=1e-4, rtol=1e-4)


def test_results_do_not_depend_on_other_features(subjects: Callable) -> None:
    steering = steering_of(subjects("llama", KINDS["plain"]))
    features, maxima = list(range(4, 40)), [float(f) for f in range(4, 40)]
    whole, alone = steering.steered(features, maxima), steering.steered([9, 30], [9.0, 30.0])
    for name, rows in alone.items():
        table = pd.DataFrame(whole[name])
        expected = table[table["feature"].isin([9, 30])].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(rows), expected, check_exact=True)


def test_a_prompt_without_steering(subjects: Callable) -> None:
    steering = steering_of(subjects("llama", KINDS["plain"]))
    table = pd.DataFrame(steering.unsteered())
    same = pd.DataFrame(steering.steered([5], [0.0])["steering"])
    for row in same.itertuples():
        assert row.continuation == table["continuation"][row.prompt]
        assert row.next_tokens == table["next_tokens"][row.prompt]


def test_what_cannot_be_steered(subjects: Callable) -> None:
    subject = subjects("llama", SaeKind("standard", hook="blocks.1.attn.hook_z"))
    with pytest.raises(NoSteering, match="does not write to the residual stream"):
        steering_of(subject).check()
    with pytest.raises(CatalogError, match=r"A prompt has [0-9]+ tokens, but the model takes 54"):
        steering_of(subjects("gpt2", KINDS["plain"]), ("cat " * 60,))


class Bars:
    """Counts what a stage does."""

    def __init__(self) -> None:
        self.done = 0

    @contextmanager
    def __call__(self, n: int) -> Iterator["Bars"]:
        yield self

    def update(self, n: int = 1) -> None:
        self.done += n


def test_the_stage_resumes(
    subjects: Callable, texts: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished groups are not steered again, damaged ones are; the tables are the same."""
    from saecatalog.effects import steering_stage
    from saecatalog.harvest import harvest
    from saecatalog.store import read_store
    from saecatalog.texts.windows import tokenize

    subject = subjects("llama", KINDS["plain"])
    for name in ("store", "analysis", "kept", "first", "second"):
        (tmp_path / name).mkdir()
    harvest(subject, tokenize(texts, subject.tokenizer), None, tmp_path / "store", lambda _: None)
    store = read_store(tmp_path / "store")
    features = pa.table({"feature": [5, 9, 11], "max": [3.0, 4.0, 0.0], "n_active": [2, 1, 0]})
    pq.write_table(features, tmp_path / "analysis" / "features.parquet")
    empty = pa.table({name: pa.array([], kind) for name, (kind, _) in SCHEMAS["contexts"].items()})
    pq.write_table(empty, tmp_path / "analysis" / "contexts.parquet")
    monkeypatch.setattr(steering_stage, "AT_ONCE", 1)
    job = steering_stage.Job(subject, texts, store, tmp_path / "analysis", [5, 9, 11], PROMPTS, MULTIPLES, None)

    class Stopped(Exception):
        pass

    class Stop(Bars):
        def update(self, n: int = 1) -> None:
            raise Stopped

    with pytest.raises(Stopped):
        steering_stage.measure_steering(job, tmp_path / "first", tmp_path / "kept", Stop(), Bars())
    (kept,) = (tmp_path / "kept").glob("*.json")
    tables = kept.read_text(encoding="utf-8")
    steered: list[list[int]] = []
    steer = Steering.steered
    monkeypatch.setattr(
        Steering, "steered", lambda own, some, largest: (steered.append(some), steer(own, some, largest))[1]
    )
    steering_stage.measure_steering(job, tmp_path / "second", tmp_path / "kept", Bars(), Bars())
    assert steered == [[9]]
    found = pq.read_table(tmp_path / "second" / "steering.parquet").to_pandas()
    assert sorted(set(found["feature"])) == [5, 9]
    kept.write_text(tables.replace("0.", "0.0", 1), encoding="utf-8")
    for path in (tmp_path / "second").iterdir():
        path.unlink()
    steering_stage.measure_steering(job, tmp_path / "second", tmp_path / "kept", Bars(), Bars())
    assert steered == [[9], [5], [9]]
    pd.testing.assert_frame_equal(pq.read_table(tmp_path / "second" / "steering.parquet").to_pandas(), found)


@pytest.mark.parametrize("kind", ["plain", "mlp"])
def test_workers_give_the_bytes_of_one_process(
    kind: str,
    subjects: Callable,
    elsewhere: Callable,
    texts: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of steering and of attribution, or the reason why there is none."""
    from saecatalog.effects import STEERING, steering_stage
    from saecatalog.store import read_store

    monkeypatch.setattr(steering_stage, "AT_ONCE", 3)
    monkeypatch.setattr(steering_stage, "SPLIT_AT_ONCE", 4)
    subject, remote = subjects("llama", KINDS[kind]), elsewhere("llama", KINDS[kind])
    store = read_store(run(subject, texts, tmp_path / "store"))
    features = list(range(4, 14))
    for name in ("analysis", "kept", "here", "there"):
        (tmp_path / name).mkdir()
    write_analysis(tmp_path / "analysis", store, texts, features)
    for name, workers in (("here", None), ("there", remote)):
        bars = Bars(), Bars()
        job = steering_stage.Job(
            subject, texts, store, tmp_path / "analysis", features, PROMPTS, MULTIPLES, None, workers
        )
        steering_stage.measure_steering(job, tmp_path / name, tmp_path / "kept", *bars)
        assert not list((tmp_path / "kept").iterdir())
        assert [bar.done for bar in bars] == [10, 10 if kind == "plain" else 0]
    wanted = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert (b"reason" in wanted[STEERING]) == (kind == "mlp")
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == wanted
    assert [len(items) for _, _, items in remote.engine.calls[-2:]] == [4, 3]


def write_analysis(folder: Path, store: Store, texts: list[Any], features: list[int]) -> None:
    """The tables of an analysis, as far as steering and attribution read them."""
    entries = store.matrix().tocsc()[:, features].tocoo()
    found = pd.DataFrame({"feature": np.array(features)[entries.col], "token": entries.row, "activation": entries.data})
    maxima = found.groupby("feature")["activation"].agg(["max", "size"])
    pq.write_table(
        pa.table({"feature": list(maxima.index), "max": list(maxima["max"]), "n_active": list(maxima["size"])}),
        folder / "features.parquet",
    )
    ranked = found.sort_values(["feature", "activation"], ascending=[True, False], kind="stable")
    rank = ranked.groupby("feature").cumcount()
    tokens = ranked["token"].to_numpy()
    contexts = {
        "feature": ranked["feature"],
        "band": "top",
        "rank": rank,
        "text": [texts[text].id for text in store.token_texts()[tokens]],
        "position": store.token_positions()[tokens],
        "activation": ranked["activation"],
    }
    shown = pd.DataFrame(contexts)[rank < 20]
    pq.write_table(pa.Table.from_pandas(shown, preserve_index=False), folder / "contexts.parquet")


@pytest.mark.slow
def test_verify_recomputes_a_catalog_and_finds_what_was_changed(
    saes: Callable, models: Callable, workshop: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    from saecatalog.cli import main

    places = ["--cache", str(tmp_path / "cache"), "--quiet"]
    sae = ["--sae", str(saes("llama", KINDS["plain"])), "--corpus", str(workshop / "corpus"), "--device", "cpu"]
    assert main(["build", *sae, "--effects", "notable", "--out", str(tmp_path / "site"), *places]) == 0
    (data,) = (tmp_path / "site").glob("*/*/data")
    table = pq.read_table(data / "steering.parquet")
    assert len(table) > 0
    assert len(pq.read_table(data / "attributions.parquet")) > 0
    verify = ["verify", str(tmp_path / "site"), "--sample", "48", *places]
    code, said = main(verify), "".join(capfd.readouterr())
    assert [line for line in said.splitlines() if "steering" in line or "attribution" in line] == []
    changed = table.to_pandas()
    # In place of what was written, which may hold bytes without their character, where verify stops.
    changed["continuation"] = " and more"
    pq.write_table(pa.Table.from_pandas(changed, table.schema, preserve_index=False), data / "steering.parquet")
    prices = pq.read_table(data / "steering_prices.parquet")
    changed = prices.to_pandas()
    changed.loc[0, "loss"] *= 1.01
    changed.loc[1, "loss_unsteered"] *= 1.01
    pq.write_table(pa.Table.from_pandas(changed, prices.schema, preserve_index=False), data / "steering_prices.parquet")
    assert main(verify) == 1
    said = "".join(capfd.readouterr())
    assert "is not the greedy one" in said
    wrong = {line.partition(": ")[0] for line in said.splitlines() if line.startswith("steering_prices.parquet")}
    places = [f"steering_prices.parquet, feature {row.feature}, {row.multiple:g}" for row in changed.itertuples()]
    assert wrong == {f"{places[0]}, loss", f"{places[1]}, loss_unsteered"}
    assert code == 0
