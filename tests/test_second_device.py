"""All that computes with tensors gives the same on a second device, and never mixes tensors of both.

The device is a stand-in (`second_device`) that computes on the processor, so that every number must be the same.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SaeKind
from harvesting import load_arrays, run
from second_device import Mixed, second_device
from test_effects import Nowhere
from test_hook_matrix import RUNNERS, family_models, load

from saecatalog.analysis.activations import include
from saecatalog.cache import Cache
from saecatalog.config import EffectsConfig, SubjectConfig
from saecatalog.effects.attribution import Peaks, attribute
from saecatalog.effects.stage import Job, measure_effects
from saecatalog.effects.steering import Steering
from saecatalog.lens import make_lens
from saecatalog.live.live_part import make_live_part
from saecatalog.models.vocabulary import token_strings
from saecatalog.store import Store, read_store
from saecatalog.subject import Subject, load_subject
from saecatalog.tables import Tables
from saecatalog.texts.windows import tokenize

__all__ = ["family_models"]

CASES = {
    "llama": SaeKind("standard"),
    "gpt2": SaeKind("jumprelu", hook="blocks.1.hook_mlp_out"),
    "gemma": SaeKind("gated", normalize="layer_norm"),
    "sink": SaeKind("topk", rescale=True),
}
FEATURES = (2, 5, 11, 17)


def everything(subject: Subject, texts: list[Any], folder: Path) -> dict[str, Any]:
    """Each stage that computes with tensors: its arrays, tables or files by name."""
    store = read_store(run(subject, texts, folder / "store"))
    found: dict[str, Any] = load_arrays(folder / "store")
    for name in ("lens", "effects", "kept", "live"):
        (folder / name).mkdir()
    make_lens(subject, folder / "lens", lambda n: None)
    found |= load_arrays(folder / "lens")
    found |= effects(subject, texts, store, folder)
    bundle = make_live_part(subject, include(store, 4.0), True, 1000, folder / "live")
    found |= {"live": str(bundle), "parts": sorted((p.name, p.read_bytes()) for p in (folder / "live").iterdir())}
    return found


def effects(subject: Subject, texts: list[Any], store: Store, folder: Path) -> dict[str, Any]:
    """The tables of ablation, steering and attribution."""
    job = Job(subject, texts, store, FEATURES, EffectsConfig("notable", contexts=6), 4.0, 256)
    measure_effects(job, folder / "effects", folder / "kept", lambda n: nullcontext(Nowhere()))
    tables = Tables(folder / "effects")
    found = {name: tables[name] for name in ("effects", "effect_contexts", "effect_tokens")}
    vocabulary = token_strings(subject.tokenizer, subject.info.d_vocab)
    if subject.info.hook.endswith("resid_pre"):
        steering = Steering(subject, vocabulary, ("The cat",), (1.0, -2.0))
        steering.check()
        found |= {"prompts": steering.unsteered(), **steering.steered(FEATURES[:2], (3.0, 4.0))}
        tokens = tokenize(texts, subject.tokenizer)
        found["attributions"] = attribute(subject, tokens, peaks_of(store), 256)
    return found


def peaks_of(store: Store) -> Peaks:
    """The first token on which each feature is active."""
    columns = [(feature, store.matrix().tocsc()[:, feature].tocoo()) for feature in FEATURES]
    rows = [(feature, column.row[0], column.data[0]) for feature, column in columns if column.nnz]
    features, tokens, values = (np.array(part) for part in zip(*rows, strict=True))
    return Peaks(features.astype(np.int64), tokens.astype(np.int64), values.astype(np.float32))


@pytest.mark.parametrize("shape", CASES)
def test_every_stage_gives_the_same_on_a_second_device(
    shape: str, subjects: Callable, saes: Callable, workshop: Path, texts: list[Any], tmp_path: Path
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = everything(subjects(shape, CASES[shape]), texts, tmp_path / "here")
    with second_device() as device:
        config = SubjectConfig(sae=str(saes(shape, CASES[shape])), device=str(device))
        subject = load_subject(config, Cache(workshop / "cache"))
        assert {tensor.device for tensor in (*subject.sae.parameters(), *subject.model.module.parameters())} == {device}
        there = everything(subject, texts, tmp_path / "there")
    assert there.keys() == here.keys()
    for name, wanted in here.items():
        if isinstance(wanted, pd.DataFrame):
            assert len(wanted)
            pd.testing.assert_frame_equal(there[name], wanted, check_exact=True)
        elif isinstance(wanted, np.ndarray):
            assert there[name].tobytes() == wanted.tobytes(), name
        else:
            assert there[name] == wanted, name


@pytest.mark.parametrize("runner", RUNNERS)
@torch.inference_mode()
def test_every_library_that_runs_models(runner: str, family_models: Callable[[str], Path]) -> None:
    """What is at hooks, what comes next, and passes that begin before a later layer."""

    def results(device: torch.device) -> list[torch.Tensor]:
        with torch.inference_mode(False), torch.no_grad():
            model: Any = load("GPT-2", runner, family_models("GPT-2"))
            model.module.to(device)
            if hasattr(model.module, "cfg"):
                model.module.cfg.device = str(device)
        hooks = ("blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z")
        model.prove(hooks, device)
        ids = torch.arange(3, 17, device=device)[None]
        found = [*model.values(hooks, ids), model.next_logits(ids)[0], model.entering(1, ids)]
        if runner != "HookedTransformer":
            # It insists on tensors of torch's own class where a pass begins before a later layer.
            past, read = model.remember(1, ids, found[-1])
            found += [read, *(part for pair in past.layers for part in pair)]
        return found

    here = results(torch.device("cpu"))
    with second_device() as device:
        there = [value.cpu() for value in results(device)]
    for wanted, found in zip(here, there, strict=True):
        assert torch.equal(wanted, found)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda there: there + torch.ones(3),
        lambda there: torch.cat([there, torch.ones(3)]),
        lambda there: there @ torch.ones(3, 3),
        lambda there: torch.where(there > 0, there, torch.ones(3)),
        lambda there: torch.ones(3).add_(there),
        lambda there: torch.ones(3).index_add_(0, torch.arange(3), there),
        lambda there: there.gather(0, torch.zeros(1, dtype=torch.long)),
        lambda there: there.to_sparse() @ torch.ones(3, 3),
    ],
)
def test_the_second_device_refuses_mixtures(mistake: Callable[[torch.Tensor], object]) -> None:
    with second_device() as device, pytest.raises(Mixed, match="same device"):
        mistake(torch.ones(3, device=device))


def test_the_second_device_gives_no_array_and_allows_what_torch_allows() -> None:
    with second_device() as device:
        there = torch.tensor([1.0, 2.0], device=device)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert (there[torch.tensor([1])] * torch.tensor(2.0)).cpu().numpy().tolist() == [4.0]
