"""Where the harvest's time goes, on one thread.

    python benchmarks/harvest_profile.py [--tokens 8192]

Prints the share of each part. The rest is the conversion of activations to sparse form, and Python.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import standin
import torch
from harvest import load
from measure import report

import saecatalog.harvest as stage
from saecatalog.config import CorpusConfig
from saecatalog.shards import Shards
from saecatalog.subject import Subject
from saecatalog.texts.corpus import read_corpus
from saecatalog.texts.windows import tokenize

PARTS: dict[str, tuple[Any, str]] = {
    "forward pass": (Subject, "residual"),
    "encoding": (Subject, "encode"),
    "reconstruction": (Subject, "decode"),
    "sums of residuals": (stage, "sum_bands"),
    "writing shards": (Shards, "add"),
    "writing the store": (stage, "write_store"),
}


def timed(work: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    """The function, with its total time recorded."""

    def run(*values: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return work(*values, **named)
        finally:
            seconds[name] += time.thread_time() - start

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    standin.add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=8_192, help="tokens of the corpus, at least")
    parser.set_defaults(device="cpu", dtype="float32")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    subject = load(arguments)
    tokens = tokenize(
        read_corpus(CorpusConfig(paths=(str(standin.corpus_path(arguments)),), concepts=None)), subject.tokenizer
    )
    seconds: dict[str, float] = defaultdict(float)
    for name, (owner, function) in PARTS.items():
        setattr(owner, function, timed(getattr(owner, function), name, seconds))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        stage.harvest(subject, tokens, None, Path(folder), lambda n: None)
        total = time.process_time() - start
    parts = {**seconds, "everything else": total - sum(seconds.values())}
    report({"tokens": len(tokens.ids), "cpu_seconds": total, **{name: s / total for name, s in parts.items()}})


if __name__ == "__main__":
    main()
