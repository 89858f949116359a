"""Steering: against whole passes with plain hooks on modules, one row and one token at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SaeKind
from test_hook_matrix import family_models

from saecatalog.constants import CONTINUATION, NEXT_TOKENS
from saecatalog.effects import neutral
from saecatalog.effects.steering import Steering
from saecatalog.models.vocabulary import token_strings

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
