"""Steering: features and prompts flow in, what the model writes when a feature's direction is added flows out.

A multiple of a feature's largest activation, times its decoder row, is added at the hook at every position, that of BOS
and those of the continuation included. The price is how much worse the model then predicts a neutral text. Batches
always have the same number of rows, so that a feature's results do not depend on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from saecatalog.constants import CONTINUATION, NEXT_TOKENS
from saecatalog.effects import neutral
from saecatalog.errors import CatalogError
from saecatalog.lens import strongest
from saecatalog.models.language_model import NoSuchHook
from saecatalog.schemas import SCHEMAS
from saecatalog.subject import Subject
from saecatalog.tables import Columns
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import tokenize
from saecatalog.threads import n_passes, passes_in_order

ROWS = 192
"""Rows of a batch of continuations, one token each in most passes: fewer would wait for memory most of the time."""

PRICE_ROWS = 8
"""Rows of a batch of the neutral text, each with logits for all of its tokens."""

Result = TypeVar("Result")


class NoSteering(Exception):
    """Why a model cannot be steered, in one sentence."""


@dataclass(frozen=True)
class Steered:
    """A feature's direction at one strength."""

    feature: int
    multiple: float
    strength: float
    """What the decoder row is multiplied by: the multiple of the feature's largest activation."""


UNSTEERED = Steered(0, 0.0, 0.0)


@dataclass(frozen=True)
class Written:
    """What the model writes after a prompt."""

    next_ids: list[int]
    next_probs: list[float]
    continuation: list[int]


