"""Blocks of windows: the contexts in some windows flow in, what becomes of each one's prediction flows out.

A block is run as a whole, on this machine or by a worker.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64

from saecatalog.effects.ablation import Contexts, Results, make_groups, run_group
from saecatalog.effects.memory import Memory, Remembering
from saecatalog.subject import Subject
from saecatalog.texts.windows import TokenizedTexts, Window
from saecatalog.threads import MAX_THREADS, n_passes, passes_in_order

Changes = Float32[np.ndarray, "feature d_vocab"]


@dataclass(frozen=True)
class Block:
    """Some windows and the contexts in them."""

    sample: int
    """The number of the sample that the contexts are of."""
    rows: Int64[np.ndarray, "context"]
    """Their rows in it."""
    windows: list[Window]
    where: Int64[np.ndarray, "context"]
    """The window of each context: index in `windows`."""
    depths: Int64[np.ndarray, "context"]
    """How many positions of its window are before the sampled token, BOS included."""
    features: Int32[np.ndarray, "context"]
    controls: Int32[np.ndarray, "context"]
    activations: Float32[np.ndarray, "context reach"]
    next_ids: Int64[np.ndarray, "context"]

    @property
    def key(self) -> str:
        """A hash of everything that the results depend on, but for model and SAE."""
        found = hashlib.sha256(b"".join(window.key for window in self.windows))
        for part in (self.where, self.depths, self.features, self.controls, self.activations, self.next_ids):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()[:24]

    @property
    def present(self) -> Int64[np.ndarray, "feature"]:
        """The features of the contexts, each once."""
        return np.unique(self.features).astype(np.int64)

    def contexts(self, starts: Int64[np.ndarray, "window"]) -> Contexts:
        """What a pass has to run; `starts` are the windows' first positions in the memory."""
        places = starts[self.where] + self.depths
        return Contexts(places, self.depths, self.features, self.controls, self.activations, self.next_ids)


class BlockRunner:
    """Runs blocks on a subject. `position_bytes` are the bytes that the values of one position take."""

    def __init__(self, subject: Subject, tokens: TokenizedTexts, batch_tokens: int | None, position_bytes: int):
        self.subject, self.position_bytes = subject, position_bytes
        self.remembering = Remembering(subject, tokens, batch_tokens)

    @cached_property
    def _subjects(self) -> list[Subject]:
        """One for each thread, because models keep state."""
        more = n_passes(self.subject.device, MAX_THREADS) - 1
        return [self.subject, *(self.subject.replica() for _ in range(more))]

    def run(self, block: Block, tick: Callable[[int], object] = lambda n: None) -> tuple[Results, Changes]:
        """The results of a block's contexts, and the sums of the changes of each of its features."""
        memory = self.remembering.remember(block.windows, self._subjects)
        contexts, features = block.contexts(memory.starts), block.present
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
        """The results of every group of a block, in the order of the groups."""
        free: SimpleQueue[Subject] = SimpleQueue()
        for subject in self._subjects:
            free.put(subject)

        def run(rows: Int64[np.ndarray, "row"]) -> tuple[Int64[np.ndarray, "row"], Results, torch.Tensor]:
            subject = free.get()
            try:
                return rows, *run_group(subject, memory, self.remembering.layer, contexts, rows)
            finally:
                free.put(subject)

        return passes_in_order(run, make_groups(contexts, self.position_bytes), len(self._subjects))
