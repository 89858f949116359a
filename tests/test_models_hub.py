"""Loading `gpt2-small` and its SAE with the real loaders, from a Hub cache with tiny files."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import CONTEXT, GPT2_TOKENS, SaeKind, make_tokenizer
from huggingface_hub.errors import OfflineModeIsEnabled

from saecatalog.cache import Cache
from saecatalog.cli import main
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.models import hub as hub_module
from saecatalog.site.check import check_site
from saecatalog.subject import load_subject

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
    """An SAE in the format of the release: an old configuration without today's metadata."""
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


@pytest.mark.slow
def test_gpt2_small_is_built_through_the_real_loaders(
    hub: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
    words = ["--model", "gpt2-small", "--sae", SAE, "--corpus", str(workshop / "corpus"), "--quiet"]
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"), "--device", "cpu"]
    assert main(["build", *words, *places]) == 0
    assert capsys.readouterr().out == f"Open {tmp_path / 'site' / 'index.html'}\n"
    folder = tmp_path / "site" / "gpt2-small" / "6-res-jb"
    manifest = json.loads((folder / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sae"]["neuronpedia_id"] == "gpt2-small/6-res-jb"
    assert manifest["sae"]["d_sae"] == D_SAE
    assert check_site(tmp_path / "site") == []
    page = next(p for p in (folder / "features").glob("[0-9]*.html") if ".embed" not in p.name)
    assert f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{page.stem}" in page.read_text(encoding="utf-8")


@pytest.mark.slow
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
            subject = load_subject(SubjectConfig(sae=SAE, model=model, device="cpu"), Cache(tmp_path))
            wanted = plain - plain.mean(-1, keepdim=True)
            torch.testing.assert_close(subject.values(ids)[0], wanted, rtol=1e-4, atol=1e-4)


class Network:
    """A substitute for `socket.create_connection` that fails a number of times, then connects."""

    def __init__(self, failures: int):
        self.failures, self.tries = failures, 0

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.tries += 1
        if self.tries <= self.failures:
            raise socket.gaierror("Name or service not known")
        return socket.socket()


@pytest.fixture
def request_to_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A request on a machine without a proxy; no earlier result is cached for its host."""
    monkeypatch.setattr(hub_module, "getproxies", dict)
    monkeypatch.setattr(hub_module, "PAUSE", 0)
    hub_module._answers.cache_clear()
    yield SimpleNamespace(url=SimpleNamespace(scheme="https", host="hub.example", port=None))
    hub_module._answers.cache_clear()


def test_a_network_that_drops_a_connection_is_tried_again(request_to_hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(failures=2)
    monkeypatch.setattr(socket, "create_connection", network.connect)
    hub_module.require_network(request_to_hub)
    assert network.tries == 3


def test_without_a_network_the_hub_is_asked_three_times_in_all(
    request_to_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(failures=100)
    monkeypatch.setattr(socket, "create_connection", network.connect)
    for _ in range(4):  # as for four files
        with pytest.raises(OfflineModeIsEnabled, match=r"hub\.example"):
            hub_module.require_network(request_to_hub)
    assert network.tries == 3


def test_behind_a_proxy_the_hub_itself_need_not_answer(request_to_hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(socket, "create_connection", Network(failures=100).connect)
    hub_module.require_network(request_to_hub)


TWO_BUILDS = """
import sys
from saecatalog.cli import main
for sae in sys.argv[1:3]:
    print(main(["build", "--sae", sae, *sys.argv[3:]]))
"""


@pytest.mark.slow
def test_without_a_network_there_is_one_error_and_no_other_line(workshop: Path, saes: Any, tmp_path: Path) -> None:
    """For an SAE and for a model from the hub. The hub's address is a port on which nothing listens."""
    folder = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    settings = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    settings["metadata"] |= {"model_class_name": "HookedTransformer", "model_name": "gpt2-small"}
    (folder / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        environment = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
        places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"), "--device", "cpu"]
        command = [sys.executable, "-c", TWO_BUILDS, SAE, str(folder), *places, "--corpus", str(workshop / "corpus")]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["2", "2"], run.stderr
    fix = f"  do:    {hub_module.OFFLINE_FIX}"
    assert run.stderr.splitlines() == [
        *("error: The model hub cannot be reached to load the SAE.", f"  where: --sae {SAE}", fix),
        *("error: The model hub cannot be reached to load the model.", "  where: --model gpt2-small", fix),
    ]
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_a_damaged_download_is_named(tmp_path: Path, hash_name: str) -> None:
    """Small files are kept under git's hash, large ones under their SHA-256; a file without either passes."""
    content = b"weights"
    head = b"blob %d\0" % len(content) if hash_name == "sha1" else b""
    blob = tmp_path / "blobs" / hashlib.new(hash_name, head + content).hexdigest()
    folder = snapshot(tmp_path, "a/b")
    blob.parent.mkdir()
    blob.write_bytes(content)
    (folder / "model.safetensors").symlink_to(blob)
    (folder / "config.json").write_text("{}")
    hub_module.check_downloads([folder])
    blob.write_bytes(b"Weights")
    with pytest.raises(CatalogError, match=r"model\.safetensors is damaged") as error:
        hub_module.check_downloads([folder])
    assert error.value.where == str(blob)


def test_what_was_downloaded_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = snapshot(tmp_path, "a/b")
    (folder / "sae").mkdir()
    revision = tmp_path / "hub/models--a--b/refs/main"
    assert hub_module.hub_places("a/b", "sae") == [revision, folder / "sae"]
    assert hub_module.hub_places("a/b", "sae/params.npz") == [revision, folder / "sae"]
    assert hub_module.hub_places("a/c") == [tmp_path / "hub/models--a--c/refs/main"]
