"""Tiny models, tokenizers, SAEs, corpora and stores, made once per run in a temporary folder, without a network."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["browsing", "live_site", "sites", "wide", "comparing", "studies", "faults"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Workers beside each other, and the builds they start, would fight for the cores with threads of their own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, without time limits and without a folder of its own.
settings.register_profile("same", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write tests/snapshots anew")


DEFAULT_SITE = {"any_site", "default_site"}
"""Fixtures that build the default catalog."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that open Chromium or build the default catalog, by the fixtures they use, and order the tests.

    The tests of the default catalog take longest, so they come first: at the end, one worker would still run them while
    the others are idle. They are next to each other, so that one worker runs them and builds the catalog once.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "browser" in fixtures:
            item.add_marker("browser")
        if fixtures & DEFAULT_SITE:
            item.add_marker("slow")
    items.sort(key=lambda item: DEFAULT_SITE.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether to update the snapshots."""
    return bool(request.config.getoption("--update-snapshots"))


CONTEXT = 16
D_SAE = 48
SILENT, CONSTANT, TWIN_A, TWIN_B = 0, 1, 2, 3
"""Features made on purpose: never active, equally active on every token, and two with the same encoder."""

LONG = (
    "The ferry left the old harbour before dawn, and nobody on the quay saw that the lamp was still burning. "
    "At noon the keeper climbed the stairs, counted 365 steps, and wrote the number down twice."
)
NEAR_A = "First notice: the committee will meet again on Friday at noon in the old town hall near the river."
NEAR_B = "Second notice: the committee will meet again on Friday at noon in the old town hall near the river."
PROSE = [
    "The cat sat on the mat.",
    "The cat sat on the mat.",
    "The dog barked at the cat and the cat ran.",
    "A dog is not a cat; a cat is not a dog!",
    "Nobody saw the lamp burning on the quay.",
    NEAR_A,
    NEAR_B,
    "She counted 1, 2, 3, 4 and then 365 steps.",
    "Where is the ferry? Where is the keeper?",
    "<s> <|endoftext|> </s> are plain words here.",
    "  Two  spaces   and three,\tand a tab  here ",
]
SCRIPTS = [
    "日本語の猫は畳の上に座った。",
    "Кошка сидела на коврике.",
    "القطة على السجادة",
    "बिल्ली चटाई पर बैठी।",
    "naïve café – déjà vu…",
    "family 👨‍👩‍👧‍👦 flag 🇳🇿 done 😀",
    "แมวนั่งบนเสื่อ",
]
CODE = [
    "def meow(cat):\n    return cat.sit('mat')",
    "for i in range(3):\n\n    print(i)\n        # done",
    "SELECT cat FROM mat WHERE sat = 1;",
    "if (cat) {\n\tsit();\n}\n\n\treturn;",
]
SINGLE = ["x", "😀", "?", "The cat sat on the mat."]
CONCEPTS = {
    "animals": ["The cat sat.", "A dog barked at a cat.", "The dog ran and the cat ran.", "猫 and 犬"],
    "numbers": ["1, 2, 3", "365 steps and 12 more"],
    "one": ["Where is the lamp?"],
}


def write_corpus(folder: Path) -> None:
    """Five categories of unequal size in four ways of storing them: lines, blocks, and a folder of files."""
    (folder / "letters").mkdir(parents=True)
    for name, lines in (("prose", PROSE), ("scripts", SCRIPTS), ("single", SINGLE)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "code.blocks.txt").write_text("\n\n\n".join(c.replace("\n\n", "\n") for c in CODE), encoding="utf-8")
    (folder / "letters" / "long.txt").write_text(LONG, encoding="utf-8")
    (folder / "letters" / "spaced.txt").write_text(CODE[1] + "\n\n" + CODE[3], encoding="utf-8")


def write_concepts(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, lines in CONCEPTS.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_tokenizer(special: dict[str, str], trim_offsets: bool = False, texts: Iterable[str] = ()) -> Any:
    """A byte-level BPE tokenizer trained on some texts; `special` gives bos_token, eos_token and pad_token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(set(special.values())) + 60,
        special_tokens=sorted(set(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts or [*PROSE, *SCRIPTS, *CODE, LONG], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


LLAMA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
GPT2_TOKENS = dict.fromkeys(LLAMA_TOKENS, "<|endoftext|>")


def save_model(folder: Path, shape: str) -> None:
    """Save a small random model and its tokenizer: RMS norm or LayerNorm, with norm weights that are not all 1."""
    import torch
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
    )

    tokenizer = make_tokenizer(GPT2_TOKENS if shape == "gpt2" else LLAMA_TOKENS)
    ids = {f"{name}_id": getattr(tokenizer, f"{name}_id") for name in LLAMA_TOKENS}
    # The vocabulary of the weights is larger than the tokenizer's, as where it was padded to a round number.
    common = {"vocab_size": len(tokenizer) + 5, "initializer_range": 0.3, **ids}
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    wide |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(3)
    if shape == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_positions=64, n_embd=32, n_layer=4, n_head=4, **common))
    elif shape == "gemma":
        config = Gemma2Config(max_position_embeddings=64, head_dim=8, query_pre_attn_scalar=8, **wide, **common)
        model = Gemma2ForCausalLM(config)
    else:
        config = LlamaConfig(max_position_embeddings=64, tie_word_embeddings=False, **wide, **common)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    if shape == "sink":
        _plant_massive_token(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _plant_massive_token(model: Any, tokenizer: Any) -> None:
    """Make the residual stream huge at every question mark."""
    import torch

    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("?")] *= 500


