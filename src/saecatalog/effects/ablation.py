"""What taking a feature out changes: sampled contexts flow in, what becomes of each one's prediction flows out.

Each context has three predictions of the next token: with everything, which was remembered of its window, without the
feature, and without a control. The latter two are computed side by side; both begin where the hook is, with what was
remembered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, Int32, Int64
from torch import Tensor

from saecatalog.constants import EFFECT_REACH
from saecatalog.effects.memory import Memory
from saecatalog.harvest import MIN_TOKENS
from saecatalog.subject import Subject

GATHERED_BYTES = 2**26
"""The most memory for the keys and values of one batch of contexts."""

RUNS = 2
"""Passes of a context: without the feature, without the control."""


@dataclass(frozen=True)
class Contexts:
    """Contexts whose windows are remembered."""

    places: Int64[np.ndarray, "context"]
    """The sampled token: its position in the memory."""
    depths: Int64[np.ndarray, "context"]
    """How many positions of its window are before it, BOS included."""
    features: Int32[np.ndarray, "context"]
    controls: Int32[np.ndarray, "context"]
    """-1 for none."""
    activations: Float32[np.ndarray, "context reach"]
    """The feature's activation at the last EFFECT_REACH positions up to the sampled token; 0 where it is silent."""
    next_ids: Int64[np.ndarray, "context"]
    """The actual next token; -1 if there is none."""

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Results:
    """The results of contexts, in nats; NaN where there is no next token or no control."""

    kl: Float64[np.ndarray, "context"]
    log_p_with: Float64[np.ndarray, "context"]
    """Log probability of the actual next token."""
    log_p_without: Float64[np.ndarray, "context"]
    control_kl: Float64[np.ndarray, "context"]
    control_log_p: Float64[np.ndarray, "context"]

    @classmethod
    def empty(cls, n: int) -> "Results":
        return cls(**{f.name: np.full(n, np.nan) for f in fields(cls)})

    def put(self, rows: Int64[np.ndarray, "row"], part: "Results") -> None:
        """Enter the results of some contexts."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(part, f.name)


def make_groups(contexts: Contexts, position_bytes: int) -> Iterator[Int64[np.ndarray, "row"]]:
    """Contexts to run together: those of one group have equal lengths, so that none needs padding."""
    order = np.argsort(contexts.depths, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(contexts.depths[order])) + 1):
        if not len(group):
            continue
        length = int(contexts.depths[group[0]]) + 1
        most = max(MIN_TOKENS // RUNS + 1, GATHERED_BYTES // (RUNS * length * position_bytes))
        yield from np.array_split(group, -(-len(group) // most))


@torch.inference_mode()
def run_group(
    subject: Subject, memory: Memory, layer: int, contexts: Contexts, rows: Int64[np.ndarray, "row"]
) -> tuple[Results, Float[Tensor, "row d_vocab"]]:
    """The results of one group, and the change of every log probability due to the feature (with it minus without).

    A group is padded with copies to MIN_TOKENS positions, for the reason given there.
    """
    depth = int(contexts.depths[rows[0]])
    # All positions where something may change, although in most contexts only the last one does: more contexts that
    # run at once save more time than fewer positions would.
    span = min(EFFECT_REACH, depth + 1)
    padded = np.resize(rows, max(len(rows), -(-MIN_TOKENS // (RUNS * span))))
    device = subject.device
    back = torch.arange(depth, -1, -1, device=device)
    places = torch.from_numpy(contexts.places[padded]).to(device)[:, None] - back
    late = places[:, -span:]
    past = memory.past(places[:, :-span].repeat(RUNS, 1))
    removed = _removed(subject, memory.read[late], contexts, padded)
    ids, residual = (part[late].repeat(RUNS, *[1] * (part.ndim)) for part in (memory.ids, memory.residual))
    at = torch.full((len(ids),), span - 1, device=device)
    whole = memory.unembedded[places[:, -1]]
    if subject.model.is_entry(subject.info.hook_out):
        # The passes begin with the very value that is changed, so that nothing has to be hooked, which takes long.
        logits = subject.model.logits_from(layer, ids, subtracted(subject, residual, removed), at, past, whole)
    else:
        with subject.model.changing(subject.info.hook_out, lambda value: subtracted(subject, value, removed)):
            logits = subject.model.logits_from(layer, ids, residual, at, past, whole)
    log_p = logits.float().log_softmax(-1).reshape(1 + RUNS, len(padded), -1)[:, : len(rows)]
    return _results(log_p, contexts, rows), log_p[0] - log_p[1]


def contribution(
    subject: Subject,
    read: Float[Tensor, "row d_in"],
    features: Int[Tensor, "row"],
    activations: Float[Tensor, "row"],
) -> Float[Tensor, "row d_out"]:
    """What one feature of each row adds to the reconstruction: decode(its activation alone) - decode(nothing).

    It is in the scale of the SAE's output, normalisation included, which depends on what the SAE reads in the row.
    """
    n = len(read)
    # Decoding undoes the normalisation of what was normalised last, once.
    subject.sae.run_time_activation_norm_fn_in(read.repeat(2, 1).to(subject.sae.dtype))
    where = torch.stack([torch.arange(n, device=read.device), features])
    shape = (2 * n, subject.info.d_sae)
    alone = torch.sparse_coo_tensor(where, activations.to(subject.sae.dtype), shape, check_invariants=False)
    with_, without = subject.sae.decode(alone).split(n)
    added: Tensor = with_ - without
    return added


def _removed(
    subject: Subject, read: Float[Tensor, "row span d_in"], contexts: Contexts, rows: Int64[np.ndarray, "row"]
) -> Float[Tensor, "run_row span d_out"]:
    """What is subtracted in each of the RUNS: the feature's contribution, the control of the same norm."""
    n, span = read.shape[:2]
    device = read.device
    active = torch.from_numpy(contexts.activations[rows, -span:]).to(device)
    features, controls = (
        torch.from_numpy(ids[rows].astype(np.int64)).to(device)[:, None].expand(n, span).flatten()
        for ids in (contexts.features, contexts.controls)
    )
    flat = read.flatten(0, 1)
    own = contribution(subject, flat, features, active.flatten()).float()
    other = contribution(subject, flat, controls.clamp_min(0), torch.ones_like(active).flatten()).float()
    norms = other.norm(dim=-1, keepdim=True)
    scaled = other / norms.where(norms > 0, 1) * own.norm(dim=-1, keepdim=True)
    return torch.cat([own, scaled]).reshape(RUNS * n, span, -1)


