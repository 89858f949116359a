"""The checks of programs find what is broken."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from live_subjects import RESIDUAL, llama, sae_of, subject_of

from saecatalog.live.checks import validate
from saecatalog.live.model_program import compile_program
from saecatalog.live.program import Program


@pytest.fixture(scope="session")
def program() -> Program:
    with torch.no_grad():
        return compile_program(subject_of(llama(), sae_of(RESIDUAL, 32, "jumprelu")))


def first(program: Program, op: str) -> dict[str, Any]:
    return next(step for step in program.steps if step["op"] == op)


BREAKS: dict[str, Callable[[Program], Any]] = {
    "there is no buffer": lambda p: p.buffers.pop("z"),
    "there is no tensor": lambda p: p.tensors.pop("layers.0.mlp.down.weight"),
    "no step has the tensors": lambda p: p.tensors.update(more=np.zeros(3, np.float32)),
    "no float32 vector or matrix": lambda p: p.tensors.update(embedding=p.tensors["embedding"].astype(np.float64)),
    "is read before it is written": lambda p: p.steps.pop(0),
    "the last step is not 'encode'": lambda p: p.steps.pop(),
    "'encode' comes twice": lambda p: p.steps.append(p.steps[-1]),
    "there is no such step": lambda p: first(p, "add").update(op="subtract"),
    "it has the fields": lambda p: first(p, "linear").pop("bias"),
    "it is in place": lambda p: first(p, "linear").update(to="normed"),
    "has the shape": lambda p: p.buffers.update(hidden=65),
    "there is no norm": lambda p: first(p, "norm").update(kind="batch"),
    "into 5 parts": lambda p: first(p, "norm").update(parts=5),
    "'eps' is nan": lambda p: first(p, "norm").update(eps=float("nan")),
    "into 3 heads": lambda p: first(p, "rotate").update(heads=3),
    "there are no pairs": lambda p: first(p, "rotate").update(pairs="thirds"),
    "values are turned": lambda p: p.tensors.update(
        {name: np.zeros((16, 5), np.float32) for name in ("rotation.cos", "rotation.sin")}
    ),
    "queries and keys differ": lambda p: first(p, "attention").update(kv_heads=1),
    "the window is no number": lambda p: first(p, "attention").update(window=1.5),
    "there is no function": lambda p: first(p, "act").update(kind="tanh"),
    "values a token": lambda p: first(p, "add").update(by="k"),
    "there is no encoder": lambda p: p.steps[-1].update(kind="softmax"),
    "which the SAE reads": lambda p: p.buffers.update(other=32),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_programs_are_found(what: str, program: Program) -> None:
    read = "other" if "SAE reads" in what else program.read
    broken = Program(dict(program.buffers), [dict(s) for s in program.steps], dict(program.tensors), read)
    validate(dataclasses.replace(broken, read=program.read))
    BREAKS[what](broken)
    with pytest.raises(ValueError, match=what):
        validate(broken)
