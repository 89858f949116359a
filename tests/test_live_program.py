"""Programs of every family at every hook, run by a slow interpreter, against the models that they come from."""

from pathlib import Path

import live_reference
import pytest
import torch
from families import LAYER
from live_subjects import (
    HOOKS,
    IDS,
    LIBRARIES,
    RUNS,
    UNLOADABLE_RUNS,
    assert_same,
    close,
    llama,
    model_of,
    sae_of,
    subject_of,
)
from sites import FETCH_FIRST

from saecatalog.cache import Cache
from saecatalog.config import load_config
from saecatalog.live.model_program import compile_program
from saecatalog.live.program import NoProgram
from saecatalog.models.default_model import downloaded
from saecatalog.models.language_model import LanguageModel, NoSuchHook
from saecatalog.subject import load_subject


def values_at(model: LanguageModel, hooks: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The values `[position, width]` at the hooks that a model has, from one pass."""
    present = [hook for hook in hooks if is_ready(model, hook)]
    found = model.caught(present, IDS, whole=True)
    return {hook: values[0].flatten(2)[0] for hook, values in zip(present, found, strict=True) if values}


def is_ready(model: LanguageModel, hook: str) -> bool:
    try:
        model.prepare([hook])
    except NoSuchHook:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runner"), RUNS)
@torch.no_grad()
def test_every_family_at_every_hook(name: str, runner: str) -> None:
    if (name, runner) in UNLOADABLE_RUNS:
        with pytest.raises((AttributeError, RuntimeError)):
            model_of(name, runner)
        return
    model = model_of(name, runner)
    values = values_at(model, HOOKS)
    assert len(values) >= len(HOOKS) - 4
    for hook, wanted in values.items():
        subject = subject_of(model, sae_of(hook, wanted.shape[-1]))
        read, activations = live_reference.run(compile_program(subject), IDS[0].numpy())
        close(read, wanted.numpy())
        close(activations, subject.encode(wanted).numpy())


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("GPT-2", "transformer.wte"),
        ("GPT-2", f"transformer.h.{LAYER}"),
        ("GPT-2", f"transformer.h.{LAYER}.input"),
        ("GPT-2", f"transformer.h.{LAYER}.ln_2.output"),
        ("GPT-2", f"transformer.h.{LAYER}.mlp"),
        ("GPT-2", f"transformer.h.{LAYER}.attn.c_proj.input"),
        ("Gemma 2", f"model.layers.{LAYER}.post_attention_layernorm.output"),
        ("Gemma 2", f"model.layers.{LAYER}.pre_feedforward_layernorm.input"),
        ("Gemma 2", f"model.layers.{LAYER}.mlp.input"),
        ("Gemma 2", f"model.layers.{LAYER}.mlp.down_proj.input"),
        ("Gemma 2", f"model.layers.{LAYER}.post_feedforward_layernorm.output"),
        ("Phi", f"model.layers.{LAYER}.input_layernorm.output"),
        ("Phi", f"model.layers.{LAYER}.self_attn"),
    ],
)
@torch.no_grad()
def test_hooks_by_the_paths_of_modules(name: str, hook: str) -> None:
    model = model_of(name, "transformers")
    (values,) = values_at(model, (hook,)).values()
    subject = subject_of(model, sae_of(hook, values.shape[-1]))
    assert_same(subject, compile_program(subject))


@pytest.mark.parametrize("hook", [f"transformer.h.{LAYER}.attn.c_attn.output", "transformer.ln_f", "transformer.wpe"])
@torch.no_grad()
def test_modules_that_programs_do_not_reach(hook: str) -> None:
    model = model_of("GPT-2", "transformers")
    model.prepare([hook])
    with pytest.raises(NoProgram, match="does not reach"):
        compile_program(subject_of(model, sae_of(hook, 32)))


# Heads


@pytest.mark.parametrize("runner", LIBRARIES)
@torch.no_grad()
def test_one_head(runner: str) -> None:
    model = model_of("GPT-2", runner)
    for point, width in (("attn.hook_z", 8), ("hook_attn_in", 32)):
        hook = f"blocks.{LAYER}.{point}"
        model.prepare([hook])
        subject = subject_of(model, sae_of(hook, width, head=2))
        assert_same(subject, compile_program(subject))


@pytest.mark.parametrize(
    ("point", "width", "head", "why"),
    [
        ("hook_attn_in", 128, None, "does not reach the SAE's hook"),
        ("attn.hook_q", 32, None, "does not reach the SAE's hook"),
        ("attn.hook_q", 8, 1, "does not reach the SAE's hook"),
        ("attn.hook_z", 32, 7, "does not have attention head 7"),
        ("hook_resid_pre", 48, None, "other values"),
    ],
)
@torch.no_grad()
def test_hooks_that_programs_do_not_reach(point: str, width: int, head: int | None, why: str) -> None:
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(llama(), sae_of(f"blocks.{LAYER}.{point}", width, head=head)))


# The embedded default


@pytest.mark.slow
@torch.no_grad()
def test_the_embedded_default() -> None:
    config = load_config(Path(__file__).parent.parent / "catalog.toml")
    cache = Cache(config.cache)
    if not downloaded(cache).path.exists():
        pytest.skip(FETCH_FIRST)
    subject = load_subject(config.subject, cache)
    ids = subject.tokenizer("The ferry left the harbour before dawn: 365 steps.")["input_ids"]
    program = compile_program(subject)
    assert_same(subject, program, torch.tensor([[subject.info.bos_token_id, *ids]]), 1e-5)
    layers = {int(name.split(".")[1]) for name in program.tensors if name.startswith("layers.")}
    assert layers == set(range(12))
