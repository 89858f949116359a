"""The formulas of SAEs that `verify` uses, against sae_lens for every architecture and normalisation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from any_sae import save_any
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY

from saecatalog.subject import UNFOLDED, UNSUPPORTED
from saecatalog.verify.pursuit import MAX_PATHS, Pursuit, pursue
from saecatalog.verify.sae import Sae, decode_rows, encode_rows

D_IN, HOOK = 32, "blocks.1.hook_resid_pre"
NARROW = 5e-6
"""Decisions closer than this share may fall either way in float32."""


def both(sae: Any) -> Sae:
    """The same SAE for `verify`."""
    weights = {name: tensor.detach().double().numpy() for name, tensor in sae.state_dict().items()}
    return Sae({**sae.cfg.to_dict(), "architecture": sae.cfg.architecture()}, weights)


def rows(n: int = 200) -> torch.Tensor:
    return torch.randn((n, D_IN), generator=torch.Generator().manual_seed(4)) * 2 + 0.3


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", sorted(SAE_CLASS_REGISTRY.keys() - UNSUPPORTED.keys()))
def test_formulas_are_those_of_sae_lens(architecture: str, normalize: str, tmp_path: Path) -> None:
    save_any(tmp_path, tmp_path, architecture, HOOK, D_IN, d_out=20 if "transcoder" in architecture else 0)
    theirs = SAE.load_from_disk(tmp_path)
    theirs.cfg.normalize_activations = normalize
    theirs._setup_activation_normalization()
    x, ours = rows(), both(theirs)
    with torch.inference_mode():
        acts, out = theirs.encode(x), theirs(x)
    wide = x.double().numpy()
    encoded = encode_rows(ours, wide, NARROW)
    found = np.where(encoded.margins > 0, encoded.values, 0)
    near = np.abs(encoded.margins) <= NARROW
    assert near.mean() < 1e-3
    np.testing.assert_allclose(np.where(near, 0, found), np.where(near, 0, acts.numpy()), rtol=1e-4, atol=1e-4)
    sure = ~near.any(1)
    assert sure.mean() > 0.9
    np.testing.assert_allclose(decode_rows(ours, found, wide)[sure], out.numpy()[sure], rtol=1e-3, atol=1e-3)
    assert decode_rows(ours, found, wide).shape[1] == ours.d_out


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk", "gated"])
def test_a_row_that_rounding_has_moved_far_has_a_wider_tolerance(
    architecture: str, normalize: str, tmp_path: Path
) -> None:
    save_any(tmp_path, tmp_path, architecture, HOOK, D_IN)
    sae = both(SAE.load_from_disk(tmp_path))
    sae = Sae({**sae.config, "normalize_activations": normalize}, sae.w)
    exact = rows().double().numpy()
    x = exact * (1 + 1e-8)
    x[3] += 1e-2 * np.linspace(-1, 1, D_IN)
    narrow, wide, true = (
        encode_rows(sae, x, NARROW),
        encode_rows(sae, x, NARROW, exact),
        encode_rows(sae, exact, NARROW),
    )
    others = np.arange(len(x)) != 3
    np.testing.assert_array_equal(wide.sizes[others], narrow.sizes[others])
    far = np.abs(x - exact)[3].max()
    assert (narrow.sizes[3] * NARROW < far / 10).all()
    both_active = (wide.margins[3] > NARROW) & (true.margins[3] > NARROW)
    assert both_active.any()
    assert (np.abs(wide.values[3] - true.values[3]) <= wide.sizes[3] * NARROW)[both_active].all()
    assert not ((wide.margins[3] > NARROW) & (true.margins[3] <= -NARROW)).any()
    # No wider than a few times what the move can do.
    gain = np.exp(sae.w["r_mag"]) if architecture == "gated" else 1
    reach = np.linalg.norm((x - exact)[3]) * np.linalg.norm(sae.w["W_enc"], axis=0) * gain
    assert (wide.sizes[3] * NARROW < 6 * reach).all()


@pytest.mark.parametrize("normalize", UNFOLDED)
def test_a_normalisation_whose_figure_is_not_known_is_refused(normalize: str, tmp_path: Path) -> None:
    save_any(tmp_path, tmp_path, "standard", HOOK, D_IN)
    sae = both(SAE.load_from_disk(tmp_path))
    with pytest.raises(ValueError, match=normalize):
        encode_rows(Sae({**sae.config, "normalize_activations": normalize}, sae.w), rows().double().numpy())


# Matching pursuit


SETTINGS = {"residual_threshold": 0.0, "max_iterations": 3, "stop_on_duplicate_support": True}


def pursuit(w_dec: list[list[float]], inputs: list[list[float]], undecided: float = 1e-6, **settings: Any) -> Pursuit:
    x = np.array(inputs, float)
    sizes = np.linalg.norm(x, axis=1, keepdims=True)
    return Pursuit(np.array(w_dec, float), x, sizes, undecided, {**SETTINGS, **settings})


def test_equally_good_choices_are_undecided_and_the_rest_is_not() -> None:
    """Rows 0 and 1 of the dictionary are the same: either may be taken. Row 2 is taken on both paths."""
    found = pursue(pursuit([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -1]], [[3, 2, 0]]))
    assert (np.abs(found.margins[0, :2]) <= 1e-6).all()
    assert sorted(found.margins[0, :2] > 0) == [False, True]
    assert found.values[0].tolist() == [3, 3, 2, 0]
    assert found.margins[0, 2] > 1e-3
    assert found.margins[0, 3] < -1e-3


def test_a_pursuit_that_may_or_may_not_end_leaves_its_last_step_undecided() -> None:
    w_dec, inputs = [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[3, 0.5, 0]]
    for shift, undecided in ((0, True), (1e-8, True), (-1e-8, True), (1e-3, False), (-1e-3, False)):
        found = pursue(pursuit(w_dec, inputs, residual_threshold=0.5 + shift))
        assert (abs(found.margins[0, 1]) <= 1e-6) == undecided, shift
        assert found.margins[0, 0] > 1e-3
        if not undecided:
            assert (found.margins[0, 1] > 0) == (shift < 0)


def test_values_that_depend_on_the_order_have_a_wider_tolerance() -> None:
    """Two equally good rows that are not at right angles: the second value depends on which is first."""
    half = np.sqrt(0.5)
    p = pursuit([[1, 0], [half, half]], [[np.cos(np.pi / 8), np.sin(np.pi / 8)]], max_iterations=2)
    found = pursue(p)
    (one,) = (pursue(replace(p, undecided=0.0)).values,)
    assert (found.margins[0] > p.undecided).all()
    slack = found.sizes[0] * p.undecided
    assert (np.abs(found.values[0] - one[0][::-1]) <= slack + 1e-12).all()
    assert slack.max() > 0.1


def test_the_number_of_paths_is_limited() -> None:
    """16 pairs of equal rows would be 2 ** 16 paths."""
    w_dec = np.repeat(np.eye(16), 2, axis=0)
    found = pursue(pursuit(w_dec.tolist(), [list(range(16, 0, -1))], max_iterations=16))
    assert (found.margins[0].reshape(16, 2).max(1) > 0).all()
    assert MAX_PATHS < 2**16


def test_no_rows() -> None:
    assert pursue(Pursuit(np.eye(3), np.zeros((0, 3)), np.zeros((0, 1)), 1e-6, SETTINGS)).values.shape == (0, 3)