def subtracted(subject: Subject, value: Tensor, removed: Float[Tensor, "window position d_out"]) -> Tensor:
    """The value at the hook that the SAE writes to, without what is removed; of all heads, or of the SAE's one."""
    head = subject.sae.cfg.metadata.hook_head_index_out if subject.info.hook != subject.info.hook_out else None
    head = subject.sae.cfg.metadata.hook_head_index if head is None else head
    if head is None:
        return value - removed.reshape(value.shape).to(value.dtype)
    changed = value.clone()
    changed[:, :, head] -= removed.to(value.dtype)
    return changed


def _results(log_p: Float[Tensor, "run row d_vocab"], contexts: Contexts, rows: Int64[np.ndarray, "row"]) -> Results:
    """Divergences and log probabilities of the next token; `log_p` with everything comes first."""
    with_, without, control = log_p
    probabilities = with_.exp()
    kls = [(probabilities * (with_ - other)).sum(-1, dtype=torch.float64).clamp_min(0) for other in (without, control)]
    next_ids = torch.from_numpy(contexts.next_ids[rows]).to(log_p.device)
    chosen = log_p.gather(-1, next_ids.clamp_min(0).expand(len(log_p), -1)[..., None])[..., 0].double().cpu().numpy()
    chosen[:, contexts.next_ids[rows] < 0] = np.nan
    controlled = contexts.controls[rows] >= 0
    kl, control_kl = (values.cpu().numpy() for values in kls)
    return Results(
        kl, chosen[0], chosen[1], np.where(controlled, control_kl, np.nan), np.where(controlled, chosen[2], np.nan)
    )
