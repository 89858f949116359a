"""The list of known SAEs: what it knows of each, how it is filtered, and what a mistyped word gives."""

import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from saecatalog.cache import Cache
from saecatalog.cli import main
from saecatalog.replacing import replaced
from saecatalog.saes.listing import Listed, list_saes

ROOT = Path(__file__).parent.parent

GEMMA_SCOPE = "gemma-2-2b/0-gemmascope-att-16k"
BENCH = "sae_bench_gemma-2-2b_topk_width-2pow12_date-1109"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def rows(cache: Path) -> list[Listed]:
    with Cache(cache) as opened:
        return list_saes(cache=opened)


@pytest.fixture
def said(cache: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `list` and returns exit code, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["list", *words, "--cache", str(cache)])
        return code, *capsys.readouterr()

    return run


def test_every_entry_of_the_directory_is_listed(rows: list[Listed]) -> None:
    names = [f"{release}/{sae_id}" for release, r in get_pretrained_saes_directory().items() for sae_id in r.saes_map]
    assert sorted(row.name for row in rows[1:]) == sorted(names)
    assert rows[0].hook.startswith("blocks.")


def test_hook_width_and_neuronpedia_id_are_known_for_most(rows: list[Listed]) -> None:
    """Of 13,857 SAEs of sae_lens 6.54.12. What is unknown stands in files that are not part of sae_lens."""
    directory = rows[1:]
    assert Counter(row.loader for row in directory if not row.hook_known) == {"mntss_clt_layer_transcoder": 26}
    assert sum(bool(row.width) for row in directory) > 0.97 * len(directory)
    ids = sum(bool(page) for r in get_pretrained_saes_directory().values() for page in r.neuronpedia_id.values())
    assert sum(bool(row.neuronpedia) for row in directory) > ids


@pytest.mark.parametrize(
    ("name", "hook", "width", "neuronpedia"),
    [
        ("gpt2-small-res-jb/blocks.6.hook_resid_pre", "blocks.6.hook_resid_pre", "", "gpt2-small/6-res-jb"),
        ("gpt2-small-res-jb-feature-splitting/blocks.8.hook_resid_pre_768", "blocks.8.hook_resid_pre", "768", None),
        ("gpt2-small-resid-mid-v5-32k/blocks.3.hook_resid_mid", "blocks.3.hook_resid_mid", "32k", None),
        ("gpt2-small-hook-z-kk/blocks.5.hook_z", "blocks.5.attn.hook_z", "49152", "gpt2-small/5-att-kk"),
        ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", "hook_embed", "4096", None),
        ("gemma-scope-2b-pt-att/layer_0/width_16k/average_l0_104", "blocks.0.attn.hook_z", "16384", GEMMA_SCOPE),
        ("gemma-scope-2-270m-pt-transcoders-all/layer_9_width_16k_l0_small", "blocks.9.hook_mlp_in", "16k", ""),
        ("gemma-scope-2-4b-it-att-all/layer_0_width_16k_l0_big", "blocks.0.attn.hook_z", "16k", ""),
        ("llama_scope_lxa_32x/l31a_32x", "blocks.31.hook_attn_out", "131k", "llama3.1-8b/31-llamascope-att-131k"),
        ("llama_scope_r1_distill/l0r_800m_slimpajama", "blocks.0.hook_resid_post", "32k", None),
        ("mwhanna-qwen3-4b-transcoders/layer_35", "blocks.35.mlp.hook_in", "", "qwen3-4b/35-transcoder-hp"),
        ("qwen-scope-3.5-27b-w80k-l50/layer63", "blocks.63.hook_resid_post", "81920", ""),
        ("gpt-oss-20b-andyrdt/resid_post_layer_3_trainer_0", "blocks.3.hook_resid_post", "", None),
        (f"{BENCH}/blocks.12.hook_resid_post__trainer_0", "blocks.12.hook_resid_post", "4096", None),
    ],
)  # fmt: skip
def test_what_is_known_of_an_sae(name: str, hook: str, width: str, neuronpedia: str | None, rows: list[Listed]) -> None:
    (row,) = [row for row in rows if row.name == name]
    assert (row.hook, row.width) == (hook, width)
    assert neuronpedia in (None, row.neuronpedia)


def test_hooks_that_paths_say_are_those_of_sae_lens_own_functions(rows: list[Listed], tmp_path: Path) -> None:
    """Given the files that it would download, with what they have for certain."""
    contents = {
        "dictionary_learning_1": {
            "trainer": {"dict_class": "AutoEncoder", "activation_dim": 8, "dict_size": 16, "lm_name": "x"},
            "buffer": {"ctx_len": 8},
        },
        "mwhanna_transcoder": {
            "model_name": "x",
            **{key: {"value": 8} for key in ("d_model", "d_feature", "batch_size")},
        },
    }
    directory = get_pretrained_saes_directory()
    for row in rows[1:]:
        if row.loader in contents:
            lookup = directory[row.name.partition("/")[0]]
            path = lookup.saes_map[row.name.partition("/")[2]]
            content = contents[row.loader]
            if "trainer" in content:
                layer = re.search(r"layer_(\d+)", path)
                assert layer is not None
                content["trainer"]["layer"] = int(layer[1])
            (tmp_path / "file").write_text(json.dumps(content), encoding="utf-8")
            with replaced(pretrained_sae_loaders, "hf_hub_download", lambda *_, **__: tmp_path / "file"):
                getter = pretrained_sae_loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[row.loader]
                assert getter(lookup.repo_id, path, "cpu", False, None)["hook_name"] == row.hook


