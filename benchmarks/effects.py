"""Seconds and memory of what features do: ablation, steering and attribution, of the default catalog or the stand-in.

    python benchmarks/effects.py [CATALOG.toml] [--features 240]
    python benchmarks/effects.py --standin [--tokens 131072] [--features 64]

The harvest and the analysis are taken from the cache, or made before the clock starts; nothing of these stages is. The
stand-in has GPT-2-small's shape and 24,576 features (`standin.py`). The rate of a matrix product, measured at the same
time, tells a slow hour of the machine from slow code.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import standin
import torch
from measure import peak_memory, report

from saecatalog.config import Config, CorpusConfig, EffectsConfig, SubjectConfig, load_config
from saecatalog.effects import stage, steering_stage
from saecatalog.effects.steering_stage import measure_steering
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.tables import Tables

EFFECTS = EffectsConfig("notable")
PART_NAMES = ("steering", "attribution")


class Clock:
    """A bar that counts, and notes when the first and the last of its units were done."""

    def __init__(self) -> None:
        self.done, self.start, self.end = 0, time.perf_counter(), 0.0

    def update(self, n: int = 1) -> None:
        self.done, self.end = self.done + n, time.perf_counter()

    def set_postfix_str(self, s: str) -> None: ...

    def close(self) -> None: ...


def config_of(arguments: argparse.Namespace) -> Config:
    """The settings of a catalog, or of the stand-in's."""
    if not arguments.standin:
        return replace(load_config(arguments.catalog), effects=EFFECTS)
    made = standin.standin(arguments.d_sae, arguments.l0, arguments.seed, arguments.cache)
    corpus = CorpusConfig(paths=(str(standin.corpus_path(arguments)),), concepts=None)
    subject = SubjectConfig(model=str(made.model), sae=str(made.sae))
    return Config(subject=subject, corpus=corpus, effects=EFFECTS, cache=arguments.cache / "saecatalog")


def jobs(config: Config, n: int) -> tuple[stage.Job, steering_stage.Job]:
    """The work of both stages, on the first notable features of a catalog."""
    with Pipeline(config, Progress()) as pipeline:
        analysis, corpus, subject = pipeline.analysed.folder, pipeline.corpus, pipeline.subject
        table = Tables(analysis).read("features", ["feature", "notable"])
        chosen = table.loc[table["notable"] != "", "feature"].tolist()[:n]
        own = (subject, corpus.texts, corpus.store)
        return (
            stage.Job(*own, chosen, EFFECTS, config.analysis.outlier_multiple, None),
            steering_stage.Job(*own, analysis, chosen, EFFECTS.prompts, EFFECTS.multiples, None),
        )


def gigaflops() -> float:
    """The rate of a matrix product of this shape, with one thread on each core."""
    threads = torch.get_num_threads()
    left, right, repeats = torch.randn(256, 768), torch.randn(768, 3072), 200

    def multiply(_: int) -> None:
        for _ in range(repeats):
            left @ right

    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        start = time.perf_counter()
        list(pool.map(multiply, range(threads)))
        seconds = time.perf_counter() - start
    return 2 * left.numel() * right.shape[1] * repeats * threads / seconds / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", nargs="?", type=Path, default=Path("catalog.toml"))
    parser.add_argument("--standin", action="store_true")
    parser.add_argument("--tokens", type=int, default=1 << 17)
    parser.add_argument("--features", type=int, default=240)
    standin.add_arguments(parser)
    arguments = parser.parse_args()
    ablation, steering = jobs(config_of(arguments), arguments.features)
    n = len(ablation.features)
    clocks = {"ablation": Clock()}

    def clock(name: str) -> nullcontext[Clock]:
        clocks[name] = Clock()
        return nullcontext(clocks[name])

    rates = [gigaflops()]
    with tempfile.TemporaryDirectory() as name, peak_memory() as memory:
        folder = Path(name)
        for part in ("ablation", "steering", "kept"):
            (folder / part).mkdir()
        start = time.perf_counter()
        stage.measure_effects(ablation, folder / "ablation", folder / "kept", lambda _: clock("ablation"))
        after_ablation = time.perf_counter()
        bars = [lambda _, part=part: clock(part) for part in PART_NAMES]
        measure_steering(steering, folder / "steering", folder / "kept", *bars)
        seconds = time.perf_counter() - start
    rates.append(gigaflops())
    report(
        {
            "features": n,
            "contexts": clocks["ablation"].done,
            "threads": torch.get_num_threads(),
            "gigaflops_before": rates[0],
            "gigaflops_after": rates[1],
            "ablation_seconds": after_ablation - start,
            **{f"{part}_seconds": clocks[part].end - clocks[part].start for part in PART_NAMES},
            "seconds": seconds,
            "seconds_per_feature": seconds / n,
            "peak_anonymous_mb": memory.anonymous,
            "peak_resident_mb": memory.resident,
        }
    )


if __name__ == "__main__":
    main()
