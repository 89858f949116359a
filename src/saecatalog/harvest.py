"""The harvest: a subject and token windows flow in, a store flows out, in one streaming pass over all features.

Batches run in a few threads that share the weights. The windows of a batch have equal lengths, so there is no padding,
and a window's result does not depend on the other windows of its batch: batch size, order and threads do not change
the result.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64
from torch import Tensor

from saecatalog.engines import Engine
from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.progress import Bar
from saecatalog.shards import SHARD_TOKENS, Folder, Keys, Place, Shard, Shards, join
from saecatalog.store import TEXTS, Piece, sum_bands, write_store
from saecatalog.subject import Subject, model_error
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import (
    TokenizedTexts,
    Window,
    limit_texts,
    make_batches,
    make_windows,
    plain_names,
    tokenize,
)
from saecatalog.threads import n_passes, passes_in_order

ENCODED_VALUES = 2**23
"""Values `[row, d_sae]` that the encoder computes at a time: 32 MB in single precision, nearly all of them 0."""

MIN_TOKENS = 32
"""A smaller batch is padded with copies of its windows: libraries use different code for very thin matrix products,
which adds in another order and so rounds differently."""

BATCH_TOKENS = {"cpu": 1024}
"""Tokens run at once if the user sets no number, for each kind of device."""

BATCH_TOKENS_ELSEWHERE = 2**16
"""The same for any other device. `Runner` halves it until the batch fits into the device's memory."""


def harvest(
    subject: Subject,
    tokens: TokenizedTexts,
    batch_tokens: int | None,
    folder: Path,
    tick: Callable[[int], object],
    shards: Path | None = None,
) -> None:
    """Run texts through model and SAE and write their store into the empty `folder`.

    `batch_tokens` is the largest number of tokens run at once; None chooses one for the device. `tick` is called with
    the number of tokens processed. `shards` is a folder where finished work is saved: only windows that are
    missing there are run. Raises CatalogError if activations are not finite or if a single window does not fit into
    memory.
    """
    if shards is None:
        with tempfile.TemporaryDirectory() as temporary:
            harvest(subject, tokens, batch_tokens, folder, tick, Path(temporary))
        return
    work = Work(subject, tokens, Folder(shards))
    work.run(batch_tokens, tick)
    work.write(folder)


class Workers(Protocol):
    """Runs the model elsewhere."""

    def run(self, place: Place, tokens: TokenizedTexts, batches: list[list[Window]]) -> Iterator[Shard]:
        """Run batches of windows; the shards are in any order, and each window is in one of them."""
        ...

    def survey(self, place: Place, names: list[str]) -> Iterator[Keys | None]:
        """The keys of the windows in each shard, or None for a damaged one."""
        ...

    @property
    def writer(self) -> Engine:
        """Who writes the store."""
        ...


class Work:
    """A harvest of some texts, and what of it is already done: shards in a place."""

    def __init__(self, subject: Subject, tokens: TokenizedTexts, place: Place, workers: Workers | None = None):
        info = subject.info
        _check_ids(tokens, info.d_vocab)
        self.subject, self.tokens, self.workers = subject, tokens, workers
        self.windows = make_windows(tokens, info.context, info.prepend_bos, info.overlap)
        self.shards = Shards(place, (window.key for window in self.windows), workers.survey if workers else None)

    @property
    def n_missing(self) -> int:
        """The number of tokens that are still to run."""
        return sum(len(window) for window in self.windows if window.key in self.shards.missing)

    def run(self, batch_tokens: int | None, tick: Callable[[int], object]) -> None:
        """Run the windows that are missing, here or elsewhere."""
        info, device = self.subject.info, self.subject.device.type
        missing = [window for window in self.windows if window.key in self.shards.missing]
        most = batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS_ELSEWHERE)
        batches = make_batches(missing, most, int(info.prepend_bos))
        if self.workers is None:
            runners = Runners(self.subject, self.tokens, len(batches))
            for pieces in _in_shards(runners.run(batches, tick)):
                self.shards.add(Shard.of(pieces))
            return
        for shard in self.workers.run(self.shards.place, self.tokens, batches):
            self.shards.add(shard)
            tick(shard.n_tokens)

    def write(self, folder: Path) -> None:
        """Write the store into an empty folder."""
        engine = self.workers.writer if self.workers else None
        write_store(folder, self.shards.files(), self.windows, self.tokens, self.subject.info.d_sae, engine)
        if isinstance(self.shards.place, Folder):
            self.shards.place.tidy()


