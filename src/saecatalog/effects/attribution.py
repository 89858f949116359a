"""Where features come from: their strongest tokens flow in, the parts of the model that add most to them flow out.

Direct attribution, mean over a feature's top contexts; see `parts` for how one activation is split.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64, Int64

from saecatalog.constants import ATTRIBUTION_CONTEXTS, ATTRIBUTION_PARTS
from saecatalog.effects.parts import NoAttribution, Part, Plan, encoder_of, split
from saecatalog.harvest import BATCH_TOKENS, BATCH_TOKENS_ELSEWHERE, stack
from saecatalog.schemas import SCHEMAS
from saecatalog.subject import Subject
from saecatalog.tables import Columns
from saecatalog.texts.windows import TokenizedTexts, Window, make_batches, make_windows
from saecatalog.threads import n_passes, passes_in_order

ADDS_UP = 1e-3
"""Largest difference between an activation and the sum of its parts, as a share of the sum of their sizes."""

DIGITS = 6
"""Significant digits of a contribution: the last ones of single precision would depend on the batch."""


@dataclass(frozen=True)
class Peaks:
    """The strongest tokens of some features: an entry for each feature and context."""

    features: Int64[np.ndarray, "peak"]
    tokens: Int64[np.ndarray, "peak"]
    """Index among all tokens of the corpus."""
    activations: Float32[np.ndarray, "peak"]

    @classmethod
    def of(cls, contexts: pd.DataFrame, text_ids: Sequence[str], offsets: Int64[np.ndarray, "text_plus_1"]) -> "Peaks":
        """The first ATTRIBUTION_CONTEXTS peaks of each feature in the table of contexts, whatever its order.

        `text_ids` and `offsets` are those of the store that the table was made from.
        """
        shown = contexts[(contexts["band"] == "top") & (contexts["rank"] < ATTRIBUTION_CONTEXTS)]
        shown = shown.sort_values(["feature", "rank"])
        starts = dict(zip(text_ids, offsets[:-1].tolist(), strict=True))
        tokens = shown["text"].map(starts).to_numpy(np.int64) + shown["position"].to_numpy(np.int64)
        return cls(shown["feature"].to_numpy(np.int64), tokens, shown["activation"].to_numpy(np.float32))


def attribute(
    subject: Subject,
    tokens: TokenizedTexts,
    peaks: Peaks,
    batch_tokens: int | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Columns:
    """The rows of the table `attributions`; they do not depend on which other features are asked for.

    `tick` is called with the number of tokens processed. Raises NoAttribution if what the SAE reads is not a sum of
    parts of the model, or if the parts do not add up to an activation.
    """
    if subject.sae.cfg.metadata.hook_head_index is not None:
        raise NoAttribution("The SAE reads one attention head only.")
    plan = Plan(subject.model, subject.info.hook)
    subject.model.prepare(plan.hooks)
    found = np.zeros((len(peaks.tokens), len(plan.parts)))
    for places, values in _run(subject, plan, tokens, peaks, batch_tokens, tick):
        found[places] = values
    _check_sums(peaks, found, subject.info.dtype)
    return _rows(peaks, found, plan.parts)


def _run(
    subject: Subject,
    plan: Plan,
    tokens: TokenizedTexts,
    peaks: Peaks,
    batch_tokens: int | None,
    tick: Callable[[int], object],
) -> Iterator[tuple[Int64[np.ndarray, "row"], Float64[np.ndarray, "row part"]]]:
    """Places among the peaks, and what each part adds there, batch by batch."""
    info = subject.info
    windows = make_windows(tokens, info.context, info.prepend_bos, info.overlap)
    needed, owner = _needed(windows, peaks.tokens)
    most = batch_tokens or BATCH_TOKENS.get(subject.device.type, BATCH_TOKENS_ELSEWHERE)
    batches = make_batches(needed, most, int(info.prepend_bos))
    starts = np.array([window.start for window in needed])[owner]
    passes = n_passes(subject.device, len(batches))
    free: SimpleQueue[Subject] = SimpleQueue()
    for own in (subject, *(subject.replica() for _ in range(passes - 1))):
        free.put(own)

    def work(batch: list[Window]) -> tuple[Int64[np.ndarray, "row"], Float64[np.ndarray, "row part"]]:
        own = free.get()
        try:
            # Sorted, so that the place of a window's start gives its row of the batch.
            found = _run_batch(own, plan, tokens, peaks, starts, sorted(batch, key=lambda window: window.start))
        finally:
            free.put(own)
        tick(sum(map(len, batch)))
        return found

    yield from passes_in_order(work, batches, passes)


def _needed(
    windows: list[Window], tokens: Int64[np.ndarray, "token"]
) -> tuple[list[Window], Int64[np.ndarray, "token"]]:
    """The windows with some tokens, each without what comes after the last of them, and the index of each token's."""
    starts = np.array([window.start for window in windows])
    used, owner = np.unique(np.searchsorted(starts, tokens, side="right") - 1, return_inverse=True)
    stops = np.zeros(len(used), np.int64)
    np.maximum.at(stops, owner, tokens + 1)
    return [replace(windows[i], stop=stop) for i, stop in zip(used.tolist(), stops.tolist(), strict=True)], owner


