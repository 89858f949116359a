"""SAEs: the values that one reads flow in, its activations and what it writes flow out.

Nothing is imported from the rest of the package but the rest of this reference. An SAE is its matrices and its formula,
written out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from saecatalog.verify.encoded import Encoded, Rows
from saecatalog.verify.pursuit import Pursuit, pursue

ALLOWED = 4.0
"""Rounding may move a row this many times as far as it did here."""


@dataclass(frozen=True)
class Sae:
    """An SAE: its settings, and its matrices in float64."""

    config: dict[str, Any]
    """The SAE's `cfg.json`."""
    w: dict[str, Float64[np.ndarray, "..."]]
    """`W_enc` is `[d_in, d_sae]`, `W_dec` `[d_sae, d_out]`, `W_skip` `[d_out, d_in]`; the others are vectors."""

    @property
    def architecture(self) -> str:
        return str(self.config["architecture"])

    @property
    def d_in(self) -> int:
        return int(self.config["d_in"])

    @property
    def d_sae(self) -> int:
        return len(self.w["W_dec"])

    @property
    def d_out(self) -> int:
        """Width of what it writes: `d_in` except for a transcoder."""
        return int(self.w["W_dec"].shape[1])

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes elsewhere than it reads."""
        return "transcoder" in self.architecture


def sae_input(
    x: Float64[np.ndarray, "row d_in"], b_dec: Float64[np.ndarray, "d_in"], apply_b_dec: bool, normalize: str
) -> Float64[np.ndarray, "row d_in"]:
    """The input of the encoder's matrix: normalised rows, minus the decoder's bias if the settings say so."""
    return normalized(x, normalize) - b_dec if apply_b_dec else normalized(x, normalize)


def normalized(x: Float64[np.ndarray, "row d_in"], normalize: str) -> Float64[np.ndarray, "row d_in"]:
    """Each row normalised as the SAE's settings say; raises ValueError if a figure of the training is needed for it."""
    if normalize == "layer_norm":
        # sae_lens divides by torch's standard deviation, which has d_in - 1 degrees of freedom.
        return np.asarray((x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5))
    if normalize == "constant_norm_rescale":
        return np.asarray(x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))
    if normalize != "none":
        raise ValueError(f"the normalisation '{normalize}'")
    return x


def encode_rows(
    sae: Sae,
    x: Float64[np.ndarray, "row d_in"],
    undecided: float = 0.0,
    exact: Float64[np.ndarray, "row d_in"] | None = None,
) -> Encoded:
    """The formula of each architecture.

    `undecided` is the margin within which a decision may fall otherwise elsewhere; only matching pursuit, whose later
    decisions depend on earlier ones, needs it here. `exact` are the rows with less rounding, if they are known: where x
    is further from them than `undecided` allows for, the sizes of a row grow by as much. Raises ValueError for an
    architecture or normalisation without a formula.
    """
    config, w = sae.config, sae.w
    inputs = sae_input(x, w["b_dec"], config["apply_b_dec_to_input"], config["normalize_activations"])
    read = normalized(x, config["normalize_activations"])
    reach = np.linalg.norm(read, axis=1, keepdims=True)
    if exact is not None:
        far = np.linalg.norm(read - normalized(exact, config["normalize_activations"]), axis=1, keepdims=True)
        reach = np.maximum(reach, ALLOWED * far / undecided)
    if sae.architecture == "matching_pursuit":
        return pursue(Pursuit(w["W_dec"], inputs, reach, undecided, config))
    if sae.architecture not in FORMULAS:
        raise ValueError(f"the architecture '{sae.architecture}'")
    # [row, d_in] @ [d_in, feature]; [row, 1] * [feature].
    return FORMULAS[sae.architecture](sae, inputs @ w["W_enc"], reach * np.linalg.norm(w["W_enc"], axis=0))


def _standard(sae: Sae, before: Rows, sizes: Rows) -> Encoded:
    """Active above 0."""
    before, sizes = before + sae.w["b_enc"], sizes + np.abs(sae.w["b_enc"])
    return Encoded(np.maximum(before, 0), before / sizes, sizes)


def _jumprelu(sae: Sae, before: Rows, sizes: Rows) -> Encoded:
    """Active above 0 and above the threshold."""
    before, sizes = before + sae.w["b_enc"], sizes + np.abs(sae.w["b_enc"])
    return Encoded(np.maximum(before, 0), np.minimum(before, before - sae.w["threshold"]) / sizes, sizes)


