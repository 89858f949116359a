"""The cost of analysing a store: seconds of each part, and memory.

    python benchmarks/analysis.py --tokens 100000 --features 24576 --l0 70 --texts 600
    python benchmarks/analysis.py --cache FOLDER [--catalog catalog.toml]
    python benchmarks/analysis.py --grow

The first command makes a reproducible store of random activations: features of very unequal density that depend on
tokens and on texts. The second takes the corpus of a catalog from a cache folder that a build has filled. The third
runs the first on a small grid and varies one number at a time. Each prints a table and one line of JSON. Times are
processor seconds for parts that run in blocks of features, and wall-clock seconds for the others. Memory is read from
/proc (Linux); without it, 0 is printed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import peak_memory

from saecatalog.analysis import categories, concepts, run, study
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig, load_config
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.store import Lens, Store
from saecatalog.tables import TableWriter
from saecatalog.texts.corpus import Text

VOCABULARY, D_IN, CATEGORIES, CONCEPT_TEXTS = 5000, 64, 12, 120
GRID = {"tokens": (50_000, 100_000, 200_000, 400_000), "features": (4096, 8192, 24_576), "l0": (20, 70, 150)}
GRID |= {"texts": (300, 600, 1200, 2400)}
MIDDLE = {"tokens": 100_000, "features": 8192, "l0": 70, "texts": 600}

PARTS: dict[str, tuple[Any, str]] = {
    "text scores": (study, "score_texts"),
    "blocks, tokens and features": (run, "_token_view"),
    "blocks, contexts": (run, "_contexts"),
    "blocks, categories": (categories, "category_rows"),
    "blocks, concepts": (concepts, "concept_rows"),
    "blocks": (run, "_analyse_block"),
    "pairs": (run, "pair_table"),
    "table of categories": (categories.AllFigures, "table"),
    "top features of texts": (run, "text_top_rows"),
    "writing": (TableWriter, "write"),
}
"""The parts of the analyses and the function of each."""


def make_store(folder: Path, tokens: int, features: int, l0: float, texts: int, seed: int = 5) -> Store:
    """A store of random activations, written in chunks of tokens."""
    chance = np.random.default_rng(seed)
    share = np.sort(np.exp(chance.normal(0, 1.5, features)))[chance.permutation(features)].cumsum()
    ids = np.minimum(chance.zipf(1.2, tokens) - 1, VOCABULARY - 1).astype(np.int32)
    cuts = np.sort(chance.choice(np.arange(1, tokens), texts - 1, replace=False))
    offsets = np.concatenate([[0], cuts, [tokens]]).astype(np.int64)
    text_of = np.repeat(np.arange(texts), np.diff(offsets))
    folder.mkdir()
    counts = []
    with (folder / "rows").open("wb") as rows, (folder / "values").open("wb") as values:
        for start in range(0, tokens, 20_000):
            part = slice(start, start + 20_000)
            rows_of, active = _active(chance, share / share[-1], l0, ids[part], text_of[part])
            counts.append(np.bincount(rows_of, minlength=len(ids[part])))
            active.astype(np.int32).tofile(rows)
            np.exp(chance.normal(0, 1, len(active))).astype(np.float32).tofile(values)
    norms = chance.normal(10, 1, tokens).astype(np.float32)
    return Store(
        text_offsets=offsets,
        token_ids=ids,
        token_ends=np.cumsum(np.ones(tokens, np.int32)) * 6 - np.repeat(offsets[:-1] * 6, np.diff(offsets)),
        norms=norms,
        target_norms=norms,
        squared_errors=norms,
        indptr=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
        features=np.memmap(folder / "rows", np.int32, "r"),
        activations=np.memmap(folder / "values", np.float32, "r"),
        bands=np.array([26], np.int32),
        band_sums=np.ones((1, D_IN)),
        shape=np.array([tokens, features], np.int64),
    )


def _active(
    chance: np.random.Generator, share: np.ndarray, l0: float, ids: np.ndarray, texts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Row and feature of each active entry: a third depend on the token, a third on its text, a third on neither."""
    most = max(3, int(1.5 * l0))
    drawn = np.searchsorted(share, chance.random((len(ids), most)))
    for third, key in ((0, ids), (1, texts + VOCABULARY)):
        rank = np.arange(third, most, 3)
        same = (
            key[:, None].astype(np.uint64) * np.uint64(2654435761) + rank.astype(np.uint64) * np.uint64(40503)
        ) % 2**32
        drawn[:, third::3] = np.searchsorted(share, (same * np.uint64(2246822519) % 2**32) / 2**32)
    # Each token keeps about L0 of the features drawn; the number varies by a third.
    order = chance.random((len(ids), most)).argsort(1)
    kept = order < (chance.normal(l0, l0 / 3, len(ids)).clip(1, most))[:, None]
    row, place = np.nonzero(kept)
    return np.divmod(np.unique(row * np.int64(len(share)) + drawn[row, place]), len(share))