SHAPES = ("llama", "gpt2", "gemma", "sink")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of everything made here, with a corpus and concepts.

    Torch is limited to one thread, because on such small models threads mostly wait for each other.
    """
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("workshop")
    write_corpus(folder / "corpus")
    write_concepts(folder / "concepts")
    return folder


@pytest.fixture(scope="session")
def models(workshop: Path) -> Callable[[str], Path]:
    """Returns the folder of a saved model: `llama`, `gpt2` (pad == BOS == EOS), `gemma`, or `sink` (massive tokens)."""

    @cache
    def folder(shape: str) -> Path:
        save_model(workshop / shape, shape)
        return workshop / shape

    return folder


@dataclass(frozen=True)
class SaeKind:
    """The specification of an SAE: its architecture, and the settings that change its formula."""

    architecture: str = "standard"
    hook: str = "blocks.2.hook_resid_pre"
    prepend_bos: bool = True
    apply_b_dec_to_input: bool = True
    normalize: str = "none"
    rescale: bool = False
    """Top-k only: rank the pre-activations times the norms of the decoder rows."""
    reshape: str = "none"
    """`hook_z` where the SAE takes heads apart and puts them together itself."""

    @property
    def slug(self) -> str:
        flags = f"{int(self.prepend_bos)}{int(self.apply_b_dec_to_input)}{int(self.rescale)}"
        return f"{self.architecture}-{self.hook}-{self.normalize}-{flags}-{self.reshape}"


@pytest.fixture(scope="session")
def saes(workshop: Path, models: Callable[[str], Path]) -> Callable[[str, SaeKind], Path]:
    """Returns the folder of an SAE of a kind for a model, calibrated on the corpus and saved by sae_lens."""

    @cache
    def folder(shape: str, kind: SaeKind) -> Path:
        path = workshop / f"{shape}-{kind.slug}"
        save_sae(path, models(shape), kind, D_SAE)
        return path

    return folder


def save_sae(folder: Path, model_folder: Path, kind: SaeKind, d_sae: int) -> None:
    """Make an SAE whose features fire on 5 to 15 % of the corpus's tokens, and save it as sae_lens does."""
    import numpy as np
    import reference
    import torch

    from saecatalog.verify.sae import sae_input

    texts = [*PROSE, *SCRIPTS, *CODE, *SINGLE, LONG]
    bos = reference.bos_of(model_folder) if kind.prepend_bos else None
    runs = [reference.residuals(model_folder, kind.hook, text, CONTEXT, bos) for text in texts]
    residual = np.concatenate([run[1] for run in runs])
    generator = np.random.default_rng(7)
    d_in = residual.shape[1]
    encoder = generator.normal(size=(d_in, d_sae))
    encoder[:, TWIN_B] = encoder[:, TWIN_A]
    encoder[:, CONSTANT] = 0
    decoder = encoder.T * 0.5 + generator.normal(size=(d_sae, d_in)) * 0.3
    b_dec = np.asarray(generator.normal(size=d_in)) * 0.1
    inputs = sae_input(residual, b_dec, kind.apply_b_dec_to_input, kind.normalize)
    # Typical rows set the scale, so that a massive one does not squash all others.
    encoder *= 4 / np.median(np.abs(inputs @ encoder[:, [TWIN_A]]))
    decoder[CONSTANT] /= 50
    decoder *= np.median(np.linalg.norm(residual, axis=1)) / 30
    sae, bias = _new_sae(kind, d_in, d_sae, model_folder)
    norms = np.linalg.norm(decoder, axis=1) if kind.rescale else np.ones(d_sae)
    weights = {"W_enc": encoder, "W_dec": decoder, "b_dec": b_dec, **bias(inputs @ encoder, norms, generator)}
    with torch.no_grad():
        for name, values in weights.items():
            getattr(sae, name).copy_(torch.from_numpy(np.asarray(values, np.float64)))
    save = getattr(sae, "save_inference_model", None) or sae.save_model
    save(folder)