def _gated(sae: Sae, before: Rows, sizes: Rows) -> Encoded:
    """Active if the gate is open and the magnitude is above 0."""
    w = sae.w
    gate, gate_sizes = before + w["b_gate"], sizes + np.abs(w["b_gate"])
    magnitude = before * np.exp(w["r_mag"]) + w["b_mag"]
    sizes = sizes * np.exp(w["r_mag"]) + np.abs(w["b_mag"])
    # Both must hold, so the smaller margin decides.
    return Encoded(np.maximum(magnitude, 0), np.minimum(gate / gate_sizes, magnitude / sizes), sizes)


def _topk(sae: Sae, before: Rows, sizes: Rows) -> Encoded:
    """Active if among the k largest, which the norms of the decoder's rows may weight."""
    rescale = sae.config["rescale_acts_by_decoder_norm"]
    norms = np.linalg.norm(sae.w["W_dec"], axis=1) if rescale else 1.0
    before, sizes = before + sae.w["b_enc"], sizes + np.abs(sae.w["b_enc"])
    return _top_k(before * norms, sizes * norms, int(sae.config["k"]))


def _top_k(before: Rows, sizes: Rows, k: int) -> Encoded:
    """Active if among the k largest; the margin is the difference from the rival on the other side of the cut.

    The rival of a selected value is the largest unselected one; that of an unselected one is the smallest selected one.
    """
    if k >= before.shape[1]:
        return Encoded(np.maximum(before, 0), before / sizes, sizes)
    border = np.argsort(-before, axis=1, kind="stable")[:, k - 1 : k + 1]
    # Each is [row, 1]: the last selected and the first unselected value, then the sizes of both.
    (last_in, first_out), (size_in, size_out) = (
        np.take_along_axis(a, border, 1).T[:, :, None] for a in (before, sizes)
    )
    inside = before >= last_in
    lead = before - np.where(inside, first_out, last_in)
    together = sizes + np.where(inside, size_out, size_in)
    # An activation must also be above 0.
    return Encoded(np.maximum(before, 0), np.minimum(lead / together, before / sizes), sizes)


FORMULAS: dict[str, Callable[[Sae, Rows, Rows], Encoded]] = {
    "standard": _standard,
    "transcoder": _standard,
    "skip_transcoder": _standard,
    "jumprelu": _jumprelu,
    "jumprelu_transcoder": _jumprelu,
    "jumprelu_skip_transcoder": _jumprelu,
    "gated": _gated,
    "topk": _topk,
}
"""The formula of each architecture with an encoder: from the input times its matrix, and the size of those terms."""


def decode_rows(
    sae: Sae, activations: Rows | sparse.csr_matrix, x: Float64[np.ndarray, "row d_in"]
) -> Float64[np.ndarray, "row d_out"]:
    """What the SAE writes for each row of `x` and its activations, a dense or a sparse matrix `[row, feature]`."""
    config, w = sae.config, sae.w
    # With rescaling, activations already contain the norm of their decoder row.
    norms = np.linalg.norm(w["W_dec"], axis=1, keepdims=True) if config.get("rescale_acts_by_decoder_norm") else 1.0
    # A decoder row that is 0 adds nothing, whatever it is divided by.
    out = activations @ (w["W_dec"] / np.where(norms == 0, 1.0, norms))
    if sae.architecture != "matching_pursuit" or config["apply_b_dec_to_input"]:
        out = out + w["b_dec"]
    if sae.is_transcoder:
        # It writes elsewhere than it reads, so that the normalisation of its input is not undone.
        return np.asarray(out + x @ w["W_skip"].T if "W_skip" in w else out)
    if config["normalize_activations"] == "layer_norm":
        out = out * x.std(1, ddof=1, keepdims=True) + x.mean(1, keepdims=True)
    if config["normalize_activations"] == "constant_norm_rescale":
        out = out * np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return np.asarray(out)


def cosines(row: Float64[np.ndarray, "d"], rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
    """Cosine of one vector with each of many; 0 if either is 0."""
    lengths = np.linalg.norm(row) * np.linalg.norm(rows, axis=1)
    return np.asarray(np.divide(rows @ row, lengths, out=np.zeros(len(rows)), where=lengths > 0))
