"""Programs of the live part, run by a slow interpreter, against the models and SAEs that they were compiled from."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import families
import live_reference
import numpy as np
import pytest
import torch
import transformers as hf
from any_sae import save_any
from conftest import LLAMA_TOKENS, make_tokenizer
from families import FAMILIES, LAYER, Family, gemma_like
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY
from sites import FETCH_FIRST
from test_hook_matrix import POINTS, UNLOADABLE, load
from transformer_lens import HookedTransformer, HookedTransformerConfig

from saecatalog.cache import Cache
from saecatalog.config import load_config
from saecatalog.default_model import downloaded
from saecatalog.hooked_model import HookedModel
from saecatalog.language_model import LanguageModel, NoSuchHook
from saecatalog.live.checks import validate
from saecatalog.live.model_program import compile_program
from saecatalog.live.program import NoProgram, Program
from saecatalog.live.sae_program import KINDS
from saecatalog.plain_model import PlainModel
from saecatalog.subject import Subject, load_subject

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
        FAMILIES["Llama"], head_dim=12, attention_bias=True, mlp_bias=True, hidden_act="gelu",
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

RUNNERS = (
    "HookedTransformer",
    "HookedTransformer, folded",
    "TransformerBridge",
    "TransformerBridge, folded",
    "transformers",
)
UNLOADABLE_VARIANTS = {(UNLOADABLE[0], runner) for runner in RUNNERS[:2]} | {
    ("Llama 3", runner) for runner in RUNNERS[:2]
}
"""HookedTransformer takes the width of a head from the published model, so that the small one's weights do not fit."""


@pytest.fixture(scope="session")
def variant_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a variant's model."""
    tokenizer = make_tokenizer(LLAMA_TOKENS)

    @cache
    def folder(name: str) -> Path:
        with mock.patch.dict(families.FAMILIES, VARIANTS):
            return families.make(name, tokenizer, tmp_path_factory.mktemp("variant"))

    return folder


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), mock.patch.dict(families.FAMILIES, VARIANTS):
        warnings.simplefilter("ignore")
        yield


def model_of(name: str, runner: str, folder: Path) -> LanguageModel:
    library, _, folded = runner.partition(", ")
    with quiet():
        model = load(name, library, folder)
        if folded and library == "HookedTransformer":
            model.module.process_weights_()
        elif folded:
            model.module.process_weights()
    return model