def _new_sae(kind: SaeKind, d_in: int, d_sae: int, model_folder: Path) -> tuple[Any, Callable[..., dict[str, Any]]]:
    """An SAE object of sae_lens, and a function that computes its biases from the values before they are added."""
    from sae_lens.saes import batchtopk_sae, gated_sae, jumprelu_sae, standard_sae, topk_sae
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(
        model_name=str(model_folder),
        hook_name=kind.hook,
        model_class_name="TransformerBridge",
        context_size=CONTEXT,
        prepend_bos=kind.prepend_bos,
    )
    common = {
        "d_in": d_in,
        "d_sae": d_sae,
        "apply_b_dec_to_input": kind.apply_b_dec_to_input,
        "normalize_activations": kind.normalize,
        "reshape_activations": kind.reshape,
        "metadata": metadata,
    }
    if kind.architecture == "standard":
        return standard_sae.StandardSAE(standard_sae.StandardSAEConfig(**common)), _standard_bias
    if kind.architecture == "jumprelu":
        return jumprelu_sae.JumpReLUSAE(jumprelu_sae.JumpReLUSAEConfig(**common)), _jumprelu_bias
    if kind.architecture == "gated":
        return gated_sae.GatedSAE(gated_sae.GatedSAEConfig(**common)), _gated_bias
    if kind.architecture == "topk":
        config = topk_sae.TopKSAEConfig(k=5, rescale_acts_by_decoder_norm=kind.rescale, **common)
        return topk_sae.TopKSAE(config), _topk_bias
    config = batchtopk_sae.BatchTopKTrainingSAEConfig(k=5, rescale_acts_by_decoder_norm=kind.rescale, **common)
    return batchtopk_sae.BatchTopKTrainingSAE(config), _batchtopk_bias


def gap_threshold(values: Any, low: float = 0.86, high: float = 0.95) -> float:
    """A threshold between two quantiles, in the middle of the widest gap, so that rounding cannot cross it."""
    import numpy as np

    ordered = np.sort(values)
    part = ordered[int(len(ordered) * low) : int(len(ordered) * high) + 1]
    widest = int(np.argmax(np.diff(part)))
    return float((part[widest] + part[widest + 1]) / 2)


def _standard_bias(before: Any, norms: Any, generator: Any) -> dict[str, Any]:
    bias = [-gap_threshold(column) if column.any() else 3.0 for column in before.T]
    bias[SILENT] = -1e4
    return {"b_enc": bias}


