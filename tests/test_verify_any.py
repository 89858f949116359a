"""`verify` on catalogs of every kind of SAE, hook and text: right ones pass, and every planted error is found."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from any_sae import save_any
from conftest import LLAMA_TOKENS, make_tokenizer
from families import FAMILIES, make
from safetensors.torch import load_file, save_file
from test_verify import QUIET, change_manifest, change_table, lines_of, put

from saecatalog.cli import main
from saecatalog.verify.evidence import Evidence, gather
from saecatalog.verify.published import Published
from saecatalog.verify.report import Report
from saecatalog.verify.runner import SubjectSources, load_runner

pytestmark = pytest.mark.slow

GOOD, FOUND, MISTAKE = 0, 1, 2
STREAM, MLP = "blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)


@dataclass(frozen=True)
class Kind:
    """A catalog: its model, its SAE and the words of the command."""

    family: str = "Llama"
    architecture: str = "standard"
    hook: str = STREAM
    written: str = ""
    d_in: int = 32
    normalize: str = "none"
    words: tuple[str, ...] = ()
    more: tuple[tuple[str, Any], ...] = field(default=())
    """More of the SAE's metadata."""


KINDS = {
    "transcoder": Kind("Qwen 3", "transcoder", "blocks.1.mlp.hook_in", MLP),
    "skip": Kind("Llama", "skip_transcoder", "blocks.1.hook_resid_mid", MLP, words=("--overlap", "5")),
    "jumprelu": Kind("Gemma 2", "jumprelu_transcoder", "blocks.1.ln2.hook_normalized", MLP),
    "jumprelu-skip": Kind(
        "Gemma 3", "jumprelu_skip_transcoder", "blocks.1.hook_mlp_in", MLP,
        more=(
            ("hf_hook_name", "model.layers.1.pre_feedforward_layernorm.output"),
            ("hf_hook_name_out", "model.layers.1.post_feedforward_layernorm.output"),
        ),
    ),
    "pursuit": Kind("GPT-2", "matching_pursuit", "blocks.1.hook_resid_mid"),
    "pursuit-scaled": Kind("NeoX", "matching_pursuit", "blocks.1.hook_mlp_out", normalize="layer_norm"),
    "plain": Kind("Mistral", "topk", "model.layers.1", more=(("model_class_name", "AutoModelForCausalLM"),)),
    "moved": Kind("GPT-2", "gated", "transformer.h.1.mlp.input", words=("--overlap", "3")),
    "post": Kind("Phi", "standard", "blocks.1.mlp.hook_post", d_in=64),
    "in": Kind("Qwen 2", "standard", "blocks.1.hook_mlp_in"),
    "heads": Kind("NeoX", "standard", "blocks.1.hook_attn_in", d_in=128),
    "one-head": Kind("Llama", "standard", "blocks.1.attn.hook_z", d_in=8, more=(("hook_head_index", 2),)),
    "normalized": Kind("GPT-2", "jumprelu", "blocks.1.ln1.hook_normalized"),
    "embedding": Kind("Gemma 2", "standard", "hook_embed"),
    "special": Kind("Llama", words=("--special-tokens",)),
    "folded": Kind(
        "Llama", hook="blocks.1.mlp.hook_in", more=(("model_from_pretrained_kwargs", {"fold_ln": True}),)
    ),
    "folded-centred": Kind(
        "GPT-2", hook="blocks.1.mlp.hook_in", more=(("model_from_pretrained_kwargs", {"fold_ln": True}),)
    ),
    "centred": Kind(
        "GPT-2", hook="blocks.1.hook_mlp_in", more=(("model_from_pretrained_kwargs", {"center_writing_weights": True}),)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@pytest.fixture(scope="module")
def catalogs(folder: Path, workshop: Path) -> Callable[[str], Path]:
    """Returns the folder of a catalog."""
    corpus = shutil.copytree(workshop / "corpus", folder / "corpus")
    with (corpus / "prose.txt").open("a", encoding="utf-8") as file:
        file.write("First <s> then </s> and the end.\n")
    turns = [{"role": "user", "content": "Where is the cat?"}, {"role": "assistant", "content": "On the mat."}]
    (corpus / "talks.jsonl").write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")

    @cache
    def model(family: str) -> Path:
        tokenizer = make_tokenizer(LLAMA_TOKENS)
        tokenizer.chat_template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        return make(family, tokenizer, folder / family)

    @cache
    def catalog(name: str) -> Path:
        kind = KINDS[name]
        sae = folder / f"sae-{name}"
        written = {"hook_name_out": kind.written} if kind.written else {}
        save_any(
            sae, model(kind.family), kind.architecture, kind.hook, kind.d_in, d_out=32, normalize=kind.normalize,
            **{**written, **dict(kind.more)},
        )  # fmt: skip
        if kind.architecture == "matching_pursuit":
            _with_rows_of_length_1(sae)
        out = folder / f"site-{name}"
        read = ["--corpus", str(corpus), "--concepts", str(workshop / "concepts"), "--notable", "4", "--notes", ""]
        places = ["--cache", str(folder / "cache"), "--out", str(out), "--device", "cpu", "--quiet"]
        assert main(["build", "--sae", str(sae), *read, *places, *kind.words]) == GOOD
        (manifest,) = out.rglob("data/manifest.json")
        return manifest.parent.parent

    return catalog


def _with_rows_of_length_1(sae: Path) -> None:
    """As matching pursuit is trained; with longer rows, a pursuit goes away from its input."""
    weights = load_file(sae / "sae_weights.safetensors")
    weights["W_dec"] = torch.nn.functional.normalize(weights["W_dec"], dim=1)
    save_file(weights, sae / "sae_weights.safetensors")


def verify(capsys: pytest.CaptureFixture[str], folder: Path, catalog: Path, sample: int = 40) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["verify", str(catalog), "--cache", str(folder / "cache"), "--sample", str(sample), "--quiet"])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("name", KINDS)
def test_a_right_catalog_is_found_right(
    name: str, catalogs: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = catalogs(name)
    code, said = verify(capsys, folder, catalog)
    assert said.endswith("; 0 mismatches\n"), said
    assert code == GOOD
    counts = json.loads((catalog / "data/manifest.json").read_text(encoding="utf-8"))["counts"]
    assert counts["features_fired"] > 5
    special = pq.read_table(catalog / "data/texts.parquet").to_pandas()["special_tokens"]
    assert special.all() if name == "special" else special.sum() == 1


def test_the_kinds_cover_every_family() -> None:
    assert {kind.family for kind in KINDS.values()} == set(FAMILIES)


def test_what_is_shown_as_effects_on_logits(catalogs: Callable[[str], Path]) -> None:
    """Where the SAE writes to the residual stream, whatever it reads."""
    shown = {name: len(pq.read_table(catalogs(name) / "data/logits.parquet")) > 0 for name in KINDS}
    hidden = {"folded", "folded-centred", "moved", "post", "heads", "one-head", "normalized", "embedding"}
    assert {name for name, there in shown.items() if not there} == hidden


# Planted errors


def more_than_one_percent(table: Any, column: str) -> None:
    table[column] = (table[column] * 1.02).astype(table[column].dtype)


def fewer(counts: np.ndarray) -> np.ndarray:
    changed = counts.copy()
    changed[int(np.flatnonzero(counts)[0])] -= 1
    return changed


TABLES = [
    ("transcoder", "logits", put("logit", 1, lambda v: v * 1.01), "logits.parquet, feature 0, promoted 1, logit"),
    ("skip", "features", put("n_active", 7, lambda n: n + 1), "features.parquet, feature 7, n_active"),
    ("skip", "contexts", put("activation", 0, lambda v: v * 1.01), "activation: published"),
    ("jumprelu", "text_scores", lambda t: more_than_one_percent(t, "score"), "score: published"),
    ("jumprelu-skip", "features", put("logit_std", 3, lambda v: v * 1.01), "features.parquet, feature 3, logit_std"),
    ("pursuit", "features", put("n_active", 7, lambda n: n + 3), "features.parquet, feature 7, n_active"),
    ("pursuit", "text_scores", lambda t: more_than_one_percent(t, "score"), "score: published"),
    ("pursuit-scaled", "histograms", put("counts", 4, fewer), "histograms.parquet, feature"),
    ("plain", "features", put("max", 6, lambda v: v * 1.01), "features.parquet, feature 6, max"),
    ("special", "texts", put("token_ends", 2, lambda e: e - 1), "token_ends: published"),
]


@pytest.fixture
def copy(tmp_path: Path, catalogs: Callable[[str], Path]) -> Callable[[str], Path]:
    """Returns a copy of the figures of a catalog, for tests to change: its data, and which features have pages."""
    numbers = itertools.count()

    def copied(name: str) -> Path:
        target = tmp_path / str(next(numbers)) / name
        for part in ("data", "features"):
            shutil.copytree(catalogs(name) / part, target / part)
        return target

    return copied


@pytest.fixture(scope="module")
def evidences(catalogs: Callable[[str], Path], folder: Path) -> Callable[[str], Evidence]:
    """Returns a catalog with its texts run again, every feature sampled."""

    @cache
    def gathered(name: str) -> Evidence:
        published = Published(catalogs(name))
        runner = load_runner(published.manifest, SubjectSources(folder / "cache"))
        return gather(published, runner, list(range(published.d_sae)), Report(), QUIET)

    return gathered


def test_planted_errors_are_found(copy: Callable, evidences: Callable) -> None:
    """All in one test, because what they share takes longer than the checks."""
    missed = []
    for name, table, change, told in TABLES:
        catalog = copy(name)
        change_table(catalog, table, change)
        lines = lines_of(catalog, evidences(name), table, again=table == "texts")
        missed += [(name, table, told, lines[:20])] if not any(told in line for line in lines) else []
    for name, part, key, alter in FACTS:
        catalog = copy(name)
        change_manifest(catalog, lambda manifest, p=part, k=key, a=alter: manifest[p].update({k: a(manifest[p][k])}))
        lines = lines_of(catalog, evidences(name), "features")
        found = any(line.startswith(f"manifest.json, {part}.{key}") for line in lines)
        missed += [] if found else [(name, part, key, lines[:20])]
    assert not missed


def test_another_reading_of_special_tokens_is_found(copy: Callable, evidences: Callable) -> None:
    catalog = copy("special")
    content = pq.read_table(catalog / "data/texts.parquet").to_pandas()["content"]
    place = int(np.flatnonzero(content.str.startswith("First <s>"))[0])
    change_table(catalog, "texts", put("special_tokens", place, lambda v: not v))
    lines = lines_of(catalog, evidences("special"), "texts", again=True)
    for told in ("n_tokens: published", "token_ends: published", "manifest.json, corpus.sha256"):
        assert any(told in line for line in lines), lines[:20]


FACTS: list[tuple[str, str, str, Callable[[Any], Any]]] = [
    ("transcoder", "health", "explained_variance", lambda v: v + 0.01),
    ("jumprelu-skip", "health", "explained_variance", lambda v: v - 0.01),
    ("pursuit", "health", "explained_variance", lambda v: v - 0.01),
    ("pursuit", "health", "l0_mean", lambda v: v * 1.01),
    ("skip", "sae", "hook_out", lambda v: v.replace("mlp_out", "resid_post")),
    ("skip", "sae", "hook", lambda v: v.replace("mid", "pre")),
    ("jumprelu-skip", "sae", "hook", lambda v: "blocks.1.hook_mlp_in"),
    ("transcoder", "sae", "d_out", lambda v: v + 1),
    ("transcoder", "sae", "cross_layer", lambda v: True),
    ("plain", "model", "library", lambda v: "transformer_lens"),
]


@pytest.mark.parametrize(("name", "overlap"), [("skip", 0), ("skip", 4), ("moved", 4)])
def test_activations_of_another_overlap_are_found(
    name: str, overlap: int, copy: Callable, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = copy(name)
    change_manifest(catalog, lambda manifest: manifest["settings"].update(overlap=overlap))
    code, said = verify(capsys, folder, catalog, sample=2)
    assert code == FOUND
    assert "text_scores.parquet" in said


def test_matching_pursuit_in_half_precision_is_refused(
    copy: Callable, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = copy("pursuit")
    change_manifest(catalog, lambda manifest: manifest["settings"].update(dtype="bfloat16"))
    code, said = verify(capsys, folder, catalog)
    assert code == MISTAKE
    assert "each choice of a matching pursuit depends on the one before, and on rounding in bfloat16" in said