class Steering:
    """Prompts for one subject, and the strengths to steer at."""

    def __init__(self, subject: Subject, vocabulary: Sequence[str], prompts: Sequence[str], multiples: Sequence[float]):
        """`vocabulary` is each token id as readable text. Raises CatalogError for a prompt that is too long or empty.

        The subject's SAE must write to the residual stream.
        """
        self.subject, self.vocabulary, self.multiples = subject, vocabulary, tuple(multiples)
        self.prompts, self.neutral = tuple(prompts), _ids(subject, neutral.TEXT)[: subject.model.n_ctx]
        self._prompt_ids = prompt_ids(subject, prompts)

    def unsteered(self) -> Columns:
        """The table `steering_prompts`: what the model writes after each prompt by itself."""
        found = self._in_threads(
            lambda own, job: self._continued(own, *job), [(ids, [UNSTEERED], 1) for ids in self._prompt_ids]
        )
        rows = [
            {"prompt": prompt, "text": self.prompts[prompt], **self._cells(prompt, written)}
            for prompt, (written,) in enumerate(found)
        ]
        return pd.DataFrame(rows, columns=list(SCHEMAS["steering_prompts"]))

    def steered(
        self, features: Sequence[int], maxima: Sequence[float], tick: Callable[[int], object] = lambda _: None
    ) -> dict[str, Columns]:
        """The rows of the tables `steering` and `steering_prices` for some features.

        `maxima` are their largest activations. `tick` is called with the number of rows computed, of
        `n_rows` for each feature.
        """
        kinds = [
            Steered(f, m, m * largest) for f, largest in zip(features, maxima, strict=True) for m in self.multiples
        ]
        work = [(ids, part, ROWS) for ids in self._prompt_ids for part in _parts(kinds, ROWS)]
        found = self._in_threads(lambda own, job: self._continued(own, *job), work, tick)
        written = [row for batch in found for row in batch]
        read = self._neutral_read()
        priced = _parts([UNSTEERED, *kinds], PRICE_ROWS)
        losses = self._in_threads(lambda own, part: self._losses(own, read, part), priced, tick)
        unsteered, *steered = [loss for batch in losses for loss in batch]
        return {"steering": self._rows(kinds, written), "steering_prices": self._prices(kinds, unsteered, steered)}

    @torch.inference_mode()
    def check(self) -> None:
        """Raise NoSteering unless a pass in two parts, the way continuations are made, ends as a whole one does."""
        subject = self.subject
        model, tokens = subject.model, torch.tensor([self.neutral], device=subject.device)
        if not model.adds_to_residual(subject.info.hook_out):
            raise NoSteering("The SAE does not write to the residual stream.")
        try:
            model.start_layer(subject.info.hook_out)
            with model.changing(subject.info.hook_out, _adding(subject, [Steered(0, 1.0, 1.0)], 1)):
                whole = model.logits(tokens)[:, -1].float()
                memory = model.next_logits(tokens[:, :-1])[1]
                parts = model.next_logits(tokens[:, -1:], memory)[0].float()
        except NoSuchHook as error:
            raise NoSteering(str(error)) from error
        slack = max(1e-3, 8 * torch.finfo(getattr(torch, subject.info.dtype)).eps)
        if (whole - parts).abs().max() > slack * whole.abs().max():
            raise NoSteering("The model does not go on from what it remembers of a text as it does in one pass.")

    @property
    def n_rows(self) -> int:
        """Rows of both tables for one feature."""
        return len(self.multiples) * (len(self.prompts) + 1)

    def _in_threads(
        self,
        work: Callable[[Subject, Any], list[Result]],
        jobs: list[Any],
        tick: Callable[[int], object] = lambda _: None,
    ) -> list[list[Result]]:
        """The results of some jobs in their order, each run on a subject of its own."""
        passes = n_passes(self.subject.device, max(1, len(jobs)))
        free: SimpleQueue[Subject] = SimpleQueue()
        for own in (self.subject, *(self.subject.replica() for _ in range(passes - 1))):
            free.put(own)

        def run(job: Any) -> list[Result]:
            own = free.get()
            try:
                found = work(own, job)
            finally:
                free.put(own)
            tick(len(found))
            return found

        return list(passes_in_order(run, jobs, passes))

    @torch.inference_mode()
    def _continued(self, subject: Subject, ids: list[int], kinds: Sequence[Steered], rows: int) -> list[Written]:
        """The next tokens and the greedy continuation of a prompt, at up to `rows` strengths."""
        tokens = torch.tensor([ids] * rows, device=subject.device)
        chosen: list[Tensor] = []
        memory, ended = None, torch.zeros(rows, dtype=torch.bool, device=subject.device)
        with subject.model.changing(subject.info.hook_out, _adding(subject, kinds, rows)):
            while len(chosen) < CONTINUATION and not ended.all():
                logits, memory = subject.model.next_logits(tokens, memory)
                if not chosen:
                    next_ids, top = strongest(logits.float(), NEXT_TOKENS)
                    probs = (top - logits.float().logsumexp(-1, keepdim=True)).exp()
                tokens = strongest(logits, 1)[0]
                chosen.append(tokens[:, 0])
                ended |= tokens[:, 0] == subject.tokenizer.eos_token_id
        written = torch.stack(chosen, 1).tolist()[: len(kinds)]
        return [
            Written(n, p, _until(row, subject.tokenizer.eos_token_id))
            for n, p, row in zip(next_ids.tolist(), probs.tolist(), written, strict=False)
        ]

    @torch.inference_mode()
    def _neutral_read(self) -> Float[Tensor, "1 position d_model"]:
        """What the layer with the hook reads of the neutral text, whatever the steering."""
        model, tokens = self.subject.model, torch.tensor([self.neutral], device=self.subject.device)
        return model.entering(model.start_layer(self.subject.info.hook_out), tokens)

    @torch.inference_mode()
    def _losses(self, subject: Subject, read: Tensor, kinds: Sequence[Steered]) -> list[float]:
        """The mean loss on the neutral text, in nats, at up to PRICE_ROWS strengths; `read` is of `_neutral_read`."""
        model, hook = subject.model, subject.info.hook_out
        tokens = torch.tensor([self.neutral], device=subject.device)
        layer = model.start_layer(hook)
        many = (tokens.expand(PRICE_ROWS, -1), read.expand(PRICE_ROWS, -1, -1))
        with model.changing(hook, _adding(subject, kinds, PRICE_ROWS)):
            logits = model.logits_from(layer, *many, None)
        # Row by row, because the logarithms of all probabilities take as much memory as the logits.
        losses = [cross_entropy(row[:-1].float(), tokens[0, 1:]) for row in logits[: len(kinds)]]
        return [float(loss) for loss in losses]

    def _rows(self, kinds: list[Steered], written: list[Written]) -> Columns:
        """The table `steering`: rows come prompt by prompt and are put into the order of the features."""
        rows = [
            {
                "feature": kind.feature, "multiple": kind.multiple, "prompt": prompt,
                **self._cells(prompt, written[prompt * len(kinds) + i]),
            }
            for i, kind in enumerate(kinds) for prompt in range(len(self.prompts))
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(SCHEMAS["steering"]))

    def _prices(self, kinds: list[Steered], unsteered: float, losses: list[float]) -> Columns:
        return pd.DataFrame(
            {
                "feature": [kind.feature for kind in kinds],
                "multiple": [kind.multiple for kind in kinds],
                "loss": losses,
                "loss_unsteered": unsteered,
                "n_tokens": len(self.neutral) - 1,
            },
            columns=list(SCHEMAS["steering_prices"]),
        )

    def _cells(self, prompt: int, written: Written) -> dict[str, object]:
        return {
            "next_tokens": [self.vocabulary[i] for i in written.next_ids],
            "next_probs": written.next_probs,
            "continuation": _text(self.subject, self.vocabulary, self._prompt_ids[prompt], written.continuation),
        }


