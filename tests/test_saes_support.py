"""Which SAEs can be built: each reason against one is what a build refuses it for."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sae_lens.registry import SAE_CLASS_REGISTRY
from test_models_safe_loading import change_json, explore, sae

from saecatalog.cli import main
from saecatalog.saes.listing import Listed, all_rows
from saecatalog.saes.support import library, markdown, reason, summary, support
from saecatalog.subject import UNFOLDED, UNSUPPORTED

__all__ = ["explore", "sae"]

ROOT = Path(__file__).parent.parent
GOOD = Listed(
    *("release/id", "gpt2-small", "blocks.3.hook_resid_pre", "16k", ""),
    architecture="standard",
    model_name="gpt2-small",
)


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    """Made by `python build.py list --support --markdown > docs/support.md`."""
    found = markdown(support(all_rows()))
    kept = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")
    versions = re.compile(r"with (.+); do not edit")
    if versions.findall(kept) != versions.findall(found):
        pytest.skip("made with other versions of the libraries")
    assert kept == found


def test_nearly_all_can_be_built() -> None:
    """Of sae_lens 6.54.12."""
    found = support(all_rows())
    assert found.buildable >= 0.98 * found.rows
    assert sum(found.reasons.values()) == found.rows - found.buildable
    assert sum(all_ for all_, _ in found.families.values()) == found.rows
    assert sum(good for _, good in found.families.values()) == found.buildable


def test_nothing_speaks_against_a_usual_sae() -> None:
    assert reason(GOOD) == ""


@pytest.mark.parametrize("architecture", SAE_CLASS_REGISTRY)
def test_architectures(architecture: str) -> None:
    assert bool(reason(replace(GOOD, architecture=architecture))) == (architecture in UNSUPPORTED)


@pytest.mark.parametrize("name", ["none", "layer_norm", "constant_norm_rescale", *UNFOLDED])
def test_normalizations(name: str, sae: Path, explore: Any) -> None:
    """The list speaks against exactly those SAEs that a build refuses."""
    change_json(sae / "cfg.json", lambda settings: settings.update(normalize_activations=name))
    assert bool(reason(replace(GOOD, normalization=name))) == bool(explore("--sae", sae))


@pytest.mark.parametrize(
    ("model", "runs"),
    [
        ("gpt2-small", "transformer_lens"),
        ("google/gemma-3-27b-it", "transformer_lens"),
        ("Qwen/Qwen3.5-35B-A3B-Base", "transformers"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "transformers"),
        ("someone/llama-of-mine", "transformers"),
        ("someone/llamalike", ""),
        ("someone/mystery-7b", ""),
        ("mystery", ""),
    ],
)
def test_models(model: str, runs: str) -> None:
    assert library(model) == runs
    assert bool(reason(replace(GOOD, model_name=model))) == (runs == "")


@pytest.mark.parametrize(
    ("hook", "known"),
    [
        ("blocks.3.hook_resid_mid", True),
        ("blocks.3.attn.hook_z", True),
        ("blocks.3.ln2.hook_normalized", True),
        ("blocks.3.hook_mlp_in", True),
        ("blocks.3.hook_other", False),
        ("hook_embed", True),
        ("0", False),
    ],
)
def test_hooks(hook: str, known: bool) -> None:
    assert bool(reason(replace(GOOD, hook=hook))) == (not known)


def test_what_only_the_weights_tell_is_a_note() -> None:
    found = support(
        [
            replace(GOOD, loader="qwen_scope"),
            replace(GOOD, architecture=""),
            replace(GOOD, architecture="transcoder", name="a-clt/0"),
        ]
    )
    assert found.buildable == 3
    said = "\n".join(summary(found))
    assert "3 of 3 SAEs can be built (100.0 %)" in said
    assert all(word in said for word in ("holds tensors only", "names the architecture", "cross-layer"))


def test_the_command_counts_those_that_contain_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--support", "temporal", "--cache", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 of 3 SAEs that contain 'temporal' can be built (0.0 %).")
    assert "3  architecture 'temporal'" in said
    assert main(["list", "--support", "gtp2", "--cache", str(tmp_path)]) == 1
    assert "Similar names" in capsys.readouterr().err
    assert main(["list", "--markdown", "qwen-scope", "--cache", str(tmp_path)]) == 0
    assert "| qwen_scope, transformers | 544 | 544 |" in capsys.readouterr().out
