"""The harvest compared with the bare loop: a forward pass to the hook and the encoder, keeping nothing.

    python benchmarks/harvest.py [--tokens 32768] [--rounds 4]

Both run the same tokens through the stand-in of `standin.py` (GPT-2-small's shape, 24,576 features), in turns, so that
changes in the machine's speed affect both. The bare loop packs the tokens into full contexts of 128 and takes the
fastest of eight shapes; the harvest takes the texts as they are, with a BOS before each window, and writes its store.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import standin
import torch
from measure import Memory, peak_memory, report

from saecatalog.cache import Cache
from saecatalog.config import CorpusConfig, SubjectConfig
from saecatalog.harvest import harvest
from saecatalog.store import read_store
from saecatalog.subject import Subject, load_subject
from saecatalog.texts.corpus import Text, read_corpus
from saecatalog.texts.windows import tokenize

BATCHES = (4, 8, 16, 32)
"""Numbers of contexts per batch that the bare loop tries."""

ROWS = (320, 1 << 30)
"""Numbers of rows that it tries to encode at once: parts that the allocator keeps, or a whole batch."""

TRIAL_TOKENS = 8192


def load(arguments: argparse.Namespace) -> Subject:
    """The stand-in, loaded in the same way as by a build."""
    made = standin.standin(arguments.d_sae, arguments.l0, arguments.seed, arguments.cache)
    config = SubjectConfig(model=str(made.model), sae=str(made.sae), device=arguments.device, dtype=arguments.dtype)
    return load_subject(config, Cache(arguments.cache))


@torch.inference_mode()
def bare_loop(subject: Subject, ids: np.ndarray, batch: int, rows: int) -> float:
    """Seconds per token of the simplest loop: the model up to the hook, then `sae.encode`."""
    contexts = len(ids) // subject.info.context
    tokens = torch.from_numpy(ids[: contexts * subject.info.context].astype(np.int64)).view(contexts, -1)
    start = time.perf_counter()
    for part in torch.split(tokens.to(subject.device), batch):
        for residual in torch.split(subject.values(part)[0].flatten(0, 1), rows):
            subject.sae.encode(residual)
    _finish(subject.device)
    return (time.perf_counter() - start) / tokens.numel()


def best_shape(subject: Subject, ids: np.ndarray) -> tuple[int, int]:
    """The shape in which the bare loop is fastest here: contexts per batch, rows encoded at once."""
    trials = {shape: bare_loop(subject, ids[:TRIAL_TOKENS], *shape) for shape in product(BATCHES, ROWS)}
    return min(trials, key=trials.__getitem__)


def _finish(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed_harvest(subject: Subject, chosen: list[Text]) -> tuple[float, int, int]:
    """Seconds per token of the whole harvest, including the store; its numbers of tokens and active entries."""
    tokens = tokenize(chosen, subject.tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        harvest(subject, tokens, None, folder, lambda n: None)
        seconds = time.perf_counter() - start
        return seconds / len(tokens.ids), len(tokens.ids), len(read_store(folder).features)


def measure(subject: Subject, corpus: list[Text], rounds: int) -> dict[str, Any]:
    """Measure both in turns, each round on its own share of the texts."""
    ids = tokenize(corpus, subject.tokenizer).ids
    batch, rows = best_shape(subject, ids)
    bare, kept, tokens, active = [], [], 0, 0
    memory = Memory()
    for turn in range(rounds):
        share = corpus[turn::rounds]
        bare.append(bare_loop(subject, tokenize(share, subject.tokenizer).ids, batch, rows))
        with peak_memory() as here:
            seconds, n_tokens, n_active = timed_harvest(subject, share)
        kept.append(seconds)
        tokens, active = tokens + n_tokens, active + n_active
        memory = max(memory, here, key=lambda m: m.anonymous)
    ratios = np.array(kept) / np.array(bare)
    return {
        "tokens": tokens,
        "texts": len(corpus),
        "features": subject.info.d_sae,
        "l0": active / tokens,
        "device": str(subject.device),
        "dtype": subject.info.dtype,
        "threads": torch.get_num_threads(),
        "bare_contexts_in_a_batch": batch,
        "bare_rows_encoded_at_once": min(rows, batch * subject.info.context),
        "bare_tokens_per_second": 1 / float(np.mean(bare)),
        "harvest_tokens_per_second": 1 / float(np.mean(kept)),
        "ratio": float(np.mean(kept) / np.mean(bare)),
        "ratio_smallest": float(ratios.min()),
        "ratio_largest": float(ratios.max()),
        "peak_anonymous_mb": memory.anonymous,
        "peak_resident_mb": memory.resident,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    standin.add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=32_768, help="tokens of the corpus, at least")
    parser.add_argument("--rounds", type=int, default=4, help="shares of the corpus that both run in turns")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    subject = load(arguments)
    corpus = read_corpus(CorpusConfig(paths=(str(standin.corpus_path(arguments)),), concepts=None))
    report(measure(subject, corpus, arguments.rounds))


if __name__ == "__main__":
    main()