def _jumprelu_bias(before: Any, norms: Any, generator: Any) -> dict[str, Any]:
    bias = generator.normal(size=before.shape[1])
    bias[TWIN_B] = bias[TWIN_A]
    bias[CONSTANT] = 3.0
    threshold = [max(gap_threshold(c + b), 0.5) if c.any() else 0.5 for c, b in zip(before.T, bias, strict=True)]
    threshold[SILENT] = 1e6
    return {"b_enc": bias, "threshold": threshold}


def _gated_bias(before: Any, norms: Any, generator: Any) -> dict[str, Any]:
    """Half of the features have a magnitude below 0 on some tokens where their gate is open."""
    import numpy as np

    gate = np.array(_standard_bias(before, norms, generator)["b_enc"])
    r_mag = generator.normal(size=len(gate)) * 0.3
    r_mag[TWIN_B] = r_mag[TWIN_A]
    offset = np.where(np.arange(len(gate)) % 4 < 2, 0.3, -0.7)
    offset[TWIN_B] = offset[TWIN_A]
    magnitude = np.exp(r_mag) * gate + offset
    magnitude[CONSTANT] = 3.0
    return {"b_gate": gate, "r_mag": r_mag, "b_mag": magnitude}


def _topk_bias(before: Any, norms: Any, generator: Any) -> dict[str, Any]:
    """Without duplicated features, because it is undefined which of two equal values is among the first k."""
    bias = generator.normal(size=before.shape[1])
    bias[SILENT], bias[CONSTANT], bias[TWIN_B] = -1e4, 100.0, -1e4
    return {"b_enc": bias}


def _batchtopk_bias(before: Any, norms: Any, generator: Any) -> dict[str, Any]:
    """The saved SAE is a JumpReLU with one threshold for all features, before the decoder's norms are folded in."""
    bias = generator.normal(size=before.shape[1])
    bias[SILENT], bias[CONSTANT] = -1e4, 100.0
    bias[TWIN_B] = bias[TWIN_A]
    return {"b_enc": bias, "topk_threshold": gap_threshold(((before + bias) * norms)[:, 2:].ravel(), 0.89, 0.91)}


@pytest.fixture(scope="session")
def subjects(workshop: Path, saes: Callable[[str, SaeKind], Path]) -> Callable[..., Any]:
    """Returns the loaded subject of a model and a kind of SAE."""
    from saecatalog.cache import Cache
    from saecatalog.config import SubjectConfig
    from saecatalog.subject import load_subject

    @cache
    def subject(shape: str, kind: SaeKind) -> Any:
        return load_subject(SubjectConfig(sae=str(saes(shape, kind)), device="cpu"), Cache(workshop / "cache"))

    return subject


@pytest.fixture(scope="session")
def elsewhere(
    workshop: Path, saes: Callable[[str, SaeKind], Path], subjects: Callable[..., Any]
) -> Iterator[Callable[[str, SaeKind], Any]]:
    """Returns the subject of a model and a kind of SAE, as the workers of a hostile engine load it."""
    from hostile_engine import HostileEngine

    from saecatalog.config import SubjectConfig
    from saecatalog.remote_subject import RemoteSubject

    with HostileEngine() as engine, pytest.MonkeyPatch.context() as patch:
        # As here: products as narrow as those of tiny models are rounded differently by more threads.
        patch.setenv("OMP_NUM_THREADS", "1")

        def remote(shape: str, kind: SaeKind) -> RemoteSubject:
            config = SubjectConfig(sae=str(saes(shape, kind)), device="cpu")
            return RemoteSubject(engine, config, workshop / "cache", subjects(shape, kind).info)

        yield remote


@pytest.fixture(scope="session")
def texts(workshop: Path) -> list[Any]:
    """The texts of the corpus, as read by the program."""
    from saecatalog.config import CorpusConfig
    from saecatalog.texts.corpus import read_corpus

    return read_corpus(CorpusConfig(paths=(str(workshop / "corpus"),), concepts=None))


@pytest.fixture(scope="session")
def concept_texts(workshop: Path) -> list[Any]:
    from saecatalog.config import CorpusConfig
    from saecatalog.texts.corpus import read_concepts

    return read_concepts(CorpusConfig(paths=(str(workshop / "corpus"),), concepts=str(workshop / "concepts")))
