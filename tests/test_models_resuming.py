"""Changed values at hooks, and passes that begin before a later layer, for every family and everything that runs it."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_hook_matrix import FAMILIES, LAYER, RUNNERS, UNLOADABLE, family_models, load

from saecatalog.models.language_model import NoSuchHook
from saecatalog.models.resuming import Past

__all__ = ["family_models"]

TOKENS = torch.arange(3, 23).reshape(2, 10)
HOOKS = [
    f"blocks.{LAYER}.{point}"
    for point in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z")
]


def first(past: Past, n: int) -> Past:
    """The first positions of a past."""
    return Past([(keys[:, :, :n], values[:, :, :n]) for keys, values in past.layers])


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_a_pass_from_a_layer_on_is_the_end_of_a_whole_pass(
    name: str, runner: str, family_models: Callable[[str], Path]
) -> None:
    if (name, runner) == UNLOADABLE:
        pytest.skip("transformer_lens cannot load it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load(name, runner, family_models(name))
    at = torch.tensor([9, 4])
    whole = model.logits(TOKENS)
    checked = 0
    for hook in HOOKS:
        try:
            model.prove([hook], torch.device("cpu"))
        except NoSuchHook:
            continue
        checked += 1
        layer = model.start_layer(hook)
        residual = model.entering(layer, TOKENS)
        again = model.logits_from(layer, TOKENS, residual, at)
        torch.testing.assert_close(again, whole[[0, 1], at], atol=1e-4, rtol=1e-4)
        generator = torch.Generator().manual_seed(1)
        delta = torch.randn(model.values([hook], TOKENS)[0].shape, generator=generator)
        with model.changing(hook, lambda value, delta=delta: value + delta):
            changed = model.logits(TOKENS)
            resumed = model.logits_from(layer, TOKENS, residual, at)
        assert (changed - whole).abs().max() > 0.01
        torch.testing.assert_close(resumed, changed[[0, 1], at], atol=1e-4, rtol=1e-4)
        remembered, read = model.remember(layer, TOKENS, residual)
        past, last = first(remembered, 7), torch.tensor([2, 2])
        with model.changing(hook, lambda value, delta=delta: value + delta[:, 7:]):
            logits = model.logits_from(layer, TOKENS[:, 7:], residual[:, 7:], last, past, read[[1, 0, 1], [3, 9, 0]])
        known, continued = logits.split([3, 2])
        torch.testing.assert_close(known, whole[[1, 0, 1], [3, 9, 0]], atol=1e-4, rtol=1e-4)
        late = torch.cat([torch.zeros_like(delta[:, :7]), delta[:, 7:]], 1)
        with model.changing(hook, lambda value, late=late: value + late):
            torch.testing.assert_close(continued, model.logits(TOKENS)[:, 9], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.logits(TOKENS), whole)
    assert checked >= 4