def make_inputs(folder: Path, tokens: int, features: int, l0: float, texts: int) -> Inputs:
    """A made-up corpus with some made-up concepts."""
    chance = np.random.default_rng(7)
    store = make_store(folder / "corpus", tokens, features, l0, texts)
    concept_store = make_store(folder / "concepts", CONCEPT_TEXTS * 25, features, l0, CONCEPT_TEXTS, seed=6)
    none, ids = np.zeros((features, 0), np.float32), np.zeros((features, 0), np.int32)
    empty = {field.name: ids if field.name.endswith("_ids") else none for field in fields(Lens)}
    decoder = chance.normal(size=(features, D_IN)).astype(np.float32)
    moments = np.zeros((features, 3), np.float32)
    return Inputs(
        _texts(store, "text"),
        store,
        _texts(concept_store, "concept"),
        concept_store,
        Lens(**{**empty, "decoder": decoder, "logit_moments": moments}),
        [f" w{n:04}" for n in range(VOCABULARY)],
    )


def _texts(store: Store, kind: str) -> list[Text]:
    """The texts of a made-up store, in categories of equal size."""
    words = [
        "".join(f" w{token:04}" for token in store.token_ids[start:stop])
        for start, stop in zip(store.text_offsets[:-1], store.text_offsets[1:], strict=True)
    ]
    size = -(-len(words) // CATEGORIES)
    return [Text(f"{kind}-{n:07}", f"category-{n // size:02}", "made up", content) for n, content in enumerate(words)]


def read_inputs(catalog: Path, cache: Path) -> tuple[Inputs, AnalysisConfig]:
    """The corpus of a catalog, from the cache; missing stages are run first."""
    config = replace(load_config(catalog), cache=cache)
    pipeline = Pipeline(config, Progress())
    return Inputs.read(pipeline.corpus, pipeline.concept_corpus, pipeline.lens.folder), config.analysis


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Seconds of each part: processor time for blocks of features, which run in threads, else wall-clock time."""
    seconds: dict[str, float] = defaultdict(float)
    before = {part: getattr(*place) for part, place in PARTS.items()}
    for part, (module, name) in PARTS.items():
        setattr(module, name, _timed(before[part], part, seconds))
    try:
        yield seconds
    finally:
        for part, (module, name) in PARTS.items():
            setattr(module, name, before[part])


def _timed(function: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    clock = time.thread_time if part.startswith("blocks") else time.perf_counter

    def timed(*arguments: Any, **named: Any) -> Any:
        start = clock()
        result = function(*arguments, **named)
        name = f"{part} on {arguments[3]}s" if part == "pairs" else part
        seconds[name] += clock() - start
        return result

    return timed


def measure(inputs: Inputs, config: AnalysisConfig, folder: Path) -> dict[str, Any]:
    """All figures of one run over a store; tables and scratch files go into `folder`."""
    wall, processor = time.perf_counter(), time.process_time()
    with peak_memory() as memory, timed_parts() as seconds:
        run.analyse(inputs, config, "notable", folder)
    store = inputs.store
    return {
        "tokens": store.n_tokens,
        "features": store.d_sae,
        "l0": round(len(store.activations) / store.n_tokens, 1),
        "texts": store.n_texts,
        "wall_s": round(time.perf_counter() - wall, 2),
        "processor_s": round(time.process_time() - processor, 2),
        "anonymous_mb": round(memory.anonymous),
        "resident_mb": round(memory.resident),
        "data_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
        "parts_s": {part: round(spent, 2) for part, spent in sorted(seconds.items())},
    }


def grow() -> None:
    """The whole grid, each point in its own process, because a process may keep memory that was freed."""
    columns = ["tokens", "features", "l0", "texts", "wall_s", "processor_s", "anonymous_mb", "resident_mb", "data_mb"]
    print("".join(f"{name:>14}" for name in columns))
    for varied, values in GRID.items():
        for value in values:
            point = MIDDLE | {varied: value}
            command = [sys.executable, __file__, *(f"--{name}={number}" for name, number in point.items())]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print("".join(f"{found[name]:>14,}" for name in columns))
            print(json.dumps({"varied": varied} | found))


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, number in MIDDLE.items():
        arguments.add_argument(f"--{name}", type=int, default=number)
    arguments.add_argument("--cache", type=Path, help="take the corpus of a catalog from this cache folder")
    arguments.add_argument("--catalog", type=Path, default=Path("catalog.toml"))
    arguments.add_argument("--folder", type=Path, help="folder for temporary files; must be on a disk")
    arguments.add_argument("--grow", action="store_true")
    given = arguments.parse_args()
    if given.grow:
        grow()
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder, config = Path(name), AnalysisConfig()
        if given.cache:
            inputs, config = read_inputs(given.catalog, given.cache)
        else:
            inputs = make_inputs(folder, given.tokens, given.features, given.l0, given.texts)
        (folder / "tables").mkdir()
        found = measure(inputs, config, folder / "tables")
    for label, value in ({k: v for k, v in found.items() if k != "parts_s"} | found["parts_s"]).items():
        print(f"{label.replace('_', ' '):32}{value:>14,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
