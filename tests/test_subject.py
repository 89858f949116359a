"""Subjects and their replicas."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from any_sae import save_any
from conftest import CONTEXT, D_SAE, SaeKind
from sae_lens import SAE, ActivationsStore
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from sae_lens.registry import SAE_CLASS_REGISTRY

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.lens import logit_map
from saecatalog.models.fingerprints import weights_sha256
from saecatalog.subject import UNSUPPORTED, load_subject
from saecatalog.verify.model import hook_values


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


def test_a_subject_loaded_in_inference_mode_has_replicas(saes: Callable, workshop: Path) -> None:
    config = SubjectConfig(sae=str(saes("llama", SaeKind("standard"))), device="cpu")
    with torch.inference_mode():
        subject = load_subject(config, Cache(workshop / "cache"))
    assert subject.replica().info == subject.info


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


def loaded(folder: Path, workshop: Path, **settings: Any) -> Any:
    return load_subject(SubjectConfig(sae=str(folder), device="cpu", **settings), Cache(workshop / "cache"))


def reference_values(model: Path, hook: str) -> torch.Tensor:
    """Values `[position, width]` at a hook by plain hooks, without BOS."""
    return torch.from_numpy(hook_values(reference.model_of(model), hook, IDS.tolist())).float()


IDS = torch.arange(5, 17)
ARCHITECTURES = [name for name in SAE_CLASS_REGISTRY if name not in UNSUPPORTED]
READ, WRITTEN = "blocks.2.hook_resid_pre", "blocks.2.hook_mlp_out"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_computes_what_sae_lens_computes(
    architecture: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    transcodes = "transcoder" in architecture
    more = {"hook_name_out": WRITTEN} if transcodes else {}
    save_any(tmp_path / "sae", models("llama"), architecture, READ, **more)
    subject = loaded(tmp_path / "sae", workshop)
    plain = SAE.load_from_disk(tmp_path / "sae")
    with torch.inference_mode():
        read, target = (values[0] for values in subject.values(IDS[None]))
        wanted = reference_values(models("llama"), READ)
        torch.testing.assert_close(read, wanted, rtol=1e-3, atol=1e-3)
        wanted_target = reference_values(models("llama"), WRITTEN if transcodes else READ)
        torch.testing.assert_close(target, wanted_target, rtol=1e-3, atol=1e-3)
        active = subject.encode(read)
        assert 0 < (active > 0).float().mean() < 1
        torch.testing.assert_close(active, plain.encode(read))
        torch.testing.assert_close(subject.decode(subject.encode(read).to_sparse(), read), plain.forward(read))
        twin = subject.replica()
        assert torch.equal(twin.encode(read), active)
    info = subject.info
    assert (info.hook, info.hook_out) == (READ, WRITTEN if transcodes else READ)


@pytest.mark.parametrize("architecture", UNSUPPORTED)
def test_architectures_whose_figures_would_mislead_are_refused(
    architecture: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    save_any(tmp_path / "sae", models("llama"), architecture, READ)
    with pytest.raises(CatalogError, match=f"'{architecture}' are not supported: its activations"):
        loaded(tmp_path / "sae", workshop)


def test_a_transcoder_of_other_widths(workshop: Path, models: Callable, tmp_path: Path) -> None:
    """What it writes may be wider than what it reads, and need not be the residual stream."""
    out = "blocks.1.mlp.hook_post"
    save_any(tmp_path / "sae", models("llama"), "skip_transcoder", READ, d_out=64, hook_name_out=out)
    subject = loaded(tmp_path / "sae", workshop)
    assert (subject.info.d_in, subject.info.d_out, subject.info.hook_out) == (32, 64, out)
    assert logit_map(subject) is None
    with torch.inference_mode():
        assert [v.shape[-1] for v in subject.values(IDS[None])] == [32, 64]
    save_any(tmp_path / "wrong", models("llama"), "transcoder", READ, d_out=48, hook_name_out=out)
    with pytest.raises(CatalogError, match=r"expects 48 values per position, but the model has 64 at 'blocks.1.mlp"):
        loaded(tmp_path / "wrong", workshop)


def test_a_transcoder_that_does_not_say_where_it_writes(workshop: Path, models: Callable, tmp_path: Path) -> None:
    save_any(tmp_path / "sae", models("llama"), "transcoder", READ)
    with pytest.raises(CatalogError, match="does not name the hook that it writes to") as caught:
        loaded(tmp_path / "sae", workshop)
    assert "hook_name_out" in caught.value.fix


def test_logit_effects_of_a_transcoder_are_of_what_it_writes(workshop: Path, models: Callable, tmp_path: Path) -> None:
    save_any(tmp_path / "sae", models("gemma"), "transcoder", "blocks.1.ln2.hook_normalized", hook_name_out=WRITTEN)
    subject = loaded(tmp_path / "sae", workshop)
    decoder = subject.sae.W_dec.detach()
    effects = (decoder @ logit_map(subject)).numpy()
    wanted = np.stack([reference.logit_effects(models("gemma"), row.double().numpy()) for row in decoder])
    np.testing.assert_allclose(effects - effects.mean(1, keepdims=True), wanted, rtol=1e-3, atol=1e-3)


def test_gemma_scope_2_reads_the_output_of_the_norm(workshop: Path, models: Callable, tmp_path: Path) -> None:
    """sae_lens calls it `hook_mlp_in`, which in transformer_lens is before the norm."""
    model = models("gemma")
    parts = ("pre", "post")
    paths = [f"model.layers.1.{part}_feedforward_layernorm.output" for part in parts]
    metadata = {"hook_name_out": "blocks.1.hook_mlp_out", "hf_hook_name": paths[0], "hf_hook_name_out": paths[1]}
    save_any(tmp_path / "sae", model, "jumprelu_skip_transcoder", "blocks.1.hook_mlp_in", **metadata)
    subject = loaded(tmp_path / "sae", workshop)
    assert (subject.info.library, subject.info.hook, subject.info.hook_out) == ("transformers", *paths)
    seen: dict[str, torch.Tensor] = {}
    module = reference.model_of(model)
    layer = module.model.layers[1]
    norms = [layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm]
    for part, norm in zip(parts, norms, strict=True):
        norm.register_forward_hook(lambda _, __, out, part=part: seen.update({part: out[0]}))
    with torch.no_grad():
        module(IDS[None])
        read, target = subject.values(IDS[None])
    torch.testing.assert_close(read[0], seen["pre"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(target[0], seen["post"], rtol=1e-3, atol=1e-4)
    assert logit_map(subject) is not None, "it writes what is added to the residual stream"


@pytest.mark.parametrize(
    ("hook", "point"),
    [
        ("transformer.h.2", "blocks.2.hook_resid_post"),
        ("transformer.h.2.output", "blocks.2.hook_resid_post"),
        ("transformer.h.2.mlp", "blocks.2.hook_mlp_out"),
        ("transformer.h.2.attn", "blocks.2.hook_attn_out"),
        ("transformer.h.1.attn.c_proj.input", "blocks.1.attn.hook_z"),
        # The path of another class of the same model.
        ("model.layers.2", "blocks.2.hook_resid_post"),
        (READ, READ),
    ],
)
def test_plain_transformers_is_used_for_its_own_saes(
    hook: str, point: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    save_any(tmp_path / "sae", models("gpt2"), "standard", hook, model_class_name="AutoModelForCausalLM")
    subject = loaded(tmp_path / "sae", workshop)
    assert subject.info.library == "transformers"
    with torch.inference_mode():
        read, _ = subject.values(IDS[None])
    torch.testing.assert_close(read[0], reference_values(models("gpt2"), point), rtol=1e-3, atol=1e-3)
    assert (logit_map(subject) is None) == ("c_proj" in hook)
    assert subject.info.layer == int(point.split(".")[1])


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("transformer.h.9", "does not have the module 'transformer.h.9'"),
        ("transformer.h.1.nothing", "does not have the module 'transformer.h.1.nothing'"),
        ("blocks.9.hook_resid_pre", "no layer 9: its layers are 0 to 3"),
        ("blocks.1.attn.hook_pattern", "cannot give the values at 'attn.hook_pattern'"),
        ("ln_final.hook_scale", "cannot give the values at 'ln_final.hook_scale'"),
    ],
)
def test_hooks_that_plain_transformers_cannot_map(
    hook: str, words: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    save_any(tmp_path / "sae", models("gpt2"), "standard", hook, model_class_name="AutoModelForCausalLM")
    with pytest.raises(CatalogError, match=words) as caught:
        loaded(tmp_path / "sae", workshop)
    assert caught.value.where == f"--sae {tmp_path / 'sae'}"


@pytest.mark.parametrize(
    ("hook", "width", "head"),
    [
        ("blocks.1.hook_mlp_in", 32, None),
        ("blocks.1.hook_attn_in", 128, None),
        ("blocks.1.hook_attn_in", 32, 3),
        ("blocks.1.attn.hook_result", 128, None),
        ("blocks.1.attn.hook_result", 32, 2),
        ("blocks.1.hook_q_input", 128, None),
        ("blocks.1.attn.hook_z", 8, 1),
    ],
)
def test_hooks_are_switched_on_and_shaped_as_in_training(
    hook: str, width: int, head: int | None, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    """The same rows as from the ActivationsStore with which sae_lens trains."""
    save_any(tmp_path / "sae", models("gpt2"), "standard", hook, d_in=width, hook_head_index=head)
    subject = loaded(tmp_path / "sae", workshop)
    store = object.__new__(ActivationsStore)
    vars(store).update(
        model=subject.model.module, hook_name=hook, hook_head_index=head, d_in=width, device=torch.device("cpu"),
        autocast_lm=False, model_kwargs={}, seqpos_slice=(None,),
    )  # fmt: skip
    with torch.inference_mode():
        read, _ = subject.values(IDS[None])
        torch.testing.assert_close(read, store.get_activations(IDS[None]))


def test_a_head_that_the_hook_does_not_have(workshop: Path, models: Callable, tmp_path: Path) -> None:
    for hook, head in ((READ, 0), ("blocks.1.attn.hook_z", 9)):
        save_any(tmp_path / "sae", models("gpt2"), "standard", hook, hook_head_index=head)
        with pytest.raises(CatalogError, match=f"of attention head {head}, which the model does not have at '{hook}'"):
            loaded(tmp_path / "sae", workshop)


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "skip_transcoder", "matching_pursuit"])
def test_normalisations_that_sae_lens_applies(
    normalize: str, architecture: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    more = {"hook_name_out": WRITTEN} if "transcoder" in architecture else {}
    save_any(tmp_path / "sae", models("llama"), architecture, READ, normalize=normalize, **more)
    subject, plain = loaded(tmp_path / "sae", workshop), SAE.load_from_disk(tmp_path / "sae")
    with torch.inference_mode():
        read, _ = subject.values(IDS[None])
        read = read[0]
        wanted = plain.forward(read)
        torch.testing.assert_close(subject.decode(subject.encode(read).to_sparse(), read), wanted)


@pytest.mark.parametrize("normalize", ["expected_average_only_in", "covariance_whitening"])
def test_a_normalisation_that_is_not_in_the_weights_is_refused(
    normalize: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    """sae_lens applies it in training only; once it is folded in, the settings say `none`."""
    save_any(tmp_path / "sae", models("llama"), "standard", READ, normalize=normalize)
    with pytest.raises(CatalogError, match=f"do not contain its normalisation '{normalize}'") as caught:
        loaded(tmp_path / "sae", workshop)
    assert "fold_activation_" in caught.value.fix


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "topk", "matching_pursuit"])
def test_a_factor_that_was_folded_in(architecture: str, workshop: Path, models: Callable, tmp_path: Path) -> None:
    save_any(tmp_path / "raw", models("llama"), architecture, READ, normalize="expected_average_only_in")
    raw, folded = SAE.load_from_disk(tmp_path / "raw"), SAE.load_from_disk(tmp_path / "raw")
    folded.fold_activation_norm_scaling_factor(0.25)
    folded.save_model(tmp_path / "sae")
    subject = loaded(tmp_path / "sae", workshop)
    with torch.inference_mode():
        read, _ = subject.values(IDS[None])
        found = subject.decode(subject.encode(read[0]), read[0])
        torch.testing.assert_close(found, raw.forward(read[0] * 0.25) / 0.25, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_published_saes_that_need_a_factor_have_one() -> None:
    """sae_lens' loaders of these releases leave the factor to its directory."""
    for release, entry in get_pretrained_saes_directory().items():
        if entry.conversion_func in ("llama_scope", "llama_scope_r1_distill"):
            assert set(entry.norm_scaling_factor) == set(entry.saes_map), release


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma"])
def test_normalised_values_do_not_depend_on_folding(
    shape: str, workshop: Path, models: Callable, tmp_path: Path
) -> None:
    """`hook_normalized` is before the norm's weight; once that is folded, it is also what the MLP reads."""
    found = {}
    for fold in (False, True):
        for point in ("ln2.hook_normalized", "mlp.hook_in"):
            more = {"model_from_pretrained_kwargs": {"fold_ln": fold}}
            save_any(tmp_path / f"{fold}-{point}", models(shape), "standard", f"blocks.1.{point}", **more)
            subject = loaded(tmp_path / f"{fold}-{point}", workshop)
            with torch.inference_mode():
                found[fold, point] = subject.values(IDS[None])[0]
    plain, folded = (found[fold, "ln2.hook_normalized"] for fold in (False, True))
    torch.testing.assert_close(plain, folded, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[True, "mlp.hook_in"], folded, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[False, "mlp.hook_in"], plain, rtol=1e-2, atol=1e-2)


def test_a_context_beyond_that_of_the_model_is_refused(saes: Callable[..., Path], tmp_path: Path) -> None:
    config = SubjectConfig(sae=str(saes("gpt2", SaeKind("standard"))), device="cpu", context=65)
    with pytest.raises(CatalogError, match=r"at most 64 tokens.*\n.*--context 65\n.*up to 64"):
        load_subject(config, Cache(tmp_path))
    assert load_subject(replace(config, context=64), Cache(tmp_path)).info.context == 64


def test_products_are_not_rounded_by_tf32(saes: Callable[..., Path], tmp_path: Path) -> None:
    """Even if a library allowed it before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        load_subject(SubjectConfig(sae=str(saes("gpt2", SaeKind("standard"))), device="cpu"), Cache(tmp_path))
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
