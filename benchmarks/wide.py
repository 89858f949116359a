"""The cost of analysing a dictionary far wider than its corpus: seconds and peak memory of each part.

    python benchmarks/wide.py [--features 1000000] [--tokens 200000] [--l0 64] [--texts 600]

The store is random, as that of `analysis.py`, whose parts these are; the lens has the usual number of entries for each
feature. Each part that runs in this process alone is listed with its seconds and the peak of the memory that belongs to
the process alone, beyond that before the analyses. Prints a table and one line of JSON.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from analysis import D_IN, make_inputs
from measure import held, machine

from saecatalog.analysis import categories, run, study
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig
from saecatalog.constants import LENS_BINS, LENS_ENTRIES
from saecatalog.store import Lens
from saecatalog.tables import TableWriter

PARTS: list[tuple[Any, str]] = [
    (study, "include"),
    (study, "score_texts"),
    (study.Shared, "of"),
    (run, "_analyse_blocks"),
    (categories.AllFigures, "table"),
    (run, "concept_table"),
    (run, "in_category"),
    (run, "rank_features"),
    (run, "clearest_rankings"),
    (run, "choose_notable"),
    (run, "_pairs"),
    (run, "pair_table"),
    (run, "cluster_table"),
    (run, "text_top_rows"),
    (run, "choose_pages"),
    (categories, "held_out_table"),
    (run, "category_pair_table"),
    (run, "neighbour_rows"),
    (run, "logit_histogram_rows"),
    (TableWriter, "write"),
    (run, "firing_rows"),
    (run, "detection_rows"),
    (run, "logit_rows"),
    (run, "sae_health"),
]
"""The parts, by the module and the function; the time of a part includes that of the parts which it calls."""


class Watch:
    """Seconds and peak memory of each part, in the order in which the parts begin."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self._running: list[str] = []
        self._done = threading.Event()
        self._before = held()[0]

    def look(self) -> None:
        while not self._done.wait(0.02):
            now = held()[0] - self._before
            for name in list(self._running):
                self.peaks[name] = max(self.peaks.get(name, 0.0), now)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._running.append(name)
        try:
            yield
        finally:
            self._running.remove(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(f"{name} {arguments[3]}" if name == "pair_table" else name):
                return function(*arguments, **named)

        def steps(*arguments: Any, **named: Any) -> Iterator[Any]:
            with self.part(name):
                yield from function(*arguments, **named)

        return steps if name in ("detection_rows", "logit_rows") else timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        before = [vars(place)[name] for place, name in PARTS]
        for place, name in PARTS:
            made = self.timed(getattr(place, name), name)
            setattr(place, name, staticmethod(made) if name == "of" else made)
        thread = threading.Thread(target=self.look, daemon=True)
        thread.start()
        try:
            with self.part("everything"):
                yield
        finally:
            self._done.set()
            thread.join()
            for (place, name), function in zip(PARTS, before, strict=True):
                setattr(place, name, function)


def with_lens(inputs: Inputs, folder: Path) -> Inputs:
    """The same, with a lens of random entries, in files as a build has it."""
    chance, features = np.random.default_rng(3), inputs.store.d_sae
    shapes = {
        "decoder": ((features, D_IN), np.float32),
        "logit_moments": ((features, 3), np.float32),
        "logit_edges": ((features, LENS_BINS + 1), np.float32),
        "logit_counts": ((features, LENS_BINS), np.int64),
        **{f"{side}_ids": ((features, LENS_ENTRIES), np.int32) for side in ("promoted", "suppressed", "neighbour")},
        **{f"{side}_logits": ((features, LENS_ENTRIES), np.float32) for side in ("promoted", "suppressed")},
        "neighbour_cosines": ((features, LENS_ENTRIES), np.float32),
    }
    arrays = {}
    for name, (shape, kind) in shapes.items():
        most = features if name == "neighbour_ids" else len(inputs.vocabulary)
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
        for start in range(0, features, 65_536):
            size = array[start : start + 65_536].shape
            drawn = chance.integers(0, most, size) if kind is not np.float32 else np.sort(chance.normal(size=size))
            array[start : start + 65_536] = drawn
        array.flush()
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return replace(inputs, lens=Lens(**arrays))


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, number in {"features": 1_000_000, "tokens": 200_000, "l0": 64, "texts": 600}.items():
        arguments.add_argument(f"--{name}", type=int, default=number)
    arguments.add_argument("--folder", type=Path, help="folder for temporary files; must be on a disk")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        for part in ("lens", "tables"):
            (folder / part).mkdir()
        made = make_inputs(folder, given.tokens, given.features, given.l0, given.texts)
        inputs = with_lens(made, folder / "lens")
        watch = Watch()
        with watch.watching():
            run.analyse(inputs, AnalysisConfig(), "auto", folder / "tables")
        data = sum(path.stat().st_size for path in (folder / "tables").iterdir()) / 1e6
    print(f"{'part':24}{'seconds':>12}{'peak MB':>12}")
    for part, seconds in watch.seconds.items():
        print(f"{part:24}{seconds:>12,.1f}{watch.peaks.get(part, 0.0):>12,.0f}")
    found = {"seconds": watch.seconds, "peak_mb": watch.peaks, "data_mb": data}
    print(json.dumps({**vars(given), "folder": None, **found, "machine": machine()}))


if __name__ == "__main__":
    main()
