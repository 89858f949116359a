"""How a catalog grows with the number of its categories, of one text each, and of its concepts.

    python benchmarks/groups.py [--categories 100 600 3000] [--concepts 500] [--keep FOLDER]

The model and the SAE are those of the default catalog. Each text is a line of twelve words drawn from the default
corpus. One more catalog has a hundred categories and as many concepts of three texts as `--concepts` says. The model
has run when the clock starts, so the seconds are those of the analysis, the site and its check. Memory is the peak of
the process that builds. Each catalog is built in a process of its own.
"""

import argparse
import contextlib
import json
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measure import ROOT, machine, peak_memory

from saecatalog.build import build
from saecatalog.config import Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.site.check import check_site, summary

SAE = "smollm2-135m-res-4k/blocks.12.hook_resid_pre"
WORDS, CONCEPT_TEXTS = 12, 3


def write_texts(folder: Path, categories: int, concepts: int) -> CorpusConfig:
    """Write one text for each category, and three for each concept."""
    chance = random.Random(0)
    known = " ".join(path.read_text("utf-8") for path in sorted((ROOT / "corpora").glob("*.txt"))).split()

    def line() -> str:
        return " ".join(chance.choices(known, k=WORDS))

    records = [{"category": f"group {n:04d}", "text": f"{line()} {n}"} for n in range(categories)]
    corpus, lists = folder / "texts.jsonl", folder / "concepts"
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    lists.mkdir()
    for n in range(concepts):
        (lists / f"idea-{n:04d}.txt").write_text("".join(f"{line()}\n" for _ in range(CONCEPT_TEXTS)), "utf-8")
    return CorpusConfig(paths=(str(corpus),), concepts=str(lists) if concepts else None)


def measure(categories: int, concepts: int, folder: Path, pages: str) -> dict[str, Any]:
    """Build one catalog and give its figures."""
    corpus = write_texts(folder, categories, concepts)
    site = SiteConfig(out=str(folder / "site"), templates=str(ROOT / "templates"), features=pages)
    config = Config(SubjectConfig(sae=SAE, device="cpu"), corpus, site=site, cache=folder / "cache")
    models = Config(SubjectConfig(sae=SAE)).cache / "models"
    config.cache.mkdir()
    (config.cache / "models").symlink_to(models)
    pipeline = Pipeline(config, Progress(quiet=True))
    _ = pipeline.corpus, pipeline.concept_corpus, pipeline.lens.folder
    del pipeline
    times = [time.perf_counter()]
    with peak_memory() as memory:
        _ = Pipeline(config, Progress(quiet=True)).analysed
        times.append(time.perf_counter())
        build(config, Progress(quiet=True))
        times.append(time.perf_counter())
        problems = check_site(folder / "site")
        times.append(time.perf_counter())
    seconds = [end - start for start, end in pairwise(times)]
    found = summary(folder / "site")
    return {
        "categories": categories,
        "concepts": concepts,
        **dict(zip(("analysis_seconds", "site_seconds", "check_seconds"), seconds, strict=True)),
        "site_mb": found["bytes"] / 1e6,
        "feature_page_kb": found["feature_page_mean"] / 1e3,
        "peak_mb": memory.anonymous,
        "problems": len(problems),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, nargs="*", default=[100, 600, 3000])
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--features", default="notable", help="features with a page: notable or all")
    parser.add_argument("--keep", type=Path, help="folder for the sites (removed at the end without it)")
    arguments = parser.parse_args()
    wanted = [(n, 0) for n in arguments.categories] + [(100, arguments.concepts)] * bool(arguments.concepts)
    rows = []
    with contextlib.ExitStack() as stack:
        top = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for categories, concepts in wanted:
            folder = top / f"{categories}-{concepts}"
            folder.mkdir(parents=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                rows.append(pool.submit(measure, categories, concepts, folder, arguments.features).result())
            print(", ".join(f"{name} {value:,.5g}" for name, value in rows[-1].items()), flush=True)
    print(json.dumps({"rows": rows, "machine": machine()}))


if __name__ == "__main__":
    main()