@torch.inference_mode()
def _run_batch(
    subject: Subject,
    plan: Plan,
    tokens: TokenizedTexts,
    peaks: Peaks,
    starts: Int64[np.ndarray, "peak"],
    batch: list[Window],
) -> tuple[Int64[np.ndarray, "row"], Float64[np.ndarray, "row part"]]:
    """The peaks in the windows of a batch; `starts` is the start of each peak's window."""
    firsts = np.array([window.start for window in batch])
    places = np.flatnonzero(np.isin(starts, firsts))
    row = torch.from_numpy(np.searchsorted(firsts, starts[places]))
    before = batch[0].lead + int(subject.info.prepend_bos)
    column = torch.from_numpy(peaks.tokens[places] - starts[places] + before)
    hooks = (*plan.hooks, subject.info.hook)
    found = subject.model.values(hooks, stack(tokens, batch, subject))
    values = {hook: value[row, column].flatten(1).double() for hook, value in zip(hooks, found, strict=True)}
    read = found[-1][row, column].flatten(1).to(subject.sae.dtype)
    normalised = subject.sae.run_time_activation_norm_fn_in(read)
    encoder = encoder_of(subject.sae, torch.from_numpy(peaks.features[places]).to(read.device))
    return places, split(plan, values, read.double(), normalised.double(), encoder).cpu().numpy()


def _check_sums(peaks: Peaks, found: Float64[np.ndarray, "peak part"], dtype: str) -> None:
    """Raise NoAttribution if the parts of an activation do not add up to it."""
    total, sizes = found.sum(1), np.abs(found).sum(1)
    slack = max(ADDS_UP, 8 * torch.finfo(getattr(torch, dtype)).eps)
    wrong = np.abs(total - peaks.activations) > slack * sizes
    if wrong.any():
        first = int(wrong.argmax())
        raise NoAttribution(
            f"The parts of the model do not add up: feature {peaks.features[first]} has an activation of "
            f"{peaks.activations[first]:.4g} where they make {total[first]:.4g}."
        )


def _rows(peaks: Peaks, found: Float64[np.ndarray, "peak part"], parts: list[Part]) -> Columns:
    """The parts that add most to each feature, mean over its contexts."""
    rows: list[dict[str, object]] = []
    for feature in np.unique(peaks.features).tolist():
        mine = np.flatnonzero(peaks.features == feature)
        means = np.array([float(f"{mean:.{DIGITS}g}") for mean in found[mine].mean(0)])
        total = float(peaks.activations[mine].astype(np.float64).mean())
        for rank, part in enumerate(np.argsort(-np.abs(means), kind="stable")[:ATTRIBUTION_PARTS].tolist()):
            kind, layer, head = parts[part]
            rows.append(
                {
                    "feature": feature, "rank": rank, "kind": kind, "layer": layer, "head": head,
                    "contribution": means[part], "share": means[part] / total, "n_contexts": len(mine),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(SCHEMAS["attributions"]))
