"""The stage of the live part: its precision and its measured error, its limits, and what `check` says of its files."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SaeKind
from harvesting import run
from live_site import KIND, SHAPE

from saecatalog.analysis.activations import Activations, include
from saecatalog.errors import CatalogError
from saecatalog.live.engine import Run
from saecatalog.live.live_part import make_live_part
from saecatalog.live.measure import TEXTS, TOKENS, measure, sample
from saecatalog.live.parts import Part, write_part
from saecatalog.site.check_live import live_problems
from saecatalog.store import read_store

Subjects = Callable[..., Any]


@pytest.fixture(scope="module")
def corpus(subjects: Subjects, texts: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Activations:
    return include(read_store(run(subjects(SHAPE, KIND), texts, tmp_path_factory.mktemp("live") / "store")), 4.0)


class Fixed:
    """An engine that gives activations that were made up."""

    def __init__(self, wanted: dict[tuple[int, ...], np.ndarray], context: int):
        self.wanted, self.bundle = wanted, {"context": context}

    def run(self, ids: list[int]) -> Any:
        tokens, features = np.nonzero(self.wanted[tuple(ids)])
        values = self.wanted[tuple(ids)][tokens, features]
        return Run(tokens.astype(np.int32), features.astype(np.int32), values, np.zeros(len(ids), np.float32))


def made_up(corpus: Activations, context: int, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """An engine that gives the catalog's activations after a change; the first row is that of BOS."""
    store = corpus.store
    wanted = {}
    for tokens in sample(store, context - 1):
        rows = store.matrix()[tokens].toarray()
        ids = (1, *store.token_ids[tokens].tolist())
        wanted[ids] = np.concatenate([np.full((1, rows.shape[1]), 9, np.float32), change(rows)])
    return Fixed(wanted, context)


def test_a_sample_is_spread_over_the_corpus(corpus: Activations) -> None:
    found = sample(corpus.store, TOKENS)
    texts = np.searchsorted(corpus.store.text_offsets, [tokens.start for tokens in found], side="right") - 1
    assert len(set(texts.tolist())) == len(found) == min(TEXTS, corpus.store.n_texts)
    assert texts[0] == 0
    assert texts[-1] == corpus.store.n_texts - 1


@pytest.mark.parametrize(
    ("change", "missed", "false", "relative"),
    [
        (lambda rows: rows, 0, 0, 0),
        (lambda rows: rows * 1.5, 0, 0, 0.5),
        (lambda rows: rows * 0, 1, 0, 0),
        (lambda rows: np.where(rows > 0, rows, 0.01), 0, None, 0),
    ],
    ids=["the same", "too large", "nothing", "everywhere"],
)
def test_the_error_is_that_of_the_counted_tokens(
    corpus: Activations, change: Any, missed: float, false: float | None, relative: float
) -> None:
    found = measure(made_up(corpus, 16, change), corpus, 1)
    kept = np.concatenate([np.arange(t.start, t.stop) for t in sample(corpus.store, 15)])
    kept = kept[corpus.included[kept]]
    fired = int((corpus.store.matrix()[kept].toarray() > 0).sum())
    assert (found.tokens, found.firings) == (len(kept), fired)
    assert found.missed == pytest.approx(missed)
    d_sae = corpus.d_sae
    assert found.false == pytest.approx(1 - fired / (len(kept) * d_sae) if false is None else false)
    assert found.relative_error == pytest.approx(relative, abs=1e-6)
    assert found.is_small is not (missed or false is None or relative)


def test_the_page_agrees_with_the_catalog(subjects: Subjects, corpus: Activations, tmp_path: Path) -> None:
    made = make_live_part(subjects(SHAPE, KIND), corpus, False, 100, tmp_path)
    error = made["error"]
    assert (error["precision"], error["missed"], error["false"], error["top_five"]) == ("exact", 0, 0, 1)
    assert 0 < error["relative_error"] < 1e-4
    assert {f"{name}-{crc:08x}.js" for name, (_, crc) in made["parts"].items()} == {p.name for p in tmp_path.iterdir()}


