"""Steps of an SAE's encoder: an SAE of `sae_lens` and a buffer with what it reads flow in, `encode` is written."""

from typing import Any

from sae_lens.saes.gated_sae import GatedSAE
from sae_lens.saes.jumprelu_sae import JumpReLUSAE
from sae_lens.saes.standard_sae import StandardSAE
from sae_lens.saes.topk_sae import TopKSAE
from sae_lens.saes.transcoder import JumpReLUSkipTranscoder, JumpReLUTranscoder, SkipTranscoder, Transcoder

from saecatalog.live.program import NoProgram
from saecatalog.live.writer import Writer

KINDS: dict[Any, str] = {
    StandardSAE: "relu",
    Transcoder: "relu",
    SkipTranscoder: "relu",
    JumpReLUSAE: "jumprelu",
    JumpReLUTranscoder: "jumprelu",
    JumpReLUSkipTranscoder: "jumprelu",
    TopKSAE: "topk",
    GatedSAE: "gated",
}
"""The kind of `encode` of each class; a class that extends one of these may encode in another way."""

DEVIATION_EPS = 1e-5
"""What sae_lens adds to the standard deviation in its `layer_norm`."""


def write_encoder(out: Writer, sae: Any, read: str) -> None:
    """Write the steps from what an SAE reads to its features; raises NoProgram."""
    kind = KINDS.get(type(sae))
    if kind is None:
        raise NoProgram(f"SAEs of the architecture '{sae.cfg.architecture()}' have no live part")
    source = _preprocess(out, sae, read)
    norms = 1
    if kind == "topk" and sae.cfg.rescale_acts_by_decoder_norm:
        norms = sae.W_dec.norm(dim=-1)
    weight = out.tensor("encoder.weight", (sae.W_enc * norms).T)
    bias = out.tensor("encoder.bias", sae.b_gate if kind == "gated" else sae.b_enc * norms)
    out.step("encode", kind=kind, **{"from": source}, weight=weight, bias=bias, **_more(out, sae, kind))


def _more(out: Writer, sae: Any, kind: str) -> dict[str, Any]:
    """The fields that only this kind of `encode` has."""
    if kind == "jumprelu":
        return {"threshold": out.tensor("encoder.threshold", sae.threshold)}
    if kind == "topk":
        return {"k": int(sae.cfg.k)}
    if kind == "gated":
        magnitude = out.tensor("encoder.magnitude_bias", sae.b_mag)
        return {"scale": out.tensor("encoder.scale", sae.r_mag.exp()), "magnitude_bias": magnitude}
    return {}


def _preprocess(out: Writer, sae: Any, read: str) -> str:
    """The buffer that the encoder's matrix reads."""
    normalize = sae.cfg.normalize_activations
    shifted = sae.cfg.apply_b_dec_to_input and not isinstance(sae, Transcoder)
    if normalize == "none" and not shifted:
        return read
    to = out.buffer("sae_input", out.buffers[read])
    plain = {"from": read, "to": to, "weight": None, "bias": None, "parts": 1}
    if normalize == "none":
        out.step("copy", **{"from": read, "to": to})
    elif normalize == "constant_norm_rescale":
        # Every row gets the length sqrt(d), so that the mean of its squares is 1.
        out.step("norm", kind="rms", eps=0.0, **plain)
    elif normalize == "layer_norm":
        out.step("norm", kind="deviation", eps=DEVIATION_EPS, **plain)
    else:
        raise NoProgram(f"the SAE's normalisation '{normalize}' has no live part")
    if shifted:
        out.step("shift", on=to, by=out.tensor("encoder.shift", -sae.b_dec))
    return to
