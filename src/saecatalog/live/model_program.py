"""The program of a catalog's live part: a loaded model and SAE flow in, a `Program` flows out."""

from typing import Any

import torch
from transformer_lens import HookedTransformer
from transformer_lens.model_bridge import TransformerBridge

from saecatalog.live import hooked_network, transformers_network
from saecatalog.live.checks import validate
from saecatalog.live.network import Matrix, Network
from saecatalog.live.program import NoProgram, Program
from saecatalog.live.sae_program import write_encoder
from saecatalog.live.writer import Writer, write_network
from saecatalog.models.hooked_model import HookedModel
from saecatalog.models.language_model import layer_of
from saecatalog.models.plain_model import PlainModel, is_module_path
from saecatalog.subject import Subject


@torch.no_grad()
def compile_program(subject: Subject) -> Program:
    """The program that computes what a subject computes, in float32; raises NoProgram if there is none."""
    layer, point = _hook(subject)
    head = subject.sae.cfg.metadata.hook_head_index
    if point == "hook_attn_in" and head is not None:
        # Every head reads the residual stream.
        point, head = "hook_resid_pre", None
    out = Writer()
    try:
        read = write_network(out, _network(subject.model, subject.info.context), layer, point)
    except AttributeError as error:
        # Another version of the library may name a part otherwise.
        raise NoProgram(f"the model is not put together as the live part expects: {error}") from error
    if head is not None:
        read = _one_head(out, read, head, point)
    if out.buffers[read] != subject.sae.cfg.d_in:
        raise NoProgram(f"the live part reads other values than the SAE at '{point}'")
    write_encoder(out, subject.sae, read)
    program = out.program(read)
    validate(program)
    return program


def _hook(subject: Subject) -> tuple[int | None, str]:
    """The layer and the name within it of the hook that the SAE reads."""
    hook = subject.info.hook
    if is_module_path(hook):
        place = subject.model.place(hook) if isinstance(subject.model, PlainModel) else None
        if place is None:
            raise NoProgram(f"the live part does not reach the SAE's hook '{hook}'")
        return transformers_network.point_of(subject.model.module, place.module, place.side)
    if hook == "hook_embed":
        return None, hook
    if not hook.startswith("blocks."):
        raise NoProgram(f"the live part does not reach the SAE's hook '{hook}'")
    return layer_of(hook), hook.split(".", 2)[2]


def _network(model: Any, context: int) -> Network:
    """The model as a network, from the library that runs it."""
    if isinstance(model, PlainModel):
        return transformers_network.read_network(model.module, context)
    assert isinstance(model, HookedModel)
    if isinstance(model.module, HookedTransformer):
        return hooked_network.read_network(model.module, context)
    if not isinstance(model.module, TransformerBridge):
        raise NoProgram(f"models of the class '{type(model.module).__name__}' have no live part")
    return transformers_network.read_network(model.module.original_model, context)


def _one_head(out: Writer, source: str, head: int, point: str) -> str:
    """The values of one attention head, picked by a matrix of zeros and ones."""
    if point != "attn.hook_z":
        raise NoProgram(f"the live part does not reach one head of '{point}'")
    heads = next(step["heads"] for step in reversed(out.steps) if step["op"] == "attention")
    if not 0 <= head < heads:
        raise NoProgram(f"the model does not have attention head {head}")
    rows = torch.eye(out.buffers[source]).chunk(heads)[head]
    return out.linear("head", Matrix(rows), source, "head")
