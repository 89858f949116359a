"""The stage of effects: a subject, the harvest of a corpus and the features wanted flow in, tables flow out.

The windows of the sampled contexts are run again, this time to the end, and every context continues from there.
Finished windows are kept, so that an interrupted run resumes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import torch
from jaxtyping import Int64

from saecatalog.analysis.activations import Activations, include
from saecatalog.config import EffectsConfig
from saecatalog.effects import EFFECTS
from saecatalog.effects.ablation import Results
from saecatalog.effects.blocks import Block, BlockRunner, Changes
from saecatalog.effects.kept import Kept
from saecatalog.effects.memory import KEPT_BYTES, Remembering
from saecatalog.effects.placing import place_contexts
from saecatalog.effects.proof import check_resuming
from saecatalog.effects.rows import Names, context_rows, correlation, effect_rows, token_rows
from saecatalog.effects.sampling import Sample, sample_contexts
from saecatalog.json_files import write_json
from saecatalog.lens import logit_map
from saecatalog.models.language_model import NoSuchHook
from saecatalog.models.vocabulary import token_strings
from saecatalog.progress import Bar
from saecatalog.remote_subject import RemoteSubject
from saecatalog.store import Store
from saecatalog.subject import Subject
from saecatalog.tables import TableWriter
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import TokenizedTexts, make_windows

SUMMED_BYTES = 2**28
"""The most memory for the sums of the changes of log probabilities, which bounds the features measured at a time."""


@dataclass(frozen=True)
class Job:
    """What is measured, and with what."""

    subject: Subject
    texts: list[Text]
    store: Store
    features: Sequence[int]
    config: EffectsConfig
    outlier_multiple: float
    batch_tokens: int | None
    remote: RemoteSubject | None = None
    """Workers that run the windows; None for this process."""


def measure_effects(job: Job, folder: Path, kept: Path, progress: Callable[[int], AbstractContextManager[Bar]]) -> None:
    """Write the tables of effects and the facts about them into an empty folder.

    `kept` is a folder of finished windows. `progress` opens a bar for the contexts. Where the model cannot be run
    from the hook on, or no layer is after it, the tables are empty and the facts say why.
    """
    with TableWriter(folder, TABLES) as writer, TemporaryDirectory(dir=folder) as scratch:
        try:
            check_resuming(job.subject)
        except NoSuchHook as error:
            write_json(folder / EFFECTS, {"reason": str(error)})
            return
        n = _measure(job, Path(scratch), kept, writer, progress)
    write_json(folder / EFFECTS, {"features": n, "contexts": job.config.contexts, "seed": job.config.seed})


def _measure(
    job: Job, scratch: Path, kept: Path, writer: TableWriter, progress: Callable[[int], AbstractContextManager[Bar]]
) -> int:
    """Write the tables of effects; returns for how many features."""
    engine = job.remote.engine if job.remote else None
    activations = include(job.store, job.outlier_multiple, scratch=scratch, engine=engine)
    texts = job.texts
    categories = np.array([text.category for text in texts], object)
    silent = (job.subject.sae.W_dec == 0).all(-1).cpu().numpy()
    drawn = (activations, categories, job.features, job.config.contexts, job.config.seed, silent)
    sample = sample_contexts(*drawn)
    names = Names(
        np.array([text.id for text in texts], object),
        categories,
        activations.token_texts,
        activations.token_positions,
        np.asarray(job.store.token_ids),
        np.array(token_strings(job.subject.tokenizer, job.subject.info.d_vocab), object),
    )
    measuring = Measuring(job, activations, kept)
    measured = np.unique(sample.features).tolist()
    at_once = max(1, SUMMED_BYTES // (12 * job.subject.info.d_vocab))
    chunks = [measured[first : first + at_once] for first in range(0, len(measured), at_once)]
    parts = [sample.part(np.isin(sample.features, chunk)) for chunk in chunks]
    with progress(len(sample)) as bar:
        for part, found in measuring.run(parts, bar.update):
            _write(job, writer, part, found, names, list(dict.fromkeys(categories)))
    measuring.kept.tidy()
    return len(measured)


@dataclass(frozen=True)
class Measured:
    """The results of a sample."""

    results: Results
    next_ids: Int64[np.ndarray, "context"]
    changes: Changes
    """The mean change of each log probability due to each feature, in the order of the features."""


class Measuring:
    """Runs samples; finished blocks of windows are in the folder `kept`."""

    def __init__(self, job: Job, activations: Activations, kept: Path):
        store, info = job.store, job.subject.info
        self.job, self.activations = job, activations
        self.kept = Kept(kept, ".npz", "its part of the effects is measured again")
        sources = tuple(text.source for text in job.texts)
        self.tokens = TokenizedTexts(
            np.asarray(store.token_ids), np.asarray(store.token_ends), np.asarray(store.text_offsets), sources
        )
        self.windows = make_windows(self.tokens, info.context, info.prepend_bos, info.overlap)
        remembering = Remembering(job.subject, self.tokens, job.batch_tokens)
        self.extra, self.position_bytes = remembering.extra, remembering.position_bytes(self.windows[0])

    def run(self, samples: Sequence[Sample], tick: Callable[[int], object]) -> Iterator[tuple[Sample, Measured]]:
        """The results of samples, each of them with features whose sums of changes fit into memory."""
        done = self.kept.in_order(self._blocks(samples), lambda missing: self._results(missing, tick), _save)
        for number, blocks in groupby(done, lambda found: found[0].sample):
            yield samples[number], self._measured(samples[number], blocks, tick)

    def _blocks(self, samples: Sequence[Sample]) -> Iterator[Block]:
        for number, sample in enumerate(samples):
            placed = place_contexts(self.activations, sample, self.windows, self.extra)
            yield from placed.blocks(number, sample, KEPT_BYTES // self.position_bytes)

    def _results(self, blocks: Iterator[Block], tick: Callable[[int], object]) -> Iterator[tuple[Results, Changes]]:
        """The results of blocks and the sums of the changes of each of their features, from here or from workers."""
        given = (self.tokens, self.job.batch_tokens, self.position_bytes)
        if self.job.remote is None:
            runner = BlockRunner(self.job.subject, *given)
            yield from (runner.run(block, tick) for block in blocks)
            return
        for found in self.job.remote.in_order(BlockRunner, given, BlockRunner.run, blocks):
            tick(len(found[0].kl))
            yield found

    def _measured(
        self, sample: Sample, blocks: Iterable[tuple[Block, Path, bool]], tick: Callable[[int], object]
    ) -> Measured:
        """The results of a sample, from the files of its blocks; those that were there before are counted now."""
        features = np.unique(sample.features)
        results, next_ids = Results.empty(len(sample)), np.empty(len(sample), np.int64)
        sums = np.zeros((len(features), self.job.subject.info.d_vocab))
        for block, path, was_there in blocks:
            with np.load(path) as arrays:
                results.put(block.rows, Results(**{f.name: arrays[f.name] for f in fields(Results)}))
                sums[np.searchsorted(features, block.present)] += arrays["changes"]
            next_ids[block.rows] = block.next_ids
            if was_there:
                tick(len(block.rows))
        sums /= np.bincount(np.searchsorted(features, sample.features))[:, None]
        return Measured(results, next_ids, sums.astype(np.float32))


def _save(file: IO[bytes], found: tuple[Results, Changes]) -> None:
    results, changes = found
    np.savez(file, changes=changes, **vars(results))


def _write(job: Job, writer: TableWriter, sample: Sample, found: Measured, names: Names, categories: list[str]) -> None:
    """Write the rows of some features."""
    features = np.unique(sample.features).tolist()
    direct = _direct(job.subject, features)
    correlations = {} if direct is None else dict(zip(features, correlation(found.changes, direct), strict=True))
    contexts = context_rows(sample, found.results, found.next_ids, names)
    writer.write("effect_contexts", contexts)
    writer.write("effects", effect_rows(contexts, correlations, categories, job.config.seed))
    writer.write("effect_tokens", token_rows(features, found.changes, direct, names.vocabulary))


@torch.inference_mode()
def _direct(subject: Subject, features: list[int]) -> Changes | None:
    """The direct logit effects of some features minus their mean, as in the lens; None if there are none."""
    unembedding = logit_map(subject)
    if unembedding is None:
        return None
    logits = subject.sae.W_dec[features].detach().float() @ unembedding
    direct: Changes = (logits - logits.mean(-1, keepdim=True)).cpu().numpy()
    return direct


TABLES = ("effects", "effect_contexts", "effect_tokens")
"""The tables of this stage; those of an analysis by these names are empty."""
