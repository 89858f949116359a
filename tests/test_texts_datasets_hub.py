"""Datasets on the hub: a hub on this machine answers the real library; a rebuild needs no hub."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import REVISION, fake_hub
from text_forms import as_jsonl, write

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import read_corpus
from saecatalog.texts.datasets_hub import HubDataset

READ = """
import json, os, sys
from pathlib import Path
from saecatalog.cache import Cache
from saecatalog.config import CorpusConfig
from saecatalog.texts.corpus import read_corpus
from saecatalog.errors import CatalogError
for line in sys.stdin:
    folder, path, seed = json.loads(line)
    os.chdir(folder)
    try:
        with Cache(Path("cache")) as cache:
            config = CorpusConfig(paths=(path,), concepts=None, limit_tokens=30, seed=seed)
            found = [[t.category, t.content, t.source, t.title] for t in read_corpus(config, cache)]
    except CatalogError as error:
        found = str(error)
    print(json.dumps(found), flush=True)
"""
NOWHERE = "http://127.0.0.1:9"
"""An address at which nothing answers."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    for split in ("train", "test"):
        rows = [{"text": f"{split} {n}", "title": f"T{n}", "more": "x" * 50} for n in range(400)]
        write(root / f"someone/texts/data/{split}.jsonl", as_jsonl(rows))
    (root / "someone/bytes/data").mkdir(parents=True)
    pq.write_table(pa.table({"text": [b"one", b"two"]}), root / "someone/bytes/data/train.parquet")
    with fake_hub(root) as address:
        yield address


Read = Callable[..., Any]


@pytest.fixture(scope="module")
def read(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    """Returns the texts of a dataset or an error, read in a folder by a process for which the hub has some address.

    The library takes the address when it is imported, which takes long, so each address has one process.
    """
    home = str(tmp_path_factory.mktemp("home"))
    command = [sys.executable, "-c", READ]
    with ExitStack() as stack:

        @cache
        def reader(address: str) -> subprocess.Popen[str]:
            environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": home, "HF_HUB_OFFLINE": "0"}
            environment = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True))

        def answer(folder: Path, path: str, address: str = hub, seed: int = 0) -> Any:
            process = reader(address)
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps([str(folder), path, seed]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield answer


@pytest.mark.slow
def test_a_dataset_is_sampled_with_the_seed_and_read_again_without_the_hub(read: Read, tmp_path: Path) -> None:
    found = read(tmp_path, "hf:someone/texts")
    assert {category for category, _, _, _ in found} == {"texts"}
    assert len({content for _, content, _, _ in found}) == len(found) > 20
    numbers = [int(content.removeprefix("train ")) for _, content, _, _ in found]
    assert max(numbers) > 200
    assert {source.partition(", record")[0] for _, _, source, _ in found} == {
        f"someone/texts at {REVISION[:10]}, train"
    }
    assert all(title == content.replace("train ", "T") for _, content, _, title in found)
    assert read(tmp_path, "hf:someone/texts", NOWHERE) == found
    assert read(tmp_path, "hf:someone/texts", seed=1) != found


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named(read: Read, tmp_path: Path) -> None:
    first = read(tmp_path, "hf:someone/texts::test")[0]
    assert first[0] == "texts test"
    assert first[1].startswith("test ")
    assert "The model hub has no dataset of this name" in read(tmp_path, "hf:someone/none")
    assert "no split 'dev'.\n  where: --corpus hf:someone/texts::dev\n  do:    It has train, test." in read(
        tmp_path, "hf:someone/texts::dev"
    )
    assert "cannot read this dataset" in read(tmp_path, "hf:someone/texts:german")
    assert "The model hub cannot be reached to load the dataset" in read(tmp_path, "hf:a/b", NOWHERE)
    (tmp_path / "someone/texts").mkdir(parents=True)
    assert "a file or folder of this name here" in read(tmp_path, "hf:someone/texts:x")


@pytest.mark.slow
def test_a_field_of_bytes_is_no_text(read: Read, tmp_path: Path) -> None:
    """As in a file; the sample is kept as JSON, where bytes would become the text of their notation."""
    assert "The field 'text' of this record is not a string but bytes." in read(tmp_path, "hf:someone/bytes")


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
