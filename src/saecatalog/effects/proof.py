"""Whether effects can be measured with a subject: a subject flows in, or the reason why not is raised."""

import torch

from saecatalog.effects.ablation import subtracted
from saecatalog.models.language_model import PROOF_TOKENS, NoSuchHook
from saecatalog.models.resuming import Past
from saecatalog.subject import Subject

AGREES = 1e-2
"""Largest difference between the logits of a whole pass and of one that begins at the hook, as a share of their spread.

Rounding in bfloat16 makes differences of this size; a wrong position or a lost token makes larger ones."""


@torch.inference_mode()
def check_resuming(subject: Subject) -> None:
    """Raise NoSuchHook if no layer is after the hook, or if passes that begin at the hook differ from whole ones.

    Also if the device has no double precision, in which effects are summed.
    """
    if subject.device.type == "mps":
        raise NoSuchHook("Effects need double precision, which the device mps does not have. Use --device cpu.")
    model, hook = subject.model, subject.info.hook_out
    ids = (torch.arange(PROOF_TOKENS, device=subject.device) + 1)[None] % model.d_vocab
    layer = model.start_layer(hook)
    delta = torch.randn((1, PROOF_TOKENS, subject.info.d_out), generator=torch.Generator().manual_seed(0))
    delta = delta.to(subject.device)
    residual = model.entering(layer, ids)
    past, _ = model.remember(layer, ids, residual)
    at = torch.zeros(1, dtype=torch.long, device=subject.device)
    with model.changing(hook, lambda value: subtracted(subject, value, delta)):
        changed = model.entering(model.n_layers, ids)
    moved = model.entering(model.n_layers, ids) - changed
    if moved.shape == delta.shape and (moved - delta).norm() < AGREES * delta.norm():
        raise NoSuchHook(f"No layer is after the hook '{hook}', so what a feature does is its direct logit effect.")
    early = Past([(keys[:, :, :-1], values[:, :, :-1]) for keys, values in past.layers])
    late = torch.zeros_like(delta)
    late[:, -1:] = delta[:, -1:]
    with model.changing(hook, lambda value: subtracted(subject, value, late)):
        whole = model.logits(ids)[:, -1].float()
    with model.changing(hook, lambda value: subtracted(subject, value, delta[:, -1:])):
        resumed = model.logits_from(layer, ids[:, -1:], residual[:, -1:], at, early).float()
    if not (whole - resumed).abs().max() <= AGREES * whole.std():
        raise NoSuchHook(f"A pass of this model that begins at '{hook}' differs from a whole one.")
