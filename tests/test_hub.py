"""The path of `gpt2-small` and its SAE, through the real loaders, from a Hub cache that holds tiny files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CONTEXT, GPT2_TOKENS, make_tokenizer

from saecatalog.config import SubjectConfig
from saecatalog.site.check import check_site
from saecatalog.subject import load_subject

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SAE = "gpt2-small-res-jb/blocks.6.hook_resid_pre"
COMMIT = "0" * 39 + "1"
D_IN, D_SAE = 16, 40


def snapshot(home: Path, repository: str) -> Path:
    """The folder of a repository's files in a Hub cache, as `huggingface_hub` lays it out."""
    root = home / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "snapshots" / COMMIT).mkdir(parents=True)
    return root / "snapshots" / COMMIT


def write_gpt2(folder: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = make_tokenizer(GPT2_TOKENS)
    torch.manual_seed(5)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(n_positions=64, n_ctx=64, n_embd=D_IN, n_layer=7, n_head=2, vocab_size=len(tokenizer), **ends)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_sae(folder: Path) -> None:
    """An SAE in the format of the release: an old configuration, without the metadata of today's."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(6)
    folder.mkdir()
    encoder = torch.randn(D_IN, D_SAE)
    weights = {
        "W_enc": encoder,
        "b_enc": torch.full((D_SAE,), -0.1),
        "W_dec": torch.nn.functional.normalize(encoder.T.contiguous(), dim=-1),
        "b_dec": torch.zeros(D_IN),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    hook = "blocks.6.hook_resid_pre"
    settings = {
        "model_name": "gpt2-small",
        "hook_point": hook,
        "hook_point_layer": 6,
        "hook_name": hook,
        "hook_layer": 6,
        "architecture": "standard",
        "context_size": CONTEXT,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "torch.float32",
        "device": "cpu",
        "prepend_bos": True,
        "normalize_activations": "none",
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
    }
    (folder / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hub")
    for name in ("gpt2", "openai-community/gpt2"):
        write_gpt2(snapshot(home, name))
    write_sae(snapshot(home, "jbloom/GPT2-Small-SAEs-Reformatted") / "blocks.6.hook_resid_pre")
    return home


def test_gpt2_small_is_built_through_the_real_loaders(hub: Path, workshop: Path, tmp_path: Path) -> None:
    words = ["--model", "gpt2-small", "--sae", SAE, "--corpus", str(workshop / "corpus"), "--quiet"]
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"), "--device", "cpu"]
    environment = {**os.environ, "HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "build.py", *words, *places]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"Open {tmp_path / 'site' / 'index.html'}\n"
    folder = tmp_path / "site" / "gpt2-small" / "6-res-jb"
    manifest = json.loads((folder / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sae"]["neuronpedia_id"] == "gpt2-small/6-res-jb"
    assert manifest["sae"]["d_sae"] == D_SAE
    assert check_site(tmp_path / "site") == []
    page = next(p for p in (folder / "features").glob("[0-9]*.html") if ".embed" not in p.name)
    assert f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{page.stem}" in page.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:(?s).*model_from_pretrained_kwargs")
def test_the_model_is_loaded_with_the_arguments_of_the_sae(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release asks for `center_writing_weights`: what every block writes then has mean 0 over the model's width.

    Compared with `transformers`' residual stream less its mean, an independent way to the same numbers; the model once
    from the hub and once from a folder.
    """
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
    ids = torch.tensor([[3, 40, 7, 99, 120]])
    with torch.inference_mode():
        plain = AutoModelForCausalLM.from_pretrained("gpt2")(ids, output_hidden_states=True).hidden_states[6]
        for model in (None, str(hub / "hub" / "models--gpt2" / "snapshots" / COMMIT)):
            subject = load_subject(SubjectConfig(sae=SAE, model=model, device="cpu"), tmp_path)
            wanted = plain - plain.mean(-1, keepdim=True)
            torch.testing.assert_close(subject.residual(ids), wanted, rtol=1e-4, atol=1e-4)
