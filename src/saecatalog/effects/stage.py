"""The stage of effects: a subject, the harvest of a corpus and the features wanted flow in, tables flow out.

The windows of the sampled contexts are run again, this time to the end, and every context continues from there.
Finished windows are kept, so that an interrupted run resumes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from jaxtyping import Float32, Int64

from saecatalog.analysis.activations import Activations, include
from saecatalog.cache import checksum
from saecatalog.config import EffectsConfig
from saecatalog.effects import EFFECTS
from saecatalog.effects.ablation import Contexts, Results, make_groups, run_group
from saecatalog.effects.memory import KEPT_BYTES, Memory, Remembering
from saecatalog.effects.placing import Placed, place_contexts
from saecatalog.effects.proof import check_resuming
from saecatalog.effects.rows import Names, context_rows, correlation, effect_rows, token_rows
from saecatalog.effects.sampling import Sample, sample_contexts
from saecatalog.json_files import write_json
from saecatalog.lens import logit_map
from saecatalog.models.language_model import NoSuchHook
from saecatalog.models.vocabulary import token_strings
from saecatalog.progress import Bar, notice
from saecatalog.store import Store
from saecatalog.subject import Subject
from saecatalog.tables import TableWriter
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import TokenizedTexts, make_windows
from saecatalog.threads import n_passes, passes_in_order

SUMMED_BYTES = 2**28
"""The most memory for the sums of the changes of log probabilities, which bounds the features measured at a time."""

Changes = Float32[np.ndarray, "feature d_vocab"]


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


def measure_effects(job: Job, folder: Path, kept: Path, progress: Callable[[int], AbstractContextManager[Bar]]) -> None:
    """Write the tables of effects and the facts about them into an empty folder.

    `kept` is a folder of finished windows. `progress` opens a bar for the contexts. Where the model cannot be run
    from the hook on, or no layer is after it, the tables are empty and the facts say why.
    """
    with TableWriter(folder, TABLES) as writer:
        try:
            check_resuming(job.subject)
        except NoSuchHook as error:
            write_json(folder / EFFECTS, {"reason": str(error)})
            return
        n = _measure(job, folder, kept, writer, progress)
    write_json(folder / EFFECTS, {"features": n, "contexts": job.config.contexts, "seed": job.config.seed})


def _measure(
    job: Job, folder: Path, kept: Path, writer: TableWriter, progress: Callable[[int], AbstractContextManager[Bar]]
) -> int:
    """Write the tables of effects; returns for how many features."""
    activations = include(job.store, job.outlier_multiple, scratch=folder)
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
    with progress(len(sample)) as bar:
        for first in range(0, len(measured), at_once):
            chunk = measured[first : first + at_once]
            part = sample.part(np.isin(sample.features, chunk))
            _write(job, writer, part, measuring.run(part, bar.update), names, list(dict.fromkeys(categories)))
    measuring.tidy()
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
        store = job.store
        self.job, self.subject, self.activations, self.kept = job, job.subject, activations, kept
        sources = tuple(text.source for text in job.texts)
        tokens = TokenizedTexts(
            np.asarray(store.token_ids), np.asarray(store.token_ends), np.asarray(store.text_offsets), sources
        )
        info = self.subject.info
        self.windows = make_windows(tokens, info.context, info.prepend_bos, info.overlap)
        self.remembering = Remembering(self.subject, tokens, job.batch_tokens)
        self.subjects = [self.subject]
        self.subjects += [self.subject.replica() for _ in range(n_passes(self.subject.device, len(self.windows)) - 1)]
        self.position_bytes = self.remembering.position_bytes(self.windows[0])

    def run(self, sample: Sample, tick: Callable[[int], object]) -> Measured:
        """The results of a sample, whose features' sums of changes fit into memory."""
        features = np.unique(sample.features)
        placed = place_contexts(self.activations, sample, self.windows, self.remembering.extra)
        results = Results.empty(len(sample))
        sums = np.zeros((len(features), self.subject.info.d_vocab))
        for block in placed.blocks(KEPT_BYTES // self.position_bytes):
            rows, found, present, changes = self._block(sample, placed, block, tick)
            results.put(rows, found)
            sums[np.searchsorted(features, present)] += changes
        sums /= np.bincount(np.searchsorted(features, sample.features))[:, None]
        return Measured(results, placed.next_ids, sums.astype(np.float32))

    def _block(
        self, sample: Sample, placed: Placed, block: range, tick: Callable[[int], object]
    ) -> tuple[Int64[np.ndarray, "row"], Results, Int64[np.ndarray, "feature"], Changes]:
        """The rows of a block's contexts, their results, its features and the sums of their changes."""
        key, rows = placed.key(sample, block), placed.rows(block)
        path = self._kept(key)
        if path is None:
            path = self._keep(key, *self._run_block(sample, placed, block, tick))
        else:
            tick(len(rows))
        with np.load(path) as arrays:
            results = Results(**{f.name: arrays[f.name] for f in fields(Results)})
            return rows, results, np.unique(sample.features[rows]).astype(np.int64), arrays["changes"]

    def _run_block(
        self, sample: Sample, placed: Placed, block: range, tick: Callable[[int], object]
    ) -> tuple[Results, Changes]:
        """The results of a block's contexts, and the sums of the changes of each of its features."""
        memory = self.remembering.remember([placed.windows[place] for place in block], self.subjects)
        contexts = placed.contexts(sample, block, memory.starts)
        features = np.unique(contexts.features)
        results = Results.empty(len(contexts))
        sums = torch.zeros((len(features), self.subject.info.d_vocab))
        for rows, part, changes in self._run_groups(memory, contexts):
            results.put(rows, part)
            places = torch.from_numpy(np.searchsorted(features, contexts.features[rows]))
            sums.index_add_(0, places, changes.cpu())
            tick(len(rows))
        return results, sums.numpy()

    def _run_groups(
        self, memory: Memory, contexts: Contexts
    ) -> Iterator[tuple[Int64[np.ndarray, "row"], Results, torch.Tensor]]:
        """The results of every group of a block, in the order of the groups; models keep state, so each has its own."""
        free: SimpleQueue[Subject] = SimpleQueue()
        for subject in self.subjects:
            free.put(subject)

        def run(rows: Int64[np.ndarray, "row"]) -> tuple[Int64[np.ndarray, "row"], Results, torch.Tensor]:
            subject = free.get()
            try:
                return rows, *run_group(subject, memory, self.remembering.layer, contexts, rows)
            finally:
                free.put(subject)

        groups = make_groups(contexts, self.position_bytes)
        return passes_in_order(run, groups, len(self.subjects))

    def _kept(self, key: str) -> Path | None:
        """The file of a finished block; one that is not as it was written is removed."""
        for path in self.kept.glob(f"{key}-*.npz"):
            if path.stem == f"{key}-{checksum(path)}":
                return path
            notice(f"the cache's {path} is damaged; its part of the effects is measured again")
            path.unlink()
        return None

    def _keep(self, key: str, results: Results, changes: Changes) -> Path:
        """Write a finished block, completely or not at all."""
        part = self.kept / PART
        try:
            with part.open("wb") as file:
                np.savez(file, changes=changes, **vars(results))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part.replace(self.kept / f"{key}-{checksum(part)}.npz")

    def tidy(self) -> None:
        """Remove all finished blocks, once the tables have what they hold."""
        for path in [*self.kept.glob("*.npz"), self.kept / PART]:
            path.unlink(missing_ok=True)


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

PART = ".part"
"""The finished block that is being written."""