def _check_ids(tokens: TokenizedTexts, d_vocab: int) -> None:
    """Raise CatalogError if a text contains a token that the model has no embedding for."""
    if len(tokens.ids) and int(tokens.ids.max()) >= d_vocab:
        token = int(tokens.ids.argmax())
        text = int(np.searchsorted(tokens.offsets, token, side="right")) - 1
        what = f"This text contains the token {tokens.ids[token]}, but the model has embeddings for {d_vocab} ids only."
        raise CatalogError(what, tokens.sources[text], "Use the tokenizer that the model was trained with.")


def harvest_texts(
    subject: Subject,
    texts: list[Text],
    limit: int | None,
    batch_tokens: int | None,
    folder: Path,
    place: Place,
    progress: Callable[[int], AbstractContextManager[Bar]],
    workers: Workers | None = None,
) -> None:
    """Harvest texts, taken from all categories in turn up to `limit` tokens, into the empty `folder`.

    The ids of the texts kept are written to `TEXTS` there, and in how many of them names of special tokens are plain
    characters. `progress` opens a bar for the tokens still to run.
    """
    if limit is not None:
        texts = limit_texts(texts, subject.tokenizer, limit)
    work = Work(subject, tokenize(texts, subject.tokenizer), place, workers)
    with progress(work.n_missing) as bar:
        work.run(batch_tokens, bar.update)
    work.write(folder)
    plain = plain_names(texts, subject.tokenizer)
    write_json(folder / TEXTS, {"ids": [text.id for text in texts], "plain_names": asdict(plain)})


