"""Datasets on the hub: a hub on this machine answers the real library; a rebuild needs no hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import REVISION, fake_hub
from text_forms import as_jsonl, write

from saecatalog.config import CorpusConfig
from saecatalog.corpus import read_corpus
from saecatalog.datasets_hub import HubDataset
from saecatalog.errors import CatalogError

READ = """
import json, sys
from pathlib import Path
from saecatalog.cache import Cache
from saecatalog.config import CorpusConfig
from saecatalog.corpus import read_corpus
from saecatalog.errors import CatalogError
try:
    with Cache(Path("cache")) as cache:
        config = CorpusConfig(paths=(sys.argv[1],), concepts=None, limit_tokens=30, seed=int(sys.argv[2]))
        print(json.dumps([[t.category, t.content, t.source, t.title] for t in read_corpus(config, cache)]))
except CatalogError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    for split in ("train", "test"):
        rows = [{"text": f"{split} {n}", "title": f"T{n}", "more": "x" * 50} for n in range(400)]
        write(root / f"someone/texts/data/{split}.jsonl", as_jsonl(rows))
    with fake_hub(root) as address:
        yield address


def read(folder: Path, path: str, endpoint: str, seed: int = 0) -> str:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    environment = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
    command = [sys.executable, "-c", READ, path, str(seed)]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_a_dataset_is_sampled_with_the_seed_and_read_again_without_the_hub(hub: str, tmp_path: Path) -> None:
    first = read(tmp_path, "hf:someone/texts", hub)
    found = json.loads(first)
    assert {category for category, _, _, _ in found} == {"texts"}
    assert len({content for _, content, _, _ in found}) == len(found) > 20
    numbers = [int(content.removeprefix("train ")) for _, content, _, _ in found]
    assert max(numbers) > 200
    assert {source.partition(", record")[0] for _, _, source, _ in found} == {
        f"someone/texts at {REVISION[:10]}, train"
    }
    assert all(title == content.replace("train ", "T") for _, content, _, title in found)
    assert read(tmp_path, "hf:someone/texts", "http://127.0.0.1:9") == first
    assert read(tmp_path, "hf:someone/texts", hub, seed=1) != first


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named(hub: str, tmp_path: Path) -> None:
    first = json.loads(read(tmp_path, "hf:someone/texts::test", hub))[0]
    assert first[0] == "texts test"
    assert first[1].startswith("test ")
    assert "The model hub has no dataset of this name" in read(tmp_path, "hf:someone/none", hub)
    assert "no split 'dev'.\n  where: --corpus hf:someone/texts::dev\n  do:    It has train, test." in read(
        tmp_path, "hf:someone/texts::dev", hub
    )
    assert "cannot read this dataset" in read(tmp_path, "hf:someone/texts:german", hub)
    assert "The model hub cannot be reached to load the dataset" in read(tmp_path, "hf:a/b", "http://127.0.0.1:9")
    (tmp_path / "someone/texts").mkdir(parents=True)
    assert "a file or folder of this name here" in read(tmp_path, "hf:someone/texts:x", hub)


def test_a_dataset_needs_a_limit() -> None:
    with pytest.raises(CatalogError, match=r"needs a limit.\n.*hf:a/b:c\n.*--limit-tokens"):
        read_corpus(CorpusConfig(paths=("hf:a/b:c",), concepts=None))


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:a b", "hf:../a", "hf:a/b:c:d:e", "hf:a/b:c:"])
def test_what_is_no_name_of_a_dataset_is_refused(name: str) -> None:
    with pytest.raises(CatalogError, match="not the name of a dataset"):
        read_corpus(CorpusConfig(paths=(name,), concepts=None))


@pytest.mark.parametrize("name", ["a/b", "b", "a/b:c", "a/b:c:d", "a/b::d"])
def test_a_dataset_is_named_as_it_was_given(name: str) -> None:
    assert HubDataset.named(f"hf:{name}").where == f"--corpus hf:{name}"


def test_the_category_of_a_dataset_is_its_name_and_part() -> None:
    categories = [HubDataset.named(f"hf:a/b{part}").category for part in ("", ":c", ":c:d", "::d")]
    assert categories == ["b", "b c", "b c d", "b d"]
