"""All stages of a build: from texts to finished data, and to a finished site with a page for every feature.

    python benchmarks/catalog.py --tokens 100000
    python benchmarks/catalog.py --tokens 1000000 [--keep FOLDER]

The stages are those of `build.py --features all` on the stand-in of `standin.py`, with an empty cache. The bare loop of
`harvest.py` is timed on a share of the tokens before the harvest and after the analyses, and extrapolated to all
tokens; it runs in its own process, so that its memory is not counted as the program's. Memory is that of the program's
process beyond the loaded model and SAE, without the worker processes that render pages. In the end the catalog is built
once more with another setting; `checksums_ratio` is the part of its time that checking the cached files takes. `--keep`
keeps the cache and the site in a folder.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import standin
from harvest import bare_loop, best_shape
from measure import ROOT, held, peak_memory, report

from saecatalog.build import build
from saecatalog.cache import Cache, Output
from saecatalog.config import Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.site.check import check_site
from saecatalog.subject import load_subject
from saecatalog.texts.windows import tokenize


class Stages:
    """Seconds of each stage and its peak memory beyond the process's memory at the start, in the order they ran."""

    def __init__(self) -> None:
        self.before = held()
        self.seconds: dict[str, float] = {}
        self.megabytes: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a stage and record its figures."""
        start = time.perf_counter()
        with peak_memory(self.before) as memory:
            result = work()
        self.seconds[name] = time.perf_counter() - start
        self.megabytes[name] = memory.anonymous
        return result


def configure(arguments: argparse.Namespace, folder: Path) -> Config:
    """A catalog of the stand-in with a page for every feature."""
    made = standin.standin(arguments.d_sae, arguments.l0, arguments.seed, arguments.cache)
    corpus = CorpusConfig(paths=(str(standin.corpus_path(arguments)),), concepts=str(ROOT / "corpora" / "concepts"))
    site = SiteConfig(out=str(folder / "site"), templates=str(ROOT / "templates"), features="all")
    return Config(SubjectConfig(sae=str(made.sae), model=str(made.model)), corpus, site=site, cache=folder / "cache")


def bare_rate(config: Config, ids: np.ndarray, shape: tuple[int, int] | None) -> tuple[float, tuple[int, int]]:
    """Seconds per token of the bare loop, and the shape it was run in: the fastest one if none is given."""
    subject = load_subject(config.subject, Cache(config.cache))
    shape = shape or best_shape(subject, ids)
    return bare_loop(subject, ids, *shape), shape


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of work done in its own process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


@contextlib.contextmanager
def timed_checks() -> Iterator[list[float]]:
    """The seconds of every check of cached files within the block."""
    check, spent = Output._broken, list[float]()

    def timed(output: Output, names: list[str] | None) -> str | None:
        start = time.perf_counter()
        try:
            return check(output, names)
        finally:
            spent.append(time.perf_counter() - start)

    with patch.object(Output, "_broken", timed):
        yield spent


def measure(config: Config, bare_tokens: int, afterwards: bool = True) -> dict[str, Any]:
    """Run every stage once, and the bare loop on a share of the tokens before and after (not at all for 0 tokens).

    Unless `afterwards`, the finished site is neither checked nor rebuilt.
    """
    progress = Progress()
    pipeline = Pipeline(config, progress)
    ids = tokenize(pipeline.texts, pipeline.subject.tokenizer).ids[:bare_tokens]
    bare, shape = [], None
    if bare_tokens:
        rate, shape = apart(bare_rate, config, ids, shape)
        bare.append(rate)
    stages = Stages()
    stages.run("harvest", lambda: pipeline.corpus)
    stages.run("concepts", lambda: pipeline.concept_corpus)
    stages.run("weights", lambda: pipeline.lens.folder)
    stages.run("analysis", lambda: pipeline.analysed.folder)
    if bare_tokens:
        bare.append(apart(bare_rate, config, ids, shape)[0])
    summary = stages.run("site", lambda: build(config, progress))
    found: dict[str, Any] = {}
    if afterwards:
        found["problems"] = len(stages.run("check", lambda: check_site(Path(config.site.out))))
        found["rebuilt_again"] = stages.run("unchanged", lambda: build(config, progress)).rebuilt
        other = replace(config, analysis=replace(config.analysis, top=config.analysis.top // 2))
        with timed_checks() as spent:
            stages.run("reusing", lambda: build(other, progress))
        found["checksums_ratio"] = sum(spent) / stages.seconds["reusing"]
    n_tokens = summary.manifest["corpus"]["tokens"]
    figures = {
        "tokens": n_tokens,
        "texts": summary.manifest["corpus"]["texts"],
        "features": summary.manifest["counts"]["features"],
        "l0": summary.manifest["health"]["l0_mean"],
        "pages": sum(summary.manifest["pages"].values()),
        "size_of_site_mb": sum(p.stat().st_size for p in Path(config.site.out).rglob("*") if p.is_file()) / 1e6,
        **found,
        **{f"{name}_seconds": seconds for name, seconds in stages.seconds.items()},
        **{f"{name}_peak_mb": megabytes for name, megabytes in stages.megabytes.items()},
    }
    return figures | (_ratios(stages.seconds, bare, n_tokens) if bare else {})


def _ratios(seconds: dict[str, float], bare: list[float], n_tokens: int) -> dict[str, Any]:
    """The time of each part of the build, relative to the bare loop's time for all tokens."""
    floor = sum(bare) / len(bare) * n_tokens
    to_data = sum(seconds[name] for name in ("harvest", "concepts", "weights", "analysis"))
    return {
        "bare_seconds": floor,
        "bare_ms_per_token_before_and_after": [round(1e3 * each, 3) for each in bare],
        "harvest_ratio": seconds["harvest"] / floor,
        "to_data_ratio": to_data / floor,
        "to_site_ratio": (to_data + seconds["site"]) / floor,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    standin.add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=100_000, help="tokens of the corpus, at least")
    parser.add_argument("--bare-tokens", type=int, default=16_384, help="tokens that the bare loop is timed on, twice")
    parser.add_argument("--keep", type=Path, help="folder for the cache and the site (removed at the end without it)")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        report(measure(configure(arguments, folder), arguments.bare_tokens))


if __name__ == "__main__":
    main()
