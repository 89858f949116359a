"""Seconds and memory of the stage of effects, for the default catalog or for the full-size stand-in.

    python benchmarks/effects.py [CATALOG.toml] [--features 240]
    python benchmarks/effects.py --standin [--tokens 262144] [--features 64]

The harvest and the analysis are taken from the cache, or made before the clock starts; nothing of the stage is. The
stand-in has GPT-2-small's shape and 24,576 features (`standin.py`), of which features that fire are measured.
"""

import argparse
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import standin
import torch
from measure import peak_memory, report

from saecatalog.cache import Cache
from saecatalog.config import CorpusConfig, EffectsConfig, SubjectConfig, load_config
from saecatalog.effects.stage import Job, measure_effects
from saecatalog.harvest import harvest
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.store import read_store
from saecatalog.subject import load_subject
from saecatalog.tables import Tables
from saecatalog.texts.corpus import read_corpus
from saecatalog.texts.windows import tokenize

EFFECTS = EffectsConfig("notable")


@dataclass
class Silent:
    """A bar that counts contexts."""

    done: int = 0

    def update(self, n: int = 1) -> None:
        self.done += n

    def set_postfix_str(self, s: str) -> None: ...

    def close(self) -> None: ...


def of_catalog(path: Path, n: int) -> Job:
    """The first notable features of a catalog."""
    config = load_config(path)
    with Pipeline(replace(config, effects=EFFECTS), Progress()) as pipeline:
        names = pipeline.analysed.folder
        table = Tables(names).read("features", ["feature", "notable"])
        notable = table.loc[table["notable"] != "", "feature"].tolist()[:n]
        corpus = pipeline.corpus
        multiple = config.analysis.outlier_multiple
        return Job(pipeline.subject, corpus.texts, corpus.store, notable, EFFECTS, multiple, None)


def of_standin(arguments: argparse.Namespace, folder: Path) -> Job:
    """Features of the stand-in that fire, evenly spaced by number."""
    made = standin.standin(arguments.d_sae, arguments.l0, arguments.seed, arguments.cache)
    subject = load_subject(SubjectConfig(model=str(made.model), sae=str(made.sae)), Cache(arguments.cache))
    path = standin.corpus(folder / "texts.jsonl", arguments.tokens, arguments.seed, arguments.cache)
    texts = read_corpus(CorpusConfig(paths=(str(path),), concepts=None))
    (folder / "store").mkdir()
    harvest(subject, tokenize(texts, subject.tokenizer), None, folder / "store", lambda n: None)
    store = read_store(folder / "store")
    fired = np.flatnonzero(np.bincount(store.features, minlength=subject.info.d_sae) >= EFFECTS.contexts)
    chosen = fired[np.linspace(0, len(fired) - 1, min(arguments.features, len(fired))).astype(int)]
    return Job(subject, texts, store, chosen.tolist(), EFFECTS, 4.0, None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", nargs="?", type=Path, default=Path("catalog.toml"))
    parser.add_argument("--standin", action="store_true")
    parser.add_argument("--tokens", type=int, default=1 << 18)
    parser.add_argument("--features", type=int, default=240)
    standin.add_arguments(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = of_standin(arguments, folder) if arguments.standin else of_catalog(arguments.catalog, arguments.features)
        for part in ("tables", "kept"):
            (folder / part).mkdir()
        bar = Silent()
        start, cpu = time.perf_counter(), time.process_time()
        with peak_memory() as memory:
            measure_effects(job, folder / "tables", folder / "kept", lambda n: nullcontext(bar))
        seconds = time.perf_counter() - start
    report(
        {
            "features": len(job.features),
            "contexts": bar.done,
            "threads": torch.get_num_threads(),
            "seconds": seconds,
            "processor_seconds": time.process_time() - cpu,
            "seconds_per_feature": seconds / len(job.features),
            "peak_anonymous_mb": memory.anonymous,
            "peak_resident_mb": memory.resident,
        }
    )


if __name__ == "__main__":
    main()
