"""The harvest: a subject and token windows flow in, a store flows out, in one streaming pass over all features.

Batches run in a few threads that share the weights. Every window is computed the same way whatever stands beside it,
so batch size, padding and threads do not change the result.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from saecatalog.errors import CatalogError
from saecatalog.store import Piece, norm_bands, write_store
from saecatalog.subject import Subject
from saecatalog.windows import TokenizedTexts, Window, make_batches, make_windows

MAX_WORKERS = 4
"""Python's own work between matrix products limits how many threads pay."""

ROWS = 16
"""The SAE is given a multiple of this many rows: very thin matrix products take other code paths, with other sums."""


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
    """Run one padded batch of windows and keep what fired on its real tokens."""
    padded, real = pad(tokens, batch, subject)
    residual = subject.residual(padded)[real]
    n_tokens = len(residual)
    # Padding the rows repeats the first one, so that no special value enters the matrix products.
    rows = torch.cat([residual, residual[:1].expand(-n_tokens % ROWS, -1)])
    encoded = subject.encode(rows)
    errors = (rows.to(encoded.dtype) - subject.decode(encoded))[:n_tokens].float().square().sum(-1)
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


def pad(
    tokens: TokenizedTexts, batch: list[Window], subject: Subject
) -> tuple[Int[Tensor, "window position"], Bool[Tensor, "window position"]]:
    """Token ids padded on the right, BOS first where the model expects one, and where the real tokens are.

    Any id serves as padding: nothing looks at it.
    """
    info = subject.info
    first = int(info.prepend_bos)
    width = first + max(len(window) for window in batch)
    ids = np.zeros((len(batch), width), np.int64)
    real = np.zeros((len(batch), width), bool)
    if info.bos_token_id is not None:
        ids[:, 0] = info.bos_token_id
    for row, window in enumerate(batch):
        ids[row, first : first + len(window)] = tokens.ids[window.start : window.stop]
        real[row, first : first + len(window)] = True
    return torch.from_numpy(ids).to(subject.device), torch.from_numpy(real).to(subject.device)


def _band_sums(residual: np.ndarray, bands: np.ndarray) -> dict[int, np.ndarray]:
    return {int(band): residual[bands == band].sum(0) for band in np.unique(bands)}
