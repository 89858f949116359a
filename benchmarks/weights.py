"""The stage of the weights compared with its two matrix products alone, which keep nothing.

    python benchmarks/weights.py [--d-sae 24576] [--rounds 3]

The products are those of the decoder with the map to the logits and with itself (the cosines), in chunks and threads as
in the stage. Both run in turns on the stand-in of `standin.py`, so that changes in the machine's speed affect both. The
stage writes its files; the vocabulary as text, which is part of it, is also timed alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import standin
import torch
from harvest import load
from measure import peak_memory, report

from saecatalog.lens import CHUNK, logit_map, make_lens
from saecatalog.models.vocabulary import token_strings
from saecatalog.subject import Subject
from saecatalog.threads import n_passes, passes_in_order

Seconds = tuple[float, float]
"""Of the clock, and of all processors: the second varies less with other work on the machine."""


def seconds_of(work: Callable[[], object]) -> Seconds:
    """The seconds that some work takes."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


@torch.inference_mode()
def bare_products(subject: Subject) -> None:
    """The stage's products, chunk by chunk, in as many threads."""
    decoder, unembedding = subject.sae.W_dec.detach().float(), logit_map(subject)

    @torch.inference_mode()
    def work(start: int) -> None:
        rows = decoder[start : start + CHUNK]
        for matrix in (decoder.T, unembedding):
            rows @ matrix

    starts = range(0, len(decoder), CHUNK)
    for _ in passes_in_order(work, starts, n_passes(subject.device, len(starts))):
        pass
    if subject.device.type == "cuda":
        torch.cuda.synchronize()


def stage(subject: Subject) -> None:
    """The whole stage, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        make_lens(subject, Path(folder), lambda n: None)


def measure(subject: Subject, rounds: int) -> dict[str, Any]:
    """Both in turns, and the vocabulary."""
    works = {
        "products": lambda: bare_products(subject),
        "stage": lambda: stage(subject),
        "vocabulary": lambda: token_strings(subject.tokenizer, subject.info.d_vocab),
    }
    spent: dict[str, list[Seconds]] = {name: [] for name in works}
    with peak_memory() as memory:
        for _ in range(rounds):
            for name, work in works.items():
                spent[name].append(seconds_of(work))
    ratios = [mine[0] / floor[0] for mine, floor in zip(spent["stage"], spent["products"], strict=True)]
    wall, processor = ({name: statistics.mean(s[i] for s in spent[name]) for name in works} for i in (0, 1))
    return {
        "features": subject.info.d_sae,
        "d_vocab": subject.info.d_vocab,
        "threads": torch.get_num_threads(),
        **{f"{name}_seconds": seconds for name, seconds in wall.items()},
        **{f"{name}_processor_seconds": seconds for name, seconds in processor.items()},
        "ratio": wall["stage"] / wall["products"],
        "ratio_smallest": min(ratios),
        "ratio_largest": max(ratios),
        "processor_ratio": processor["stage"] / processor["products"],
        "peak_anonymous_mb": memory.anonymous,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    standin.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=3, help="how often both run, in turns")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    report(measure(load(arguments), arguments.rounds))


if __name__ == "__main__":
    main()
