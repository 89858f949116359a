"""Subjects for tests of the live part: small models of many families, SAEs of every kind, and how they are compared.

All are made in a temporary folder and live in memory.
"""

import dataclasses
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import families
import live_reference
import numpy as np
import torch
import transformers as hf
from any_sae import save_any
from conftest import LLAMA_TOKENS, make_tokenizer
from families import FAMILIES, LAYER, Family, gemma_like
from sae_lens import SAE
from test_hook_matrix import POINTS, UNLOADABLE, load

from saecatalog.live.program import Program
from saecatalog.models.language_model import LanguageModel
from saecatalog.subject import Subject

IDS = torch.arange(3, 15)[None]
CONTEXT = 16
HOOKS = ("hook_embed", *(f"blocks.{LAYER}.{point}" for point in (*POINTS, "mlp.hook_pre") if point != "hook_attn_in"))
RESIDUAL = f"blocks.{LAYER}.hook_resid_post"


def changed(family: Family, **more: Any) -> Family:
    return dataclasses.replace(family, more=tuple({**dict(family.more), **more}.items()))


GEMMA = dataclasses.replace(
    gemma_like(hf.GemmaConfig, "google/gemma-2b"), ln2="post_attention_layernorm", after_attention="", after_mlp="",
    more=(("head_dim", 8),),
)  # fmt: skip
LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}

VARIANTS = {
    **FAMILIES,
    "Gemma": GEMMA,
    "GPT-2, scaled by layer": changed(
        FAMILIES["GPT-2"], scale_attn_by_inverse_layer_idx=True, activation_function="relu"
    ),
    "NeoX, not parallel": dataclasses.replace(
        changed(FAMILIES["NeoX"], use_parallel_residual=False, rotary_pct=0.5, hidden_act="gelu_new"), parallel=False
    ),
    "Llama 3": changed(
        FAMILIES["Llama"], head_dim=12, attention_bias=True, mlp_bias=True, hidden_act="gelu", sliding_window=4,
        rope_parameters=LLAMA_3 | {"original_max_position_embeddings": 16},
    ),
    "Llama, YaRN": changed(FAMILIES["Llama"], rope_parameters=YARN),
    "Mistral, window": changed(FAMILIES["Mistral"], sliding_window=4),
    "Gemma 2, cap and window": changed(
        FAMILIES["Gemma 2"], query_pre_attn_scalar=3, attn_logit_softcapping=0.5, sliding_window=4
    ),
    "Gemma 3, window": changed(FAMILIES["Gemma 3"], query_pre_attn_scalar=3, sliding_window=4,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
    ),
    "Qwen 2, window": changed(FAMILIES["Qwen 2"], use_sliding_window=True, sliding_window=4, max_window_layers=0),
}  # fmt: skip
"""Families, and settings that the small models of `families` leave at their defaults."""

LIBRARIES = ("HookedTransformer", "TransformerBridge", "transformers")

RUNS = [
    *((name, library) for name in VARIANTS for library in LIBRARIES),
    *((name, f"{library}, folded") for name in FAMILIES for library in LIBRARIES[:2]),
]
"""Each variant in each library, and each family with norms folded and weights centred where a library does that."""

UNLOADABLE_RUNS = {UNLOADABLE, (UNLOADABLE[0], f"{UNLOADABLE[1]}, folded"), ("Llama 3", "HookedTransformer")}
"""HookedTransformer takes the width of a head from the published model, so that the small one's weights do not fit."""


@cache
def _tokenizer() -> Any:
    return make_tokenizer(LLAMA_TOKENS)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), mock.patch.dict(families.FAMILIES, VARIANTS):
        warnings.simplefilter("ignore")
        yield


def model_of(name: str, runner: str) -> LanguageModel:
    """The small model of a variant, in one of the libraries, `folded` if its weights are to be processed there."""
    library, _, folded = runner.partition(", ")
    with quiet(), TemporaryDirectory() as folder:
        model = load(name, library, families.make(name, _tokenizer(), Path(folder)))
    if folded and library == "HookedTransformer":
        model.module.process_weights_()
    elif folded:
        model.module.process_weights()
    return model


@cache
def llama() -> LanguageModel:
    return model_of("Llama", "TransformerBridge")


def sae_of(
    hook: str, width: int, architecture: str = "standard", normalize: str = "none", head: int | None = None
) -> Any:
    """An SAE that reads values of some width at a hook."""
    d_out = 24 if "transcoder" in architecture else 0
    with TemporaryDirectory() as folder:
        path = Path(folder)
        save_any(path, path, architecture, hook, width, normalize=normalize, d_out=d_out, hook_name_out=hook)
        sae = SAE.load_from_disk(path)
    sae.cfg.metadata.hook_head_index = head
    return sae


def subject_of(model: LanguageModel, sae: Any, context: int = CONTEXT) -> Subject:
    """A subject without names and files."""
    info: Any = SimpleNamespace(hook=sae.cfg.metadata.hook_name, context=context)
    files: Any = None
    return Subject(model, sae, info, torch.device("cpu"), files)


@torch.inference_mode()
def assert_same(subject: Subject, program: Program, ids: torch.Tensor = IDS, tolerance: float = 2e-5) -> None:
    """The program gives what the subject gives, within a share of the largest value."""
    assert json.loads(json.dumps(program.steps)) == program.steps
    read, activations = live_reference.run(program, ids[0].numpy())
    wanted = subject.values(ids)[0]
    close(read, wanted[0].numpy(), tolerance)
    close(activations, subject.encode(wanted)[0].numpy(), tolerance)


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-5) -> None:
    assert wanted.any()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))
