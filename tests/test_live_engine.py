"""The engine of the live part, run by wasmtime, against a slow interpreter of the same programs."""

import importlib.util
from pathlib import Path
from typing import Any

import live_reference
import numpy as np
import pytest
from live_subjects import CONTEXT, IDS, RESIDUAL, VARIANTS, llama, model_of, sae_of, subject_of
from sae_lens.registry import SAE_CLASS_REGISTRY

from saecatalog.live import kernel
from saecatalog.live.bundle import make_bundle, matrices_of
from saecatalog.live.engine import Engine, Run
from saecatalog.live.model_program import compile_program
from saecatalog.live.packing import PACKINGS, pack, unpack
from saecatalog.live.program import EMBEDDING, Program
from saecatalog.live.sae_program import KINDS

TOKENS = IDS[0].tolist()


def engine_of(program: Program, folder: Path, precision: str = "exact") -> Engine:
    return Engine({**make_bundle(program, precision, folder), "context": CONTEXT}, folder)


def dense(run: Run, d_sae: int) -> np.ndarray:
    found = np.zeros((len(run.norms), d_sae), np.float32)
    found[run.tokens, run.features] = run.activations
    return found


def assert_runs(program: Program, folder: Path, ids: list[int], precision: str = "exact") -> None:
    """The engine gives what the interpreter gives, with the weights rounded in the same way."""
    matrices = matrices_of(program) if precision != "exact" else set()
    rounded = {n: unpack(pack(w, precision)) if n in matrices else w for n, w in program.tensors.items()}
    read, wanted = live_reference.run(Program(program.buffers, program.steps, rounded, program.read), ids)
    run = engine_of(program, folder, precision).run(ids)
    found = dense(run, wanted.shape[1])
    assert wanted.any()
    assert (found > 0).sum() == len(run.activations)
    np.testing.assert_allclose(run.norms, np.linalg.norm(read, axis=1), rtol=2e-5)
    # A firing may be on either side of a threshold, so the two differ there by as much as an activation can.
    differs = np.abs(found - wanted) > 2e-5 * np.abs(wanted).max()
    assert differs.mean() < 0.002, differs.sum()


@pytest.mark.parametrize("name", VARIANTS)
def test_models(name: str, tmp_path: Path) -> None:
    model = model_of(name, "transformers")
    model.prove([RESIDUAL], IDS.device)
    program = compile_program(subject_of(model, sae_of(RESIDUAL, model.d_model)))
    assert_runs(program, tmp_path, TOKENS)


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", sorted(n for n, (kind, _) in SAE_CLASS_REGISTRY.items() if kind in KINDS))
def test_encoders(architecture: str, normalize: str, tmp_path: Path) -> None:
    program = compile_program(subject_of(llama(), sae_of(RESIDUAL, 32, architecture, normalize)))
    assert_runs(program, tmp_path, TOKENS)


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_program(subject_of(llama(), sae_of(RESIDUAL, 32)))


@pytest.mark.parametrize("precision", ["half", "int8"])
def test_rounded_weights(precision: str, program: Program, tmp_path: Path) -> None:
    assert_runs(program, tmp_path, TOKENS, precision)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, CONTEXT])
def test_texts_of_any_length(length: int, program: Program, tmp_path: Path) -> None:
    assert_runs(program, tmp_path, [(5 * n) % 40 + 3 for n in range(length)])


def test_a_run_leaves_nothing_for_the_next(program: Program, tmp_path: Path) -> None:
    engine = engine_of(program, tmp_path)
    first = engine.run(TOKENS)
    engine.run([9] * CONTEXT)
    again = engine.run(TOKENS)
    for name in ("tokens", "features", "activations", "norms"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_the_beginning_of_a_text_does_not_depend_on_its_end(program: Program, tmp_path: Path) -> None:
    engine = engine_of(program, tmp_path)
    whole, part = engine.run(TOKENS), engine.run(TOKENS[:5])
    kept = whole.tokens < 5
    np.testing.assert_array_equal(whole.features[kept], part.features)
    np.testing.assert_allclose(whole.activations[kept], part.activations, rtol=1e-6)


@pytest.mark.parametrize("name", PACKINGS)
def test_the_kernel_unpacks_as_the_program_does(name: str, program: Program, tmp_path: Path) -> None:
    """Bit for bit, also numbers that are 0, negative, or too small for a leading 1."""
    chance = np.random.default_rng(3)
    values = chance.normal(size=(9, 96)).astype(np.float32) * 10.0 ** chance.integers(-8, 4, size=(9, 96))
    values[0] = 0
    content = PACKINGS[name].pack(values.astype(np.float32))
    engine = engine_of(program, tmp_path)
    held, to = engine.memory.reserve(content.size), engine.memory.reserve(4 * values.size)
    engine.memory.write(held, content.tobytes())
    engine.call("unpack", PACKINGS[name].code, held, to, 9, 3)
    found = engine.memory.floats(to, values.size).view(np.uint32)
    np.testing.assert_array_equal(found, PACKINGS[name].unpack(content).astype(np.float32).ravel().view(np.uint32))


def test_only_the_rows_of_the_tokens_are_read(program: Program, tmp_path: Path) -> None:
    engine = engine_of(program, tmp_path)
    per_part = engine.bundle["embedding"]["rows_per_part"]
    needed = {f"rows-{token // per_part}" for token in TOKENS}
    for file in tmp_path.glob("rows-*"):
        if file.name.rsplit("-", 1)[0] not in needed:
            file.unlink()
    assert engine.run(TOKENS).activations.size
    assert EMBEDDING not in engine.bundle["tensors"]


def test_the_kernel_is_compiled_from_its_source(tmp_path: Path) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no compiler; install the test requirements, which have the package ziglang")
    kernel.build(tmp_path / "kernel.wasm")
    assert (tmp_path / "kernel.wasm").read_bytes() == kernel.BINARY.read_bytes()


def test_the_kernel_imports_nothing() -> None:
    import wasmtime

    module: Any = wasmtime.Module.from_file(wasmtime.Engine(), str(kernel.BINARY))
    assert list(module.imports) == []