@pytest.fixture(scope="session")
def sae_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Returns an SAE that reads values of some width at a hook."""

    @cache
    def folder(architecture: str, width: int, normalize: str, d_out: int) -> Path:
        path = tmp_path_factory.mktemp("sae") / "sae"
        return save_any(path, Path("none"), architecture, RESIDUAL, d_in=width, normalize=normalize, d_out=d_out)

    def made(hook: str, width: int, architecture: str = "standard", normalize: str = "none", **metadata: Any) -> Any:
        sae = SAE.load_from_disk(folder(architecture, width, normalize, 24 if "transcoder" in architecture else 0))
        for name, value in {"hook_name": hook, "hook_name_out": hook, **metadata}.items():
            setattr(sae.cfg.metadata, name, value)
        return sae

    return made


def subject_of(model: LanguageModel, sae: Any, context: int = CONTEXT) -> Subject:
    """A subject without names and files."""
    info: Any = SimpleNamespace(hook=sae.cfg.metadata.hook_name, context=context)
    files: Any = None
    return Subject(model, sae, info, torch.device("cpu"), files)


@torch.inference_mode()
def assert_same(subject: Subject, program: Program, ids: torch.Tensor = IDS, tolerance: float = 1e-4) -> None:
    """The program gives what the subject gives, within a share of the largest value."""
    read, activations = live_reference.run(program, ids[0].numpy())
    wanted = subject.values(ids)[0]
    close(read, wanted[0].numpy(), tolerance)
    close(activations, subject.encode(wanted)[0].numpy(), tolerance)


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert wanted.any()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))


def ready(model: LanguageModel, hook: str) -> int | None:
    """The width of the values at a hook; None if the model has none."""
    try:
        model.prove([hook], torch.device("cpu"))
    except NoSuchHook:
        return None
    return int(model.values([hook], IDS)[0].flatten(2).shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_every_family_at_every_hook(name: str, runner: str, variant_models: Callable, sae_of: Callable) -> None:
    if (name, runner) in UNLOADABLE_VARIANTS:
        with pytest.raises((AttributeError, RuntimeError)):
            model_of(name, runner, variant_models(name))
        return
    model = model_of(name, runner, variant_models(name))
    widths = {hook: ready(model, hook) for hook in HOOKS}
    assert sum(width is not None for width in widths.values()) >= len(HOOKS) - 4
    for hook, width in widths.items():
        if width is not None:
            subject = subject_of(model, sae_of(hook, width))
            assert_same(subject, compile_program(subject))


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
def test_hooks_by_the_paths_of_modules(name: str, hook: str, variant_models: Callable, sae_of: Callable) -> None:
    model = model_of(name, "transformers", variant_models(name))
    width = ready(model, hook)
    assert width is not None
    subject = subject_of(model, sae_of(hook, width))
    assert_same(subject, compile_program(subject))


@pytest.mark.parametrize("hook", [f"transformer.h.{LAYER}.attn.c_attn.output", "transformer.ln_f", "transformer.wpe"])
@torch.no_grad()
def test_modules_that_programs_do_not_reach(hook: str, variant_models: Callable, sae_of: Callable) -> None:
    model = model_of("GPT-2", "transformers", variant_models("GPT-2"))
    model.prepare([hook])
    with pytest.raises(NoProgram, match="does not reach"):
        compile_program(subject_of(model, sae_of(hook, 32)))


# SAEs


@pytest.fixture(scope="session")
def llama(variant_models: Callable) -> LanguageModel:
    return model_of("Llama", "TransformerBridge", variant_models("Llama"))


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", sorted(SAE_CLASS_REGISTRY))
@torch.no_grad()
def test_every_architecture(architecture: str, normalize: str, llama: LanguageModel, sae_of: Callable) -> None:
    if SAE_CLASS_REGISTRY[architecture][0] not in KINDS:
        sae = sae_of(RESIDUAL, 32, architecture)
        with pytest.raises(NoProgram, match=f"architecture '{architecture}' have no live part"):
            compile_program(subject_of(llama, sae))
        return
    subject = subject_of(llama, sae_of(RESIDUAL, 32, architecture, normalize))
    assert_same(subject, compile_program(subject))


@torch.no_grad()
def test_without_a_shift_the_encoder_reads_the_value_itself(llama: LanguageModel, sae_of: Callable) -> None:
    sae = sae_of(RESIDUAL, 32)
    sae.cfg.apply_b_dec_to_input = False
    subject = subject_of(llama, sae)
    program = compile_program(subject)
    assert program.steps[-1]["from"] == program.read
    assert_same(subject, program)


@torch.no_grad()
def test_ranking_by_the_norms_of_the_decoder(llama: LanguageModel, sae_of: Callable) -> None:
    sae = sae_of(RESIDUAL, 32, "topk")
    before = compile_program(subject_of(llama, sae))
    sae.cfg.rescale_acts_by_decoder_norm = True
    subject = subject_of(llama, sae)
    program = compile_program(subject)
    assert_same(subject, program)
    chosen = [live_reference.run(p, IDS[0].numpy())[1] > 0 for p in (before, program)]
    assert (chosen[0] != chosen[1]).any()


@torch.no_grad()
def test_batchtopk_as_it_is_saved_for_inference(llama: LanguageModel, tmp_path: Path) -> None:
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(4)
    metadata = SAEMetadata(model_name="none", hook_name=RESIDUAL)
    trained = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=32, d_sae=40, k=5, metadata=metadata))
    trained.topk_threshold.fill_(0.2)
    trained.save_inference_model(tmp_path)
    subject = subject_of(llama, SAE.load_from_disk(tmp_path))
    program = compile_program(subject)
    assert program.steps[-1]["kind"] == "jumprelu"
    assert_same(subject, program)


@torch.no_grad()
def test_an_unknown_normalisation(llama: LanguageModel, sae_of: Callable) -> None:
    sae = sae_of(RESIDUAL, 32)
    sae.cfg.normalize_activations = "covariance_whitening"
    with pytest.raises(NoProgram, match="normalisation 'covariance_whitening'"):
        compile_program(subject_of(llama, sae))


# Heads


@pytest.mark.parametrize("runner", RUNNERS[::2])
@torch.no_grad()
def test_one_head(runner: str, variant_models: Callable, sae_of: Callable) -> None:
    model = model_of("GPT-2", runner, variant_models("GPT-2"))
    for point, width in (("attn.hook_z", 8), ("hook_attn_in", 32)):
        hook = f"blocks.{LAYER}.{point}"
        model.prepare([hook])
        subject = subject_of(model, sae_of(hook, width, hook_head_index=2))
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
def test_hooks_that_programs_do_not_reach(
    point: str, width: int, head: int | None, why: str, llama: LanguageModel, sae_of: Callable
) -> None:
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(llama, sae_of(f"blocks.{LAYER}.{point}", width, hook_head_index=head)))


# Models that HookedTransformer makes from settings


def hooked(**settings: Any) -> LanguageModel:
    sizes = {"n_layers": 2, "d_model": 32, "n_ctx": 32, "d_head": 8, "n_heads": 4, "d_mlp": 64, "d_vocab": 40}
    module = HookedTransformer(HookedTransformerConfig(**{"act_fn": "gelu_new", "seed": 1, **sizes, **settings}))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = HookedModel.__new__(HookedModel)
    model.module, model.n_layers = module.eval(), 2
    return model


GPT_J = {
    "positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": True, "parallel_attn_mlp": True,
}  # fmt: skip
GPT_NEO = {"use_local_attn": True, "attn_types": ["global", "local"], "window_size": 3, "use_attn_scale": False}


@pytest.mark.parametrize(
    "settings",
    [
        GPT_J,
        GPT_NEO,
        {"attn_only": True, "d_mlp": None, "act_fn": None},
        {"normalization_type": None, "act_fn": "gelu"},
        {"normalization_type": "LNPre", "gated_mlp": True, "act_fn": "silu", "n_key_value_heads": 2},
        {"scale_attn_by_inverse_layer_idx": True, "normalization_type": "RMSPre", "attn_scores_soft_cap": 0.5},
        {**GPT_J, "rotary_adjacent_pairs": False, "use_qk_norm": True, "normalization_type": "RMS"},
    ],
)
@torch.no_grad()
def test_settings_of_hooked_transformer(settings: dict[str, Any], sae_of: Callable) -> None:
    model = hooked(**settings)
    for point in ("hook_resid_post", "hook_attn_out"):
        subject = subject_of(model, sae_of(f"blocks.1.{point}", 32))
        assert_same(subject, compile_program(subject))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"positional_embedding_type": "shortformer"}, "positions of the kind 'shortformer'"),
        ({"positional_embedding_type": "alibi"}, "positions of the kind 'alibi'"),
        ({"post_embedding_ln": True}, "a norm of the embedding"),
        ({"act_fn": "solu_ln"}, "a norm as activation function"),
        ({"act_fn": "solu"}, "activation function is not known"),
        ({"attention_dir": "bidirectional"}, "attention that looks forward"),
        ({"num_experts": 2, "experts_per_token": 1}, "experts"),
        ({**GPT_J, "use_dynamic_ntk_rope": True}, "depends on how long the text is"),
        ({"use_attention_sinks": True}, "attention sinks"),
        ({"clip_qkv": 1.0}, "a limit of queries"),
    ],
)
@torch.no_grad()
def test_settings_that_programs_do_not_have(settings: dict[str, Any], why: str, sae_of: Callable) -> None:
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(hooked(**settings), sae_of("blocks.1.hook_resid_post", 32)))


# Models of transformers


def plain(config: Any) -> Any:
    torch.manual_seed(6)
    return hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 4.0}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (hf.MambaConfig(**SMALL), "architecture 'mamba' has no live part"),
        (hf.OlmoeConfig(**SMALL), "architecture 'olmoe' has no live part"),
        (hf.OPTConfig(**SMALL, word_embed_proj_dim=32, ffn_dim=64), "architecture 'opt' has no live part"),
        (hf.GPTNeoConfig(**SMALL, num_layers=2, attention_types=[[["global"], 2]]), "'gpt_neo' has no live part"),
        (
            hf.LlamaConfig(**SMALL, rope_parameters=LONG | {"original_max_position_embeddings": 8}),
            "positions depend on how long the text is",
        ),
        (hf.LlamaConfig(**SMALL, hidden_act="tanh"), "activation function is not known"),
        (hf.Gemma3TextConfig(**SMALL, head_dim=8, attn_logit_softcapping=1.0), "a cap of attention scores"),
        (hf.Gemma3TextConfig(**SMALL, head_dim=8, use_bidirectional_attention=True), "also looks forward"),
        (hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40, add_cross_attention=True), "another text"),
    ],
)
@torch.no_grad()
def test_models_that_programs_do_not_have(config: Any, why: str, sae_of: Callable) -> None:
    model = PlainModel.__new__(PlainModel)
    model.module = plain(config)
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(model, sae_of("blocks.1.hook_resid_post", 32)))


@torch.no_grad()
def test_a_class_of_another_library_with_a_known_name(sae_of: Callable) -> None:
    module = plain(hf.LlamaConfig(**SMALL))
    module.model.layers[0].__class__ = type("LlamaDecoderLayer", (type(module.model.layers[0]),), {})
    model = PlainModel.__new__(PlainModel)
    model.module = module
    with pytest.raises(NoProgram, match="'llama' has no live part"):
        compile_program(subject_of(model, sae_of("blocks.1.hook_resid_post", 32)))


@torch.no_grad()
def test_half_precision_is_taken_up_to_float32(sae_of: Callable) -> None:
    """The program computes in float32 with the weights that a model in half precision has."""
    for config in (hf.LlamaConfig(**SMALL), hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40)):
        half, full = PlainModel.__new__(PlainModel), PlainModel.__new__(PlainModel)
        half.module = plain(config).to(torch.bfloat16)
        full.module = plain(config).to(torch.bfloat16).float()
        full.__dict__ |= PlainModel(full.module, None).__dict__
        sae = sae_of("blocks.1.hook_resid_mid", 32)
        full.prepare(["blocks.1.hook_resid_mid"])
        assert_same(subject_of(full, sae), compile_program(subject_of(half, sae)))


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


# Checks


@pytest.fixture(scope="session")
def program(llama: LanguageModel, sae_of: Callable) -> Program:
    with torch.no_grad():
        return compile_program(subject_of(llama, sae_of(RESIDUAL, 32, "jumprelu")))


def first(program: Program, op: str) -> dict[str, Any]:
    return next(step for step in program.steps if step["op"] == op)


BREAKS: dict[str, Callable[[Program], Any]] = {
    "there is no buffer": lambda p: p.buffers.pop("z"),
    "there is no tensor": lambda p: p.tensors.pop("layers.0.mlp.down.weight"),
    "no step has the tensors": lambda p: p.tensors.update(more=np.zeros(3, np.float32)),
    "no float32 vector or matrix": lambda p: p.tensors.update(embedding=p.tensors["embedding"].astype(np.float64)),
    "is read before it is written": lambda p: p.steps.pop(0),
    "the last step is not 'encode'": lambda p: p.steps.pop(),
    "'encode' comes twice": lambda p: p.steps.append(p.steps[-1]),
    "there is no such step": lambda p: first(p, "add").update(op="subtract"),
    "it has the fields": lambda p: first(p, "linear").pop("bias"),
    "it is in place": lambda p: first(p, "linear").update(to="normed"),
    "has the shape": lambda p: p.buffers.update(hidden=65),
    "there is no norm": lambda p: first(p, "norm").update(kind="batch"),
    "into 5 parts": lambda p: first(p, "norm").update(parts=5),
    "'eps' is nan": lambda p: first(p, "norm").update(eps=float("nan")),
    "into 3 heads": lambda p: first(p, "rotate").update(heads=3),
    "there are no pairs": lambda p: first(p, "rotate").update(pairs="thirds"),
    "values are turned": lambda p: p.tensors.update(
        {name: np.zeros((16, 5), np.float32) for name in ("rotation.cos", "rotation.sin")}
    ),
    "queries and keys differ": lambda p: first(p, "attention").update(kv_heads=1),
    "the window is no number": lambda p: first(p, "attention").update(window=1.5),
    "there is no function": lambda p: first(p, "act").update(kind="tanh"),
    "values a token": lambda p: first(p, "add").update(by="k"),
    "there is no encoder": lambda p: p.steps[-1].update(kind="softmax"),
    "which the SAE reads": lambda p: p.buffers.update(other=32),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_programs_are_found(what: str, program: Program) -> None:
    read = "other" if "SAE reads" in what else program.read
    broken = Program(dict(program.buffers), [dict(s) for s in program.steps], dict(program.tensors), read)
    validate(dataclasses.replace(broken, read=program.read))
    BREAKS[what](broken)
    with pytest.raises(ValueError, match=what):
        validate(broken)
