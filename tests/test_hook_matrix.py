"""Every family x every hook x everything that can run the model, against plain hooks on the modules of `transformers`.

The table in docs/hooks.md is written from the results: `pytest tests/test_hook_matrix.py --update-snapshots`.
"""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LLAMA_TOKENS, make_tokenizer
from families import FAMILIES, LAYER, load_hooked, load_plain, make, values

from saecatalog.models.hooked_model import HookedModel
from saecatalog.models.language_model import LanguageModel, NoSuchHook
from saecatalog.models.plain_model import PlainModel

POINTS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_mlp_out",
    "hook_attn_out",
    "attn.hook_z",
    "mlp.hook_in",
    "mlp.hook_post",
    "hook_mlp_in",
    "ln1.hook_normalized",
    "ln2.hook_normalized",
    "hook_attn_in",
)
"""The last one changes the shape of others while it is on."""

HOOKS = (*(f"blocks.{LAYER}.{point}" for point in POINTS), "hook_embed")
RUNNERS = ("HookedTransformer", "TransformerBridge", "transformers")
DOCS = Path(__file__).parent.parent / "docs" / "hooks.md"
MARKS = "<!-- matrix -->", "<!-- end of matrix -->"


@pytest.fixture(scope="session")
def family_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a family's model."""
    tokenizer = make_tokenizer(LLAMA_TOKENS)

    @cache
    def folder(name: str) -> Path:
        return make(name, tokenizer, tmp_path_factory.mktemp("family"))

    return folder


def load(name: str, runner: str, folder: Path) -> LanguageModel:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if runner == "transformers":
        return PlainModel(load_plain(folder), tokenizer)
    if runner == "HookedTransformer":
        return HookedModel(load_hooked(name, folder))
    bridge = TransformerBridge.boot_transformers(
        str(folder), hf_model=load_plain(folder), tokenizer=tokenizer, dtype=torch.float32
    )
    return HookedModel(bridge.eval())


@pytest.fixture(scope="session")
def found(family_models: Callable[[str], Path]) -> Callable[[str, str], dict[str, Any]]:
    """Returns what each hook gives: values `[position, width]`, or why there are none."""

    @cache
    def run(name: str, runner: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = load(name, runner, family_models(name))
            except AttributeError as error:
                return dict.fromkeys(HOOKS, str(error))
        return {hook: _values(model, hook) for hook in HOOKS}

    return run


IDS = torch.arange(3, 17)[None]


@torch.inference_mode()
def _values(model: LanguageModel, hook: str) -> Any:
    try:
        model.prove([hook], torch.device("cpu"))
    except NoSuchHook as error:
        return str(error)
    return model.values([hook], IDS)[0].flatten(2)[0].numpy()


ABSENT = {
    "hook_resid_mid": {("NeoX", runner) for runner in RUNNERS} | {("Phi", runner) for runner in RUNNERS},
    "mlp.hook_in": {(name, "HookedTransformer") for name in FAMILIES},
    "hook_mlp_in": {("Phi", "TransformerBridge")},
    "ln2.hook_normalized": {("Phi", "TransformerBridge")},
    "hook_attn_in": {
        (name, "HookedTransformer") for name in ("Llama", "Mistral", "Gemma 2", "Gemma 3", "Qwen 2", "Qwen 3")
    },
}
"""Where a runner has no such hook; the program then uses plain transformers, or says in one line that there is none."""


UNLOADABLE = ("Phi", "HookedTransformer")
"""transformer_lens reads a setting of Phi that transformers has moved."""


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_values_at_hooks(name: str, runner: str, family_models: Callable[[str], Path], found: Callable) -> None:
    wanted = values(name, load_plain(family_models(name)), IDS)
    for hook, value in found(name, runner).items():
        point = hook.removeprefix(f"blocks.{LAYER}.")
        if (name, runner) in ABSENT.get(point, ()) or (name, runner) == UNLOADABLE:
            assert isinstance(value, str), hook
        else:
            assert not isinstance(value, str), f"{hook}: {value}"
            np.testing.assert_allclose(value, wanted[hook], rtol=1e-3, atol=1e-4, err_msg=hook)


@pytest.mark.slow
def test_the_table_in_the_documentation(found: Callable, update: bool) -> None:
    lines = ["| hook | " + " | ".join(FAMILIES) + " |", "|---|" + "---|" * len(FAMILIES)]
    for hook in HOOKS:
        cells = []
        for name in FAMILIES:
            results = [found(name, runner)[hook] for runner in RUNNERS]
            ran = [short for short, result in zip("HBT", results, strict=True) if not isinstance(result, str)]
            cells.append(" ".join(ran) or "none")
        lines.append(f"| `{hook.removeprefix(f'blocks.{LAYER}.')}` | " + " | ".join(cells) + " |")
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    table = f"{before}{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}"
    if update:
        DOCS.write_text(table, encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == table
