"""Checks of programs: one flows in, ValueError is raised if a name, a shape, a width or the order of steps is wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from saecatalog.live.program import EMBEDDING, Program, Step

ACTS = ("gelu", "gelu_tanh", "silu", "relu")
NORMS = ("rms", "layer", "deviation")
PAIRS = ("halves", "neighbours")
ENCODERS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "jumprelu": ("threshold",),
    "topk": (),
    "gated": ("scale", "magnitude_bias"),
}
"""Kinds of `encode`, and the vectors of one value a feature that each has."""

BUFFERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "embed": ((), ("to",)),
    "positions": (("to",), ("to",)),
    "norm": (("from",), ("to",)),
    "linear": (("from",), ("to",)),
    "rotate": (("on",), ("on",)),
    "attention": (("q", "k", "v"), ("to",)),
    "act": (("on",), ("on",)),
    "multiply": (("on", "by"), ("on",)),
    "add": (("on", "by"), ("on",)),
    "copy": (("from",), ("to",)),
    "shift": (("on",), ("on",)),
    "scale": (("on",), ("on",)),
    "encode": (("from",), ()),
}
"""The fields of each step that name buffers: those that it reads, and those that it writes."""

FIELDS: dict[str, set[str]] = {
    "embed": {"table", "scale"},
    "positions": {"table"},
    "norm": {"kind", "weight", "bias", "eps", "parts"},
    "linear": {"weight", "bias"},
    "rotate": {"heads", "cos", "sin", "pairs"},
    "attention": {"heads", "kv_heads", "scale", "cap", "window"},
    "act": {"kind"},
    "shift": {"by"},
    "scale": {"by"},
    "encode": {"weight", "bias", "kind"},
}
"""The other fields of each step."""


def validate(program: Program) -> None:
    """Raise ValueError if a program's steps do not fit its buffers and tensors."""
    for name, tensor in program.tensors.items():
        good = tensor.dtype == np.float32 and tensor.ndim in (1, 2) and tensor.flags.c_contiguous
        _need(good, f"the tensor '{name}' is no float32 vector or matrix in rows")
    _need(bool(program.steps) and program.steps[-1].get("op") == "encode", "the last step is not 'encode'")
    written: set[str] = set()
    for number, step in enumerate(program.steps):
        try:
            _check_step(program, step, written)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"step {number} ({step.get('op')}): {error}") from error
    _need(program.read in written, f"nothing writes '{program.read}', which the SAE reads")
    _need(sum(step["op"] == "encode" for step in program.steps) == 1, "'encode' comes twice")
    unused = program.tensors.keys() - set(_tensors_named(program))
    _need(not unused, f"no step has the tensors {sorted(unused)}")


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _tensors_named(program: Program) -> Iterator[str]:
    for step in program.steps:
        yield from (value for value in step.values() if isinstance(value, str) and value in program.tensors)


def _check_step(program: Program, step: Step, written: set[str]) -> None:
    """Check one step, and note which buffers it writes."""
    op = step["op"]
    _need(op in BUFFERS, "there is no such step")
    reads, writes = BUFFERS[op]
    for field in (*reads, *writes):
        _need(step[field] in program.buffers, f"there is no buffer '{step[field]}'")
    for field in reads:
        _need(step[field] in written, f"'{step[field]}' is read before it is written")
    known = {"op", *reads, *writes} | FIELDS.get(op, set()) | _more(step)
    _need(set(step) == known, f"it has the fields {sorted(step)}, not {sorted(known)}")
    CHECKS[op](program, step)
    written |= {step[field] for field in writes}


def _more(step: Step) -> set[str]:
    """The fields that only one kind of `encode` has."""
    if step["op"] != "encode":
        return set()
    _need(step["kind"] in ENCODERS, f"there is no encoder '{step['kind']}'")
    return {*ENCODERS[step["kind"]], *({"k"} if step["kind"] == "topk" else ())}


def _width(program: Program, step: Step, field: str) -> int:
    return program.buffers[step[field]]


def _shape(program: Program, step: Step, field: str, *wanted: int | None, optional: bool = False) -> None:
    """Check the shape of the tensor that a field names; None fits any length."""
    if optional and step[field] is None:
        return
    _need(step[field] in program.tensors, f"there is no tensor '{step[field]}'")
    found = program.tensors[step[field]].shape
    fits = len(found) == len(wanted) and all(w in (None, f) for w, f in zip(wanted, found, strict=True))
    _need(fits, f"'{step[field]}' has the shape {found}, not {wanted}")


