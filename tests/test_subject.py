"""Subjects and their replicas."""

import json
from collections.abc import Callable

import pytest
import reference
import torch
from conftest import CONTEXT, D_SAE, SaeKind

from saecatalog.fingerprints import weights_sha256


def test_facts_of_a_subject(subjects: Callable, models: Callable) -> None:
    info = subjects("llama", SaeKind("jumprelu", hook="blocks.1.hook_mlp_out")).info
    assert (info.layer, info.hook, info.architecture) == (1, "blocks.1.hook_mlp_out", "jumprelu")
    assert (info.d_in, info.d_sae, info.d_model, info.n_layers, info.context) == (32, D_SAE, 32, 4, CONTEXT)
    assert info.bos_token_id == reference.bos_of(models("llama"))
    assert subjects("llama", SaeKind("standard", prepend_bos=False)).info.bos_token_id is None
    config = json.loads((models("llama") / "config.json").read_text())
    assert info.d_vocab == config["vocab_size"]


def test_a_replica_shares_weights_and_computes_the_same(subjects: Callable) -> None:
    subject = subjects("llama", SaeKind("standard"))
    twin = subject.replica()
    assert weights_sha256(subject.model.module) == weights_sha256(twin.model.module)
    places, same = ({p.data_ptr() for p in s.model.module.parameters()} for s in (subject, twin))
    assert places == same
    ids = torch.tensor([[0, 7, 8, 9]])
    with torch.inference_mode():
        assert torch.equal(subject.values(ids)[0], twin.values(ids)[0])


@pytest.mark.parametrize(
    "normalize",
    ["none", "layer_norm", "constant_norm_rescale"],
)
def test_replicas_keep_nothing_of_each_other(normalize: str, subjects: Callable) -> None:
    """Encoding in one replica, between encoding and decoding in another, must not affect the other (as in threads)."""
    subject = subjects("llama", SaeKind("standard", normalize=normalize))
    twin = subject.replica()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((16, 32), generator=generator), torch.randn((16, 32), generator=generator) * 9 + 4
    with torch.inference_mode():
        wanted = subject.decode(subject.encode(x), x)
        encoded = subject.encode(x)
        twin.encode(y)
        found = subject.decode(encoded, x)
    assert torch.equal(found, wanted)
