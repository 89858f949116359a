"""Things that must not change a byte of the data: batch size, threads, the order of texts and files, repetition."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from conftest import CONTEXT, SaeKind

from saecatalog.cache import CHECKSUMS
from saecatalog.config import Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress

pytestmark = pytest.mark.slow

KINDS = [("llama", SaeKind("jumprelu")), ("gpt2", SaeKind("topk")), ("sink", SaeKind("standard"))]
EVERYTHING = 10**6
FEW_LINES = "single.txt", "prose.txt", "scripts.txt"


def tables_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)


@pytest.fixture(params=KINDS, ids=lambda k: k[0])
def analyse(request: pytest.FixtureRequest, workshop: Path, saes: Callable[..., Path], tmp_path: Path) -> Callable:
    """Returns the data files of a corpus, analysed with an empty cache."""
    sae = saes(*request.param)

    def run(name: str, corpus: Path | None = None, batch_tokens: int = EVERYTHING) -> dict[str, bytes]:
        config = Config(
            subject=SubjectConfig(sae=str(sae), device="cpu", batch_tokens=batch_tokens),
            corpus=CorpusConfig(paths=(str(corpus or workshop / "corpus"),), concepts=str(workshop / "concepts")),
            site=SiteConfig(out=str(tmp_path / "site"), features="all"),
            cache=tmp_path / name,
        )
        with Pipeline(config, Progress(quiet=True)) as pipeline:
            files = {path.name: path.read_bytes() for path in tables_of(pipeline.analysed.folder)}
            return {**files, "manifest.json": json.dumps(pipeline.manifest).encode()}

    return run


def test_batch_size_threads_and_a_rebuild_change_nothing(analyse: Callable) -> None:
    """Batches of 1, 7 and 64 windows of full length, and of all; then two threads."""
    wanted = analyse("all")
    assert len(wanted) > 15
    for windows in (1, 7, 64):
        assert analyse(f"batch-{windows}", batch_tokens=windows * CONTEXT) == wanted, windows
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert analyse("threads", batch_tokens=64) == wanted
    finally:
        torch.set_num_threads(before)


def test_the_order_of_texts_and_files_changes_nothing(analyse: Callable, workshop: Path, tmp_path: Path) -> None:
    """With files made in another order and lines shuffled, only `source`, which names each text's line, differs."""
    corpus = tmp_path / "shuffled" / "corpus"
    shutil.copytree(workshop / "corpus", tmp_path / "copy")
    corpus.mkdir(parents=True)
    for path in sorted((tmp_path / "copy").iterdir(), reverse=True):
        shutil.move(path, corpus / path.name)
    for name in FEW_LINES:
        lines = (corpus / name).read_text(encoding="utf-8").splitlines()
        random.Random(5).shuffle(lines)
        (corpus / name).write_text("\n".join(lines), encoding="utf-8")
    wanted, found = analyse("as-is"), analyse("shuffled-cache", corpus)
    texts = {name: files.pop("texts.parquet") for name, files in (("wanted", wanted), ("found", found))}
    assert found == wanted
    for name, data in texts.items():
        (tmp_path / f"{name}.parquet").write_bytes(data)
    tables = [pq.read_table(tmp_path / f"{name}.parquet").drop_columns("source") for name in texts]
    assert tables[0].equals(tables[1])