def _parts(kinds: list[Steered], size: int) -> list[list[Steered]]:
    return [kinds[start : start + size] for start in range(0, len(kinds), size)]


def _ids(subject: Subject, content: str) -> list[int]:
    """The token ids of a text as the model reads it, after BOS if it expects one."""
    ids: list[int] = tokenize([Text("", "", content, content)], subject.tokenizer).ids.tolist()
    return ids if subject.info.bos_token_id is None else [subject.info.bos_token_id, *ids]


def prompt_ids(subject: Subject, prompts: Sequence[str]) -> list[list[int]]:
    """The token ids of prompts, BOS included. Raises CatalogError for one that leaves no room for a continuation."""
    found = [_ids(subject, prompt) for prompt in prompts]
    most = subject.model.n_ctx - CONTINUATION
    for prompt, ids in zip(prompts, found, strict=True):
        if len(ids) > most:
            what = f"A prompt has {len(ids):,} tokens, but the model takes {most:,} with a continuation."
            raise CatalogError(what, f"effects.prompts {prompt[:40]!r}", "Use a shorter prompt.")
    return found


def _adding(subject: Subject, kinds: Sequence[Steered], rows: int) -> Callable[[Tensor], Tensor]:
    """The change at the hook: each row's direction in the scale of the SAE's output; further rows repeat the last."""
    sae = subject.sae
    padded = [*kinds, *[kinds[-1]] * (rows - len(kinds))]
    features = torch.tensor([kind.feature for kind in padded], device=sae.W_dec.device)
    directions = sae.W_dec.detach()[features].float()
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        # Activations already contain the norm of their decoder row.
        norms = directions.norm(dim=-1, keepdim=True)
        directions = directions / torch.where(norms > 0, norms, 1)
    strengths = torch.tensor([kind.strength for kind in padded], device=directions.device)
    added = (directions * strengths[:, None])[:, None]

    def change(value: Float[Tensor, "row position d_out"]) -> Float[Tensor, "row position d_out"]:
        changed: Tensor = value.float() + added * output_scale(subject, value.float())
        return changed.to(value.dtype)

    return change


def output_scale(subject: Subject, value: Float[Tensor, "*row d_out"]) -> Float[Tensor, "*row 1"]:
    """What an SAE multiplies its output by to undo the normalisation of its input, for the values at its hook."""
    normalised = subject.sae.cfg.normalize_activations
    if subject.info.hook_out != subject.info.hook or normalised == "none":
        # A transcoder writes elsewhere than it reads, so that nothing is undone.
        return value.new_ones(())
    if normalised == "layer_norm":
        return value.std(-1, keepdim=True)
    return value.square().mean(-1, keepdim=True).sqrt()


def _until(ids: list[int], end: int | None) -> list[int]:
    """The ids up to the first that ends a text, which is kept."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def _text(subject: Subject, vocabulary: Sequence[str], before: list[int], ids: list[int]) -> str:
    """What a continuation adds to the text of its prompt; bytes without their character as `<0xE2>`."""

    def decoded(tokens: list[int]) -> str:
        return str(subject.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    start, whole = decoded(before), decoded(before + ids)
    if whole.startswith(start) and "\ufffd" not in whole[len(start) :]:
        return whole[len(start) :]
    return "".join(vocabulary[i] for i in ids)
