"""What is before the hook, computed once: windows flow in, the values from which passes continue flow out."""

from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from saecatalog.harvest import BATCH_TOKENS, BATCH_TOKENS_ELSEWHERE, stack
from saecatalog.models.resuming import Past
from saecatalog.subject import Subject
from saecatalog.texts.windows import TokenizedTexts, Window, make_batches
from saecatalog.threads import n_passes, passes_in_order

KEPT_BYTES = 2**29
"""The most memory for the values of the windows that are in hand."""


@dataclass(frozen=True)
class Memory:
    """The values at every position of some windows, BOS included, one window after another."""

    starts: Int64[np.ndarray, "window"]
    """The first position of each window."""
    ids: Int[Tensor, "position"]
    read: Float[Tensor, "position d_in"]
    """What the SAE reads."""
    residual: Float[Tensor, "position d_model"]
    """The residual stream before the layer at which passes begin."""
    unembedded: Float[Tensor, "position d_model"]
    """What the unembedding reads."""
    layers: list[tuple[Float[Tensor, "position head d_head"], Float[Tensor, "position head d_head"]]]
    """Keys and values of that layer and all later ones."""

    def past(self, places: Int[Tensor, "window position"]) -> Past | None:
        """The keys and values at some positions, which are those of the windows' beginnings; None for no positions."""
        if not places.shape[1]:
            return None
        return Past([(keys[places].transpose(1, 2), values[places].transpose(1, 2)) for keys, values in self.layers])


class Remembering:
    """Runs windows of a corpus through a model; `layer` is the one before which later passes begin."""

    def __init__(self, subject: Subject, tokens: TokenizedTexts, batch_tokens: int | None):
        self.subject, self.tokens = subject, tokens
        self.layer = subject.model.start_layer(subject.info.hook_out)
        self.extra = int(subject.info.prepend_bos)
        self.most = batch_tokens or BATCH_TOKENS.get(subject.device.type, BATCH_TOKENS_ELSEWHERE)

    @torch.inference_mode()
    def position_bytes(self, window: Window) -> int:
        """The bytes that the values of one position take."""
        return sum(part.nbytes for part in self._run(self.subject, [window])) // (window.run + self.extra)

    def remember(self, windows: Sequence[Window], subjects: Sequence[Subject]) -> Memory:
        """Run windows, in as many threads as there are `subjects`, replicas of one."""
        lengths = np.array([window.run + self.extra for window in windows])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        place = {window.key: int(start) for window, start in zip(windows, starts, strict=True)}
        batches = make_batches(list(windows), self.most, self.extra)
        free: SimpleQueue[Subject] = SimpleQueue()
        for subject in subjects:
            free.put(subject)
        whole: list[Tensor] = []

        @torch.inference_mode()
        def run(batch: list[Window]) -> tuple[list[Window], list[Tensor]]:
            subject = free.get()
            try:
                return batch, self._run(subject, batch)
            finally:
                free.put(subject)

        for batch, parts in passes_in_order(run, batches, n_passes(self.subject.device, len(subjects))):
            whole = whole or [part.new_empty((int(lengths.sum()), *part.shape[2:])) for part in parts]
            for row, window in enumerate(batch):
                at = slice(place[window.key], place[window.key] + window.run + self.extra)
                for target, part in zip(whole, parts, strict=True):
                    target[at] = part[row]
        ids, read, residual, unembedded, *rest = whole
        return Memory(starts, ids, read, residual, unembedded, list(zip(rest[::2], rest[1::2], strict=True)))

    def _run(self, subject: Subject, batch: list[Window]) -> list[Tensor]:
        """Ids, then in the order of `Memory` all values, `[window, position, ...]`."""
        ids = stack(self.tokens, batch, subject)
        read, _ = subject.values(ids)
        residual = read if subject.model.is_entry(subject.info.hook) else subject.model.entering(self.layer, ids)
        past, unembedded = subject.model.remember(self.layer, ids, residual)
        return [ids, read, residual, unembedded, *(part.transpose(1, 2) for pair in past.layers for part in pair)]
