"""The lens against the modules of `transformers` and plain numpy."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from conftest import SHAPES, SaeKind
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy import stats
from studies import LENS_ENTRIES, close

from saecatalog import lens as lens_module
from saecatalog.errors import CatalogError
from saecatalog.lens import make_lens, strongest
from saecatalog.store import Lens, read_lens


@pytest.fixture(scope="session", params=[(s, h) for s in SHAPES for h in ("blocks.2.hook_resid_pre", "mlp_out")])
def lens(
    request: pytest.FixtureRequest, subjects: Callable, saes: Callable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, np.ndarray, Lens]:
    """Model, decoder and lens."""
    shape, hook = request.param
    kind = SaeKind("standard", hook="blocks.1.hook_mlp_out" if hook == "mlp_out" else hook)
    folder = tmp_path_factory.mktemp("lens")
    make_lens(subjects(shape, kind), folder, lambda n: None, LENS_ENTRIES)
    decoder = load_file(saes(shape, kind) / "sae_weights.safetensors")["W_dec"]
    return shape, decoder.astype(np.float64), read_lens(folder)


def test_direct_logit_effects(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    shape, decoder, found = lens
    for feature, direction in enumerate(decoder):
        effects = reference.logit_effects(models(shape), direction)
        promoted = np.sort(effects)[::-1][:LENS_ENTRIES]
        close(found.promoted_logits[feature], promoted, rtol=1e-3, atol=1e-4)
        close(effects[found.promoted_ids[feature]], promoted, rtol=1e-3, atol=1e-4)
        suppressed = np.sort(effects)[:LENS_ENTRIES]
        close(found.suppressed_logits[feature], suppressed, rtol=1e-3, atol=1e-4)
        close(effects[found.suppressed_ids[feature]], suppressed, rtol=1e-3, atol=1e-4)
        assert len(set(found.promoted_ids[feature].tolist())) == LENS_ENTRIES


def test_direct_logit_effects_by_formula(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    """RMS norm: (d * w) @ W_U. LayerNorm: ((d - mean of d) * w) @ W_U. Both less the mean over the vocabulary."""
    shape, decoder, found = lens
    if shape == "gemma":
        pytest.skip("Gemma adds 1 to its norm's weights; the module itself is the reference there")
    model = reference.model_of(models(shape))
    gpt2 = shape == "gpt2"
    weight = (model.transformer.ln_f if gpt2 else model.model.norm).weight.detach().double().numpy()
    unembedding = model.lm_head.weight.detach().double().numpy().T
    for feature, direction in enumerate(decoder):
        effects = ((direction - direction.mean() if gpt2 else direction) * weight) @ unembedding
        effects -= effects.mean()
        close(found.promoted_logits[feature], np.sort(effects)[::-1][:LENS_ENTRIES], rtol=1e-3, atol=1e-4)


def test_the_spread_of_direct_effects(lens: tuple[str, np.ndarray, Lens], models: Callable) -> None:
    shape, decoder, found = lens
    for feature in range(0, len(decoder), 5):
        effects = reference.logit_effects(models(shape), decoder[feature])
        moments = [effects.std(), stats.skew(effects), stats.kurtosis(effects)]
        close(found.logit_moments[feature], moments, rtol=1e-3, atol=1e-4)
        edges, counts = found.logit_edges[feature], found.logit_counts[feature]
        close(edges, np.linspace(effects.min(), effects.max(), len(counts) + 1), rtol=1e-4, atol=1e-5)
        assert counts.sum() == len(effects)
        # A value within rounding of an edge may fall on either side of it.
        for bin_, count_ in enumerate(counts.tolist()):
            low, high, slack = edges[bin_], edges[bin_ + 1], 1e-5 * np.abs(effects).max()
            surely = (effects > low + slack) & (effects < high - slack)
            maybe = (effects >= low - slack) & (effects <= high + slack)
            assert surely.sum() <= count_ <= maybe.sum()


def test_decoder_neighbours(lens: tuple[str, np.ndarray, Lens]) -> None:
    _, decoder, found = lens
    for feature, row in enumerate(decoder):
        cosines = np.array([row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in decoder])
        assert feature not in found.neighbour_ids[feature]
        others = np.delete(cosines, feature)
        close(found.neighbour_cosines[feature], np.sort(others)[::-1][:LENS_ENTRIES], rtol=1e-4, atol=1e-6)
        close(cosines[found.neighbour_ids[feature]], found.neighbour_cosines[feature], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.decoder, decoder, rtol=1e-6)


def test_ties_in_the_weights_go_by_index(subjects: Callable, tmp_path: Path) -> None:
    """Tokens that never occurred often have identical unembeddings, and dead features identical decoder rows."""
    subject = subjects("llama", SaeKind("standard")).replica()
    decoder = torch.zeros_like(subject.sae.W_dec)
    decoder[:, 0] = 1.0
    decoder[30:, 1] = 1.0
    subject.sae.W_dec = torch.nn.Parameter(decoder)
    make_lens(subject, tmp_path, lambda n: None, LENS_ENTRIES)
    ids = np.load(tmp_path / "neighbour_ids.npy")
    for feature in range(len(decoder)):
        same = range(30) if feature < 30 else range(30, len(decoder))
        assert ids[feature].tolist() == [f for f in same if f != feature][:LENS_ENTRIES]


def test_no_logits_where_the_sae_does_not_write_to_the_residual_stream(subjects: Callable, tmp_path: Path) -> None:
    subject = subjects("llama", SaeKind("jumprelu", hook="blocks.2.attn.hook_z"))
    make_lens(subject, tmp_path, lambda n: None, LENS_ENTRIES)
    assert read_lens(tmp_path).promoted_ids.shape[1] == 0


def lens_of(subject: Any, decoder: np.ndarray, folder: Path) -> Lens:
    """The lens of a subject with another decoder."""
    subject = subject.replica()
    subject.sae.W_dec = torch.nn.Parameter(torch.from_numpy(decoder.astype(np.float32)))
    folder.mkdir(exist_ok=True)
    make_lens(subject, folder, lambda n: None, LENS_ENTRIES)
    return read_lens(folder)


def test_a_decoder_row_that_is_0_has_effects_and_cosines_of_0(subjects: Callable, tmp_path: Path) -> None:
    """As those of features that died in training and are decayed."""
    subject = subjects("llama", SaeKind("standard"))
    decoder = subject.sae.W_dec.detach().numpy().copy()
    decoder[[5, 9]] = 0
    found = lens_of(subject, decoder, tmp_path)
    assert all(np.isfinite(getattr(found, field.name)).all() for field in dataclasses.fields(found))
    for feature in (5, 9):
        assert not found.logit_moments[feature].any()
        assert not found.promoted_logits[feature].any()
        assert not found.neighbour_cosines[feature].any()
        assert feature not in found.neighbour_ids[feature]


@pytest.mark.parametrize("size", [1e-12, 1e-25, 1e12])
def test_the_shape_of_effects_does_not_depend_on_the_size_of_the_row(
    size: float, subjects: Callable, tmp_path: Path
) -> None:
    subject = subjects("llama", SaeKind("standard"))
    decoder = subject.sae.W_dec.detach().numpy().copy()
    plain = lens_of(subject, decoder, tmp_path / "plain")
    sized = lens_of(subject, decoder * size, tmp_path / "sized")
    close(sized.logit_moments[:, 0], plain.logit_moments[:, 0] * size, rtol=1e-4, atol=0)
    close(sized.logit_moments[:, 1:], plain.logit_moments[:, 1:], rtol=1e-3, atol=1e-3)
    close(sized.neighbour_cosines, plain.neighbour_cosines, rtol=1e-4, atol=1e-5)
    assert sized.logit_counts.sum(1).tolist() == plain.logit_counts.sum(1).tolist()
    # A value within rounding of an edge may fall on either side of it.
    assert np.abs(sized.logit_counts - plain.logit_counts).max() <= 2


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("llama", SaeKind("standard")),
        ("gpt2", SaeKind("standard", hook="blocks.1.hook_mlp_out")),
        ("llama", SaeKind("jumprelu", hook="blocks.2.attn.hook_z")),
    ],
    ids=["residual", "added", "no logits"],
)
def test_workers_give_the_bytes_of_one_process(
    shape: str,
    kind: SaeKind,
    subjects: Callable,
    elsewhere: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the chunks are."""
    subject, remote, done = subjects(shape, kind), elsewhere(shape, kind), list[int]()
    files = {}
    for name, chunk, workers in (("whole", 48, None), ("here", 7, None), ("there", 7, remote)):
        monkeypatch.setattr(lens_module, "CHUNK", chunk)
        monkeypatch.setattr(lens_module, "GROUP", 2)
        (tmp_path / name).mkdir()
        make_lens(subject, tmp_path / name, done.append, remote=workers)
        files[name] = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert done == [48, *2 * [7, 7, 7, 7, 7, 7, 6]]
    assert len(remote.engine.calls[-1][2]) == 4
    assert len(files["whole"]) == 11
    assert files["here"] == files["whole"]
    assert files["there"] == files["whole"]