def _in_shards(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces in groups of at least SHARD_TOKENS tokens, except for the last group."""
    gathered: list[Piece] = []
    for piece in pieces:
        gathered.append(piece)
        if sum(len(p.counts) for p in gathered) >= SHARD_TOKENS:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


class Runners:
    """Threads that run batches. Models keep state during a pass, so each has a replica; the weights are shared."""

    def __init__(self, subject: Subject, tokens: TokenizedTexts, n_batches: int):
        self.passes = n_passes(subject.device, n_batches)
        self._free: SimpleQueue[Runner] = SimpleQueue()
        for own in (subject, *(subject.replica() for _ in range(self.passes - 1))):
            self._free.put(Runner(own, tokens))

    def run(self, batches: list[list[Window]], tick: Callable[[int], object]) -> Iterator[Piece]:
        """Run batches and yield their pieces in order; only a few are in memory at any time."""

        def run(batch: list[Window]) -> Piece:
            runner = self._free.get()
            try:
                piece = runner.run(batch)
            finally:
                self._free.put(runner)
            tick(len(piece.counts))
            return piece

        return passes_in_order(run, batches, self.passes)


class Runner:
    """Runs batches on a subject. A batch that does not fit into memory is halved, and so are later ones as large."""

    def __init__(self, subject: Subject, tokens: TokenizedTexts):
        self.subject, self.tokens = subject, tokens
        self.most: int | None = None
        """The most tokens to try at once, after a larger batch did not fit."""

    def run(self, batch: list[Window]) -> Piece:
        """Run a batch of windows of equal length, in parts if need be."""
        at_once = max(1, self.most // batch[0].run) if self.most else len(batch)
        pieces = [self._try(batch[start : start + at_once]) for start in range(0, len(batch), at_once)]
        return join(pieces) if len(pieces) > 1 else pieces[0]

    def _try(self, batch: list[Window]) -> Piece:
        try:
            return run_batch(self.subject, self.tokens, batch)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        if len(batch) == 1:
            fix = "Use --device cpu, a smaller --context, or --dtype bfloat16."
            raise CatalogError(
                "A single window does not fit into the device's memory.", f"--device {self.subject.device}", fix
            )
        if self.subject.device.type == "cuda":
            torch.cuda.empty_cache()
        self.most = len(batch) // 2 * batch[0].run
        return self.run(batch)


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory; only CUDA raises a specific exception."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


@torch.inference_mode()
def run_batch(subject: Subject, tokens: TokenizedTexts, batch: list[Window]) -> Piece:
    """Run one batch of windows of equal length and keep the active features of their tokens."""
    n_tokens = sum(len(window) for window in batch)
    read, target = _rows(subject, stack(tokens, batch, subject), batch[0].lead)
    for hook, values in ((subject.info.hook, read), (subject.info.hook_out, target)):
        if not values.isfinite().all():
            token, where = _first_bad(subject, tokens, batch, values.isfinite().all(-1).cpu().numpy())
            raise model_error(subject, f"The model's output at '{hook}' is not finite at {token}.", where)
    n_parts = _n_parts(len(read), subject.info.d_sae)
    parts = [
        _encode(subject, *rows) for rows in zip(read.tensor_split(n_parts), target.tensor_split(n_parts), strict=True)
    ]
    counts, features, activations, errors = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if not (np.isfinite(activations).all() and np.isfinite(errors).all()):
        finite = np.isfinite(errors)
        finite[np.repeat(np.arange(len(counts)), counts)[~np.isfinite(activations)]] = False
        token, where = _first_bad(subject, tokens, batch, finite)
        what = f"The SAE's activations or reconstruction are not finite at {token}, though what it reads is."
        fix = f"What it computes is too large for {subject.sae.dtype}, or it normalises values that are all 0."
        if subject.sae.dtype != torch.float32:
            fix += " Set the dtype to float32 in the cfg.json of a copy of the SAE."
        raise CatalogError(what, where, fix)
    # Rows beyond `n_tokens` are copies that padded the batch; their entries come last.
    counts = counts[:n_tokens]
    norms = read[:n_tokens].float().norm(dim=-1).cpu().numpy()
    target = target[:n_tokens].float()
    bands, band_sums = sum_bands(norms, target.cpu().numpy())
    return Piece(
        keys=np.stack([np.frombuffer(window.key, np.uint8) for window in batch]),
        lengths=np.array([len(window) for window in batch], np.int64),
        counts=counts,
        features=features[: counts.sum()],
        activations=activations[: counts.sum()],
        norms=norms,
        target_norms=target.norm(dim=-1).cpu().numpy(),
        squared_errors=errors[:n_tokens],
        bands=bands,
        band_sums=band_sums,
    )


def _rows(
    subject: Subject, ids: Int[Tensor, "window position"], lead: int
) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_out"]]:
    """What the SAE reads and what it is to write at every token that is counted, window after window."""
    read, target = subject.values(ids)
    start = int(subject.info.prepend_bos) + lead
    return read[:, start:].flatten(0, 1), target[:, start:].flatten(0, 1)


def _first_bad(
    subject: Subject, tokens: TokenizedTexts, batch: list[Window], finite: Bool[np.ndarray, "row"]
) -> tuple[str, str]:
    """The first token of a batch whose row is not finite, in words, and where its text was read."""
    # Rows are tokens, window after window; those that pad the batch are copies of earlier ones.
    window, place = divmod(int(finite.argmin()), len(batch[0]))
    token = batch[window].start + place
    text = int(np.searchsorted(tokens.offsets, token, side="right")) - 1
    piece = subject.tokenizer.decode([int(tokens.ids[token])])
    return f"token {token - int(tokens.offsets[text])} of this text ({piece!r})", tokens.sources[text]


def _n_parts(rows: int, d_sae: int) -> int:
    """Number of parts into which the rows are split for the encoder, to keep its dense output small."""
    return min(-(-rows * d_sae // ENCODED_VALUES), max(1, rows // MIN_TOKENS))


def _encode(
    subject: Subject, rows: Float[Tensor, "row d_in"], target: Float[Tensor, "row d_out"]
) -> tuple[
    Int64[np.ndarray, "row"], Int32[np.ndarray, "active"], Float32[np.ndarray, "active"], Float32[np.ndarray, "row"]
]:
    """Active entries of each row, their features and activations, and the squared error of its target's reconstruction.

    The decoder multiplies sparse activations: a dense product would cost as much as encoding, mostly for zeros.
    """
    sparse = subject.encode(rows).to_sparse()
    errors = (target.to(sparse.dtype) - subject.decode(sparse, rows)).float().square().sum(-1)
    row, feature = sparse.indices()
    return (
        torch.bincount(row, minlength=len(rows)).cpu().numpy(),
        feature.to(torch.int32).cpu().numpy(),
        sparse.values().float().cpu().numpy(),
        errors.cpu().numpy(),
    )


def stack(tokens: TokenizedTexts, batch: list[Window], subject: Subject) -> Int[Tensor, "window position"]:
    """The token ids of windows of equal length, BOS first if the model expects one, padded to MIN_TOKENS."""
    ids = np.stack([tokens.ids[window.start - window.lead : window.stop] for window in batch]).astype(np.int64)
    if subject.info.bos_token_id is not None:
        ids = np.pad(ids, ((0, 0), (1, 0)), constant_values=subject.info.bos_token_id)
    # Whole windows are repeated until there are MIN_TOKENS positions.
    missing = max(0, -(-MIN_TOKENS // ids.shape[1]) - len(ids))
    return torch.from_numpy(np.pad(ids, ((0, missing), (0, 0)), mode="wrap")).to(subject.device)