def test_two_names_of_one_sae_have_one_neuronpedia_id(rows: list[Listed]) -> None:
    directory = get_pretrained_saes_directory()
    pages: dict[tuple[str, str], set[str]] = {}
    for row in rows[1:]:
        release, _, sae_id = row.name.partition("/")
        pages.setdefault((directory[release].repo_id, directory[release].saes_map[sae_id]), set()).add(row.neuronpedia)
    assert all("" not in found or found == {""} for found in pages.values())


def test_the_list_as_json_holds_what_the_list_shows(said: Any) -> None:
    code, out, _ = said("gpt2-small-res-jb", "--json")
    assert code == 0
    shown = [re.split(r"\s{2,}", line.strip()) for line in said("gpt2-small-res-jb")[1].splitlines()[1:]]
    assert shown
    assert [[value for value in sae.values() if value] for sae in json.loads(out)] == shown
    assert said("no-such-sae", "--json")[:2] == (1, "[]\n")
    assert said("gpt2", "--json", "--support")[0] == 2


def test_the_second_list_needs_no_library(cache: Path, rows: list[Listed]) -> None:
    """Importing sae_lens alone takes seconds."""
    code = (
        "import sys; from saecatalog.cli import main; main(sys.argv[1:]);"
        "assert not {'torch', 'sae_lens', 'transformers'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "list", "gpt2-small-res-jb", "--cache", str(cache)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "gpt2-small/6-res-jb" in run.stdout


def test_a_cache_that_cannot_be_written_is_no_reason_to_list_nothing(tmp_path: Path, rows: list[Listed]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with Cache(tmp_path / "file" / "cache") as cache:
        assert list_saes("gpt2-small-res-jb", cache) == [row for row in rows if row.matches("gpt2-small-res-jb")]


def test_list_filters(said: Any) -> None:
    code, out, err = said("gpt2-small-res-jb")
    assert code == 0
    assert "gpt2-small-res-jb/blocks.6.hook_resid_pre" in out
    assert "gpt2-small/6-res-jb" in out
    assert "gemma" not in out
    assert err == f"{len(out.splitlines()) - 1} SAEs\n"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("gtp2-small", "  gpt2-small  "),
        ("gema-scope", "  gemma-scope  "),
        ("pythia-7x", "  pythia-70m  "),
        ("gpt2-small-res-jb/blocks.6.hook_resid_prex", "  gpt2-small-res-jb/blocks.6.hook_resid_pre  1 SAE\n"),
    ],
)
def test_list_of_a_mistyped_word_names_the_nearest(word: str, near: str, said: Any, rows: list[Listed]) -> None:
    code, out, err = said(word)
    assert (code, out) == (1, "")
    assert err.startswith(f"No SAE matches '{word}'.\nSimilar names:\n")
    assert near in err
    for line in err.splitlines()[2:]:
        name, count, _ = line.split()
        assert int(count.replace(",", "")) == sum(row.matches(name) for row in rows) > 0


def test_list_of_a_word_that_is_like_no_name(said: Any) -> None:
    assert said("qqqqqqqq") == (1, "", "No SAE matches 'qqqqqqqq'.\n")


def on_a_terminal(command: list[str], **environment: str) -> str:
    """What a command writes when its output is a terminal of 24 lines."""
    here, there = pty.openpty()
    settings = {**os.environ, "LINES": "24", "COLUMNS": "80", "TERM": "xterm", **environment}
    process = subprocess.Popen(command, stdin=there, stdout=there, stderr=subprocess.DEVNULL, cwd=ROOT, env=settings)
    os.close(there)
    found = b""
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:
            break
        if not part:
            break
        found += part
    assert process.wait() == 0
    os.close(here)
    return found.decode()


def test_a_long_list_on_a_terminal_is_paged(cache: Path, rows: list[Listed]) -> None:
    command = [sys.executable, "build.py", "list", "--cache", str(cache)]
    assert on_a_terminal([*command, "gpt2-small"], PAGER="head -1 | sed s/^/paged:/").startswith("paged:SAE ")
    assert "paged" not in on_a_terminal([*command, "llama-3-8b-it-res-jh"], PAGER="sed s/^/paged:/")
    piped = subprocess.run(command, cwd=ROOT, env={**os.environ, "PAGER": "false"}, capture_output=True, text=True)
    assert len(piped.stdout.splitlines()) == len(rows) + 1
