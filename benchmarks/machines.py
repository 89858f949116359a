"""What several processes cost: two Ray nodes on this machine, against one process with the same cores.

    python benchmarks/machines.py --tokens 65536 [--repeat 2]            the stand-in of `standin.py`
    python benchmarks/machines.py --tokens 1000000 --model default --stages harvest    the default model and SAE
    python benchmarks/machines.py --model default --texts corpora        the default catalog

Both fill empty caches, in turn. Each node has half of the cores and one worker. The seconds of the harvest include
starting Ray and loading the model in every worker, but not starting the nodes, which run before a build. Then both
compute the weights and analyse what they harvested. Every file is compared: `same_bytes` says whether all are equal.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import standin
from measure import report

from saecatalog.cache import CHECKSUMS, Output, checksums
from saecatalog.config import Config, CorpusConfig, MachinesConfig, SubjectConfig
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress

STAGES: dict[str, Callable[[Pipeline], Output]] = {
    "harvest": lambda pipeline: pipeline.corpus.output,
    "weights": lambda pipeline: pipeline.lens,
    "data": lambda pipeline: pipeline.analysed,
}
"""What may be timed, in this order."""


@contextlib.contextmanager
def nodes(number: int) -> Iterator[str]:
    """The address of a cluster of so many nodes on this machine, which share its cores."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cpus = max(1, (os.cpu_count() or 1) // number)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    for _ in range(number - 1):
        cluster.add_node(num_cpus=cpus)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def configure(arguments: argparse.Namespace, cache: Path, machines: MachinesConfig) -> Config:
    """The stand-in or the default subject, with generated texts or those of a folder and its concepts."""
    corpus = CorpusConfig(paths=(str(arguments.texts or standin.corpus_path(arguments)),), concepts=None)
    if arguments.texts:
        corpus = CorpusConfig(paths=corpus.paths, concepts=str(arguments.texts / "concepts"))
    subject = SubjectConfig(device="cpu")
    if arguments.model == "standin":
        made = standin.standin(arguments.d_sae, arguments.l0, arguments.seed, arguments.cache)
        subject = SubjectConfig(sae=str(made.sae), model=str(made.model), device="cpu")
    return Config(subject, corpus, machines=machines, cache=cache)


def run(config: Config, stages: list[str]) -> tuple[dict[str, float], dict[str, str], int]:
    """The seconds of some stages in an empty cache, the checksums of their files, and the tokens."""
    seconds: dict[str, float] = {}
    sums: dict[str, str] = {}
    with Pipeline(config, Progress()) as pipeline:
        # One process keeps the model that it loads to describe it.
        _ = pipeline.subject, pipeline.texts
        for name in stages:
            start = time.perf_counter()
            folder = STAGES[name](pipeline).folder
            seconds[name] = time.perf_counter() - start
            sums |= {f"{name}/{file}": sum_ for file, sum_ in checksums(folder).items() if file != CHECKSUMS}
        return seconds, sums, pipeline.corpus.store.n_tokens


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One process and the cluster in turn."""
    seconds: dict[str, list[float]] = {}
    found = []
    with nodes(arguments.nodes) as address:
        for _ in range(arguments.repeat):
            for name, machines in (("one", MachinesConfig()), ("ray", MachinesConfig(address=address))):
                with tempfile.TemporaryDirectory() as folder:
                    spent, sums, n_tokens = run(configure(arguments, Path(folder), machines), arguments.stages)
                for stage, value in spent.items():
                    seconds.setdefault(f"{stage}_{name}_seconds", []).append(value)
                found.append(sums)
    middle = {name: median(values) for name, values in seconds.items()}
    return {
        "tokens": n_tokens,
        "nodes": arguments.nodes,
        "files": len(found[0]),
        "same_bytes": all(sums == found[0] for sums in found),
        **{f"{name}_ratio": middle[f"{name}_ray_seconds"] / middle[f"{name}_one_seconds"] for name in arguments.stages},
        **middle,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    standin.add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=65_536, help="tokens of the corpus, at least")
    parser.add_argument("--model", choices=("standin", "default"), default="standin", help="model and SAE")
    parser.add_argument("--texts", type=Path, help="folder of texts; default: generated ones")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of the cluster")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="what is run and compared")
    parser.add_argument("--repeat", type=int, default=1, help="how often both are run")
    report(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
