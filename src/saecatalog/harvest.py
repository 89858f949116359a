"""The harvest: a subject and token windows flow in, a store flows out, in one streaming pass over all features.

Batches run in a few threads that share the weights. A batch holds windows of one length, so nothing is padded and
every window is computed in the same shape whatever stands beside it: batch size, order and threads do not change the
result.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from saecatalog.errors import CatalogError
from saecatalog.store import Piece, norm_bands, write_store
from saecatalog.subject import Subject
from saecatalog.windows import TokenizedTexts, Window, make_batches, make_windows

MAX_WORKERS = 4
"""Python's own work between matrix products limits how many threads pay."""

MIN_TOKENS = 32
"""A smaller batch is filled up with copies: very thin matrix products take other code paths, with other sums."""


def harvest(
    subject: Subject, tokens: TokenizedTexts, batch_tokens: int, folder: Path, tick: Callable[[int], object]
) -> None:
    """Run all texts through model and SAE and write the store into the empty `folder`; `tick` is told of tokens done.

    Raises CatalogError where the activations are not finite.
    """
    info = subject.info
    windows = make_windows(tokens, info.context, info.prepend_bos)
    batches = make_batches(windows, batch_tokens, int(info.prepend_bos))
    pieces = _run_batches(subject, tokens, batches, tick)
    write_store(folder, pieces, tokens.offsets, tokens.ids, tokens.ends, info.d_sae)


def _run_batches(
    subject: Subject, tokens: TokenizedTexts, batches: list[list[Window]], tick: Callable[[int], object]
) -> list[Piece]:
    workers = _n_workers(subject, len(batches))
    local = threading.local()
    replicas = [subject, *(subject.replica() for _ in range(workers - 1))]
    threads_before = torch.get_num_threads()

    def start() -> None:
        local.subject = replicas.pop()
        if workers > 1:
            torch.set_num_threads(max(1, threads_before // workers))

    def run(batch: list[Window]) -> Piece:
        piece = run_batch(local.subject, tokens, batch)
        tick(sum(piece.lengths))
        return piece

    try:
        with ThreadPoolExecutor(workers, initializer=start) as pool:
            return list(pool.map(run, batches))
    finally:
        torch.set_num_threads(threads_before)


def _n_workers(subject: Subject, n_batches: int) -> int:
    """One thread per core on a CPU, up to a few: two single-threaded passes outrun one on two threads."""
    if subject.device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1, MAX_WORKERS, n_batches))


@torch.inference_mode()
def run_batch(subject: Subject, tokens: TokenizedTexts, batch: list[Window]) -> Piece:
    """Run one batch of windows of equal length and keep what fired on their tokens."""
    n_tokens = sum(len(window) for window in batch)
    residual = subject.residual(stack(tokens, batch, subject))[:, int(subject.info.prepend_bos) :].flatten(0, 1)
    encoded = subject.encode(residual)
    errors = (residual.to(encoded.dtype) - subject.decode(encoded))[:n_tokens].float().square().sum(-1)
    residual = residual[:n_tokens]
    activations = encoded[:n_tokens].float()
    if not bool(torch.isfinite(activations.sum())):
        raise CatalogError("The activations are not finite.", f"dtype {subject.info.dtype}", "Use --dtype float32.")
    token, feature = (activations > 0).nonzero(as_tuple=True)
    norms = residual.float().norm(dim=-1).cpu().numpy()
    return Piece(
        starts=[window.start for window in batch],
        lengths=[len(window) for window in batch],
        counts=np.bincount(token.cpu().numpy(), minlength=n_tokens).astype(np.int64),
        features=feature.to(torch.int32).cpu().numpy(),
        activations=activations[token, feature].cpu().numpy(),
        norms=norms,
        squared_errors=errors.cpu().numpy(),
        band_sums=_band_sums(residual.double().cpu().numpy(), norm_bands(norms)),
    )


def stack(tokens: TokenizedTexts, batch: list[Window], subject: Subject) -> Int[Tensor, "window position"]:
    """The token ids of windows of equal length, BOS first where the model expects one, filled up to MIN_TOKENS."""
    ids = np.stack([tokens.ids[window.start : window.stop] for window in batch]).astype(np.int64)
    if subject.info.bos_token_id is not None:
        ids = np.pad(ids, ((0, 0), (1, 0)), constant_values=subject.info.bos_token_id)
    missing = max(0, -(-MIN_TOKENS // ids.shape[1]) - len(ids))
    return torch.from_numpy(np.pad(ids, ((0, missing), (0, 0)), mode="wrap")).to(subject.device)


def _band_sums(residual: np.ndarray, bands: np.ndarray) -> dict[int, np.ndarray]:
    return {int(band): residual[bands == band].sum(0) for band in np.unique(bands)}