def _embed(program: Program, step: Step) -> None:
    _need(step["table"] == EMBEDDING, f"the table is not '{EMBEDDING}'")
    _shape(program, step, "table", None, _width(program, step, "to"))
    _number(step, "scale")


def _positions(program: Program, step: Step) -> None:
    _shape(program, step, "table", None, _width(program, step, "to"))


def _norm(program: Program, step: Step) -> None:
    width, parts = _width(program, step, "to"), step["parts"]
    _need(step["kind"] in NORMS, f"there is no norm '{step['kind']}'")
    _same_width(program, step, "from", "to")
    _need(_is_count(parts) and width % parts == 0, f"{width} values cannot be split into {parts} parts")
    _number(step, "eps", at_least=0)
    for field in ("weight", "bias"):
        _shape(program, step, field, width // parts, optional=True)


def _linear(program: Program, step: Step) -> None:
    _need(step["from"] != step["to"], "it is in place")
    _shape(program, step, "weight", _width(program, step, "to"), _width(program, step, "from"))
    _shape(program, step, "bias", _width(program, step, "to"), optional=True)


def _rotate(program: Program, step: Step) -> None:
    _need(step["pairs"] in PAIRS, f"there are no pairs '{step['pairs']}'")
    head = _head_width(_width(program, step, "on"), step["heads"])
    _shape(program, step, "cos", None, None)
    rows, half = program.tensors[step["cos"]].shape
    _shape(program, step, "sin", rows, half)
    _need(2 * half <= head, f"{2 * half} values are turned in heads of {head}")


def _attention(program: Program, step: Step) -> None:
    _need(step["to"] not in (step["q"], step["k"], step["v"]), "it is in place")
    head = _head_width(_width(program, step, "q"), step["heads"])
    _same_width(program, step, "q", "to")
    _same_width(program, step, "k", "v")
    _need(head == _head_width(_width(program, step, "k"), step["kv_heads"]), "queries and keys differ in width")
    _need(step["heads"] % step["kv_heads"] == 0, "the heads cannot be shared out")
    _number(step, "scale")
    _number(step, "cap", at_least=0)
    _need(step["window"] == 0 or _is_count(step["window"]), "the window is no number of tokens")


def _act(program: Program, step: Step) -> None:
    _need(step["kind"] in ACTS, f"there is no function '{step['kind']}'")


def _pointwise(program: Program, step: Step) -> None:
    _same_width(program, step, "on", "by")


def _copy(program: Program, step: Step) -> None:
    _same_width(program, step, "from", "to")


def _shift(program: Program, step: Step) -> None:
    _shape(program, step, "by", _width(program, step, "on"))


def _scale(program: Program, step: Step) -> None:
    _number(step, "by")


def _encode(program: Program, step: Step) -> None:
    _shape(program, step, "weight", None, _width(program, step, "from"))
    features = program.tensors[step["weight"]].shape[0]
    _shape(program, step, "bias", features, optional=True)
    for field in ENCODERS[step["kind"]]:
        _shape(program, step, field, features)
    if step["kind"] == "topk":
        _need(_is_count(step["k"]) and step["k"] <= features, f"{step['k']} of {features} features cannot be chosen")


CHECKS: dict[str, Callable[[Program, Step], None]] = {
    "embed": _embed,
    "positions": _positions,
    "norm": _norm,
    "linear": _linear,
    "rotate": _rotate,
    "attention": _attention,
    "act": _act,
    "multiply": _pointwise,
    "add": _pointwise,
    "copy": _copy,
    "shift": _shift,
    "scale": _scale,
    "encode": _encode,
}


def _same_width(program: Program, step: Step, one: str, other: str) -> None:
    widths = _width(program, step, one), _width(program, step, other)
    _need(widths[0] == widths[1], f"'{one}' has {widths[0]} values a token and '{other}' {widths[1]}")


def _head_width(width: int, heads: Any) -> int:
    _need(_is_count(heads) and width % heads == 0, f"{width} values cannot be split into {heads} heads")
    return int(width // heads)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(step: Step, field: str, at_least: float = -np.inf) -> None:
    value = step[field]
    good = isinstance(value, int | float) and bool(np.isfinite(value)) and value >= at_least
    _need(good, f"'{field}' is {value!r}")
