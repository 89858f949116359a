"""Models of HookedTransformer: one flows in, a `Network` with its processed weights flows out.

Every family has the same modules there; its settings say what they compute.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformer_lens.components import LayerNorm, LayerNormPre, RMSNorm, RMSNormPre
from transformer_lens.components.mlps.gated_mlp import GatedMLP
from transformer_lens.components.mlps.mlp import MLP
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from saecatalog.live.network import Attention, Layer, Matrix, Mlp, Network, Norm, Rotation, act_kind
from saecatalog.live.program import NoProgram

NORMS = {RMSNorm: "rms", RMSNormPre: "rms", LayerNorm: "layer", LayerNormPre: "layer"}

POSITIONS = ("standard", "rotary")

OTHERWISE: dict[str, Callable[[Any], bool]] = {
    "positions of the kind '{positional_embedding_type}'": lambda c: c.positional_embedding_type not in POSITIONS,
    "a norm of the embedding": lambda c: c.post_embedding_ln,
    "attention sinks": lambda c: c.use_attention_sinks,
    "attention that looks forward": lambda c: c.attention_dir != "causal",
    "a limit of queries, keys and values": lambda c: c.clip_qkv is not None,
    "attention that depends on how long the text is": lambda c: c.use_logn_attn or c.use_dynamic_ntk_rope,
    "experts": lambda c: bool(c.num_experts),
    "norms after attention and MLP only": lambda c: c.original_architecture in POST_NORM_ARCHITECTURES,
    "norms of all queries at once": lambda c: c.original_architecture == "OlmoeForCausalLM",
    "weights of 4 bits": lambda c: c.load_in_4bit,
    "a norm as activation function": lambda c: c.is_layer_norm_activation(),
}
"""What a model may have that is not compiled, and how its settings show it."""


def read_network(module: Any, context: int) -> Network:
    """A model as a network for windows of `context` tokens; raises NoProgram."""
    config = module.cfg
    for what, has in OTHERWISE.items():
        if has(config):
            raise NoProgram("the model has " + what.format_map(vars(config)))
    standard = config.positional_embedding_type == "standard"
    positions = module.pos_embed.W_pos[:context] if standard else None
    return Network(module.embed.W_E, 1.0, positions, partial(_layer, module, context))


def _layer(module: Any, context: int, number: int) -> Layer:
    block, config = module.blocks[number], module.cfg
    mlp = None if config.attn_only else _mlp(block)
    return Layer(_attention(block, config, context), mlp, bool(config.parallel_attn_mlp))


def _attention(block: Any, config: Any, context: int) -> Attention:
    part = block.attn
    grouped = config.n_key_value_heads is not None
    k, v = ("_W_K", "_b_K"), ("_W_V", "_b_V")
    if not grouped:
        k, v = ("W_K", "b_K"), ("W_V", "b_V")
    return Attention(
        norm=_norm(block.ln1),
        q=_heads(part.W_Q, part.b_Q),
        k=_heads(*(getattr(part, name) for name in k)),
        v=_heads(*(getattr(part, name) for name in v)),
        output=Matrix(part.W_O.flatten(0, 1).T, _bias(part.b_O)),
        heads=int(config.n_heads),
        kv_heads=int(config.n_key_value_heads if grouped else config.n_heads),
        scale=1 / float(part.attn_scale),
        cap=max(0.0, float(config.attn_scores_soft_cap or 0)),
        window=int(config.window_size) if part.attn_type == "local" else 0,
        rotation=_rotation(part, config, context),
        q_norm=None if part.q_norm is None else _norm(part.q_norm),
        k_norm=None if part.k_norm is None else _norm(part.k_norm),
        norm_after=_norm(block.ln1_post) if config.use_normalization_before_and_after else None,
    )


def _heads(weight: Tensor, bias: Tensor) -> Matrix:
    """A matrix whose heads lie apart, as `[out, in]`."""
    return Matrix(weight.transpose(1, 2).flatten(0, 1), _bias(bias.flatten()))


def _bias(bias: Tensor) -> Tensor | None:
    """None if a bias is 0: HookedTransformer has one everywhere."""
    return bias if bool(bias.any()) else None


def _rotation(part: Any, config: Any, context: int) -> Rotation | None:
    if config.positional_embedding_type != "rotary":
        return None
    sin, cos = part.rotary_sin, part.rotary_cos
    if len(cos) < context:
        base = part._rotary_base()
        sin, cos = part.calculate_sin_cos_rotary(config.rotary_dim, context, base=base, dtype=config.dtype)
    half = cos.shape[1] // 2
    chosen = slice(0, None, 2) if config.rotary_adjacent_pairs else slice(0, half)
    pairs = "neighbours" if config.rotary_adjacent_pairs else "halves"
    return Rotation(f"rotation.{part.attn_type}", cos[:context, chosen], sin[:context, chosen], pairs)


def _mlp(block: Any) -> Mlp:
    part = block.mlp
    gated = isinstance(part, GatedMLP)
    if type(part) not in (MLP, GatedMLP):
        raise NoProgram(f"the model has an MLP of another kind, {type(part).__name__}")
    return Mlp(
        norm=_norm(block.ln2),
        gate=Matrix(part.W_gate.T) if gated else None,
        up=Matrix(part.W_in.T, None if gated else _bias(part.b_in)),
        down=Matrix(part.W_out.T, _bias(part.b_out)),
        act=act_kind(part.act_fn),
        shift=_bias(part.b_in) if gated else None,
        norm_after=_norm(block.ln2_post) if block.cfg.use_normalization_before_and_after else None,
    )


def _norm(module: Any) -> Norm | None:
    """A norm; None for a model without."""
    if type(module).__name__ == "Identity":
        return None
    kind = NORMS.get(type(module))
    if kind is None:
        raise NoProgram(f"the model has a norm of another kind, {type(module).__name__}")
    return Norm(kind, getattr(module, "w", None), getattr(module, "b", None), float(module.eps))