def test_the_weights_are_as_precise_as_the_limit_allows(
    subjects: Subjects, corpus: Activations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small models round badly, which is not what is tested here.
    for limit_of in ("MOST_WRONG", "MOST_RELATIVE"):
        monkeypatch.setattr(f"saecatalog.live.measure.{limit_of}", 1.0)
    sizes = {}
    limit = 100.0
    for precision in ("exact", "half", "int8"):
        (folder := tmp_path / precision).mkdir()
        made = make_live_part(subjects(SHAPE, KIND), corpus, False, limit, folder)
        assert made["error"]["precision"] == precision
        # Of weights and rows, without the tokenizer and the kernel.
        sizes[precision] = sum(s for n, (s, _) in made["parts"].items() if n.startswith(("weights", "rows"))) / 1e6
        limit = sizes[precision] * 0.999
    assert sizes["exact"] > sizes["half"] > sizes["int8"]
    (folder := tmp_path / "none").mkdir()
    with pytest.raises(CatalogError, match="live part would take") as error:
        make_live_part(subjects(SHAPE, KIND), corpus, False, limit, folder)
    assert "8-bit" in error.value.what
    assert "live_limit_mb" in error.value.where


def test_why_there_is_none(subjects: Subjects, corpus: Activations, tmp_path: Path) -> None:
    """The catalog of another SAE has other activations."""
    other = make_live_part(subjects(SHAPE, SaeKind("standard")), corpus, False, 100, tmp_path)
    assert list(other) == ["reason"], other.get("error")
    assert "would differ from the catalog's" in other["reason"]
    assert not list(tmp_path.iterdir())


def test_an_error_that_cannot_be_measured_is_not_called_small(
    subjects: Subjects, corpus: Activations, tmp_path: Path
) -> None:
    everything_left_out = include(corpus.store, 1e-6)
    assert not everything_left_out.included.any()
    made = make_live_part(subjects(SHAPE, KIND), everything_left_out, False, 100, tmp_path)
    assert "cannot be measured" in made["reason"]
    assert not list(tmp_path.iterdir())


# What `check` says


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a live part."""
    path = folder / "manifest.js"
    manifest = json.loads(path.read_text("utf-8").strip().removeprefix("saeLive(").removesuffix(")"))
    change(manifest)
    path.write_text(f"saeLive({json.dumps(manifest)})\n", "utf-8")


def part_of(folder: Path, name: str) -> Path:
    return next(folder.glob(f"{name}-????????.js"))


def grow(folder: Path) -> None:
    path = part_of(folder, "tokenizer")
    with path.open("ab") as file:
        file.truncate(20_000_001)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing part": (lambda f: part_of(f, "rows-0").unlink(), "missing"),
    "cut part": (lambda f: part_of(f, "kernel").write_bytes(b'saePart("ker'), "cut off"),
    "damaged part": (
        lambda f: part_of(f, "features").write_bytes(part_of(f, "features").read_bytes().replace(b"label", b"lable")),
        "damaged",
    ),
    "part of another build": (lambda f: (f / "rows-0-00000000.js").write_text("saePart"), "not a part"),
    "large part": (grow, "over the limit"),
    "no manifest": (lambda f: (f / "manifest.js").unlink(), "missing"),
    "unreadable manifest": (lambda f: (f / "manifest.js").write_text("saeLive({"), "cannot be read"),
    "unlisted part": (lambda f: changed(f, lambda m: m["parts"].pop("tokenizer")), "does not list the part tokenizer"),
    "weights elsewhere": (
        lambda f: changed(f, lambda m: m["tensors"]["encoder.bias"].update(at=m["weights"])),
        "encoder.bias is not among the weights",
    ),
}


def problems(catalog: Path, stated: bool = True) -> list[str]:
    files = {p.relative_to(catalog.parent).as_posix(): p.stat().st_size for p in catalog.rglob("*") if p.is_file()}
    return list(live_problems(catalog.parent, catalog.name, stated, files))


def test_a_whole_live_part_has_no_problem(live_site: Path) -> None:
    assert problems(live_site) == []


@pytest.mark.parametrize("name", FAULTS)
def test_check_names_every_fault(name: str, live_site: Path, tmp_path: Path) -> None:
    shutil.copytree(live_site / "live", tmp_path / "catalog/live")
    plant, words = FAULTS[name]
    plant(tmp_path / "catalog/live")
    found = problems(tmp_path / "catalog")
    assert any(words in problem for problem in found), found


def test_files_without_a_live_part_are_named(live_site: Path) -> None:
    assert any("no live part" in problem for problem in problems(live_site, stated=False))


def test_the_checksum_in_a_name_is_that_of_the_content(tmp_path: Path) -> None:
    part = write_part(tmp_path, "a", b"content")
    assert part == Part("a", 7, zlib.crc32(b"content"))