def test_files_that_grow_are_as_numpy_saves_them(lens: tuple[str, np.ndarray, Lens], tmp_path: Path) -> None:
    for field in dataclasses.fields(Lens):
        array = getattr(lens[2], field.name)
        np.save(tmp_path / "saved.npy", array)
        assert (tmp_path / "saved.npy").read_bytes() == Path(array.filename).read_bytes(), field.name


def test_an_unembedding_that_is_not_finite_is_named(subjects: Callable, models: Callable, tmp_path: Path) -> None:
    subject = subjects("llama", SaeKind("standard")).replica()
    weight = subject.model.module.original_model.lm_head.weight
    subject.model.module.original_model.lm_head.original_component.weight = torch.nn.Parameter(weight.clone())
    with torch.no_grad():
        subject.model.module.original_model.lm_head.original_component.weight[3, 3] = torch.nan
    with pytest.raises(CatalogError, match="logits is not finite") as caught:
        make_lens(subject, tmp_path, lambda n: None, LENS_ENTRIES)
    assert "weight 'unembed" in caught.value.fix or "lm_head" in caught.value.fix


@given(
    st.integers(1, 4),
    st.integers(1, 3000),
    st.integers(0, 12),
    st.sampled_from([2, 5, 10**6]),
    st.integers(2, 128),
    st.integers(0, 2**32 - 1),
)
def test_the_strongest_are_those_of_a_stable_sort(
    rows: int, n: int, k: int, different: int, sorted_: int, seed: int
) -> None:
    """With many ties and few, zeros of both signs, and values of -inf; for every size of a row that is sorted."""
    generator = np.random.default_rng(seed)
    values = (generator.integers(0, different, (rows, n)) - different // 2).astype(np.float32)
    values[generator.random((rows, n)) < 0.3] *= -1
    values[generator.random((rows, n)) < 0.1] = -np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens_module, "SORTED", sorted_)
        columns, found = strongest(torch.from_numpy(values), k)
    for row, columns_of_row, found_of_row in zip(values, columns.tolist(), found.tolist(), strict=True):
        wanted = sorted(range(n), key=lambda column, row=row: (-row[column], column))[:k]
        assert columns_of_row == wanted
        assert found_of_row == row[wanted].tolist()


def test_the_moments_of_many_effects_are_those_of_double_precision(subjects: Callable, tmp_path: Path) -> None:
    """As exact as their input: the last bits of single precision, of values near 1 and of 3 and more."""
    logits = torch.randn((64, 20_000), generator=torch.Generator().manual_seed(2)) ** 3
    wanted = [
        [row.std(), stats.skew(row), stats.kurtosis(row)]
        for row in (logits - logits.mean(-1, keepdim=True)).double().numpy()
    ]
    found = lens_module._described(logits, LENS_ENTRIES)["logit_moments"]
    close(found, np.array(wanted), rtol=2e-6, atol=2e-6)
