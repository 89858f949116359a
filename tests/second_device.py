"""A second device without a second processor: its tensors refuse to meet those of the processor.

Each holds a tensor of the processor, with which it really computes, so that results can be compared. As on a GPU, an
operation on tensors of both devices is an error, unless torch allows it there (numbers, and indices from the
processor), and so is `.numpy()` without `.cpu()`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import safetensors
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("ipu:0")
"""A kind of device that torch knows by name and that no build of it can reach by itself."""

HELD_AS = torch.device("meta")
"""What the tensors are to torch's own code, which knows how to handle a device of this kind without a processor."""

INDEXED = (torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_)
"""Operations whose indices may come from the processor."""

BETWEEN_DEVICES = (torch.ops.aten.copy_,)


class Mixed(RuntimeError):
    """What torch raises where a tensor of one device meets one of another."""


class Elsewhere(Tensor):
    """A tensor of the second device."""

    inner: Tensor
    device = property(lambda self: ELSEWHERE)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        dense = inner.layout == torch.strided
        # A tensor made in inference mode could not be the result of `detach`.
        with torch.inference_mode(False):
            made: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                inner.size(),
                strides=inner.stride() if dense else None,
                storage_offset=inner.storage_offset() if dense else None,
                dtype=inner.dtype,
                layout=inner.layout,
                device=HELD_AS,
            )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.inner!r})"


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on tensors of the second device, or one that makes them."""
    values = tree_flatten((args, kwargs))[0]
    there = [value for value in values if isinstance(value, Elsewhere)]
    wanted = next((value for value in values if isinstance(value, torch.device)), None)
    if wanted is None and func.overloadpacket not in BETWEEN_DEVICES:
        _refuse_mixtures(func, values)
    wrappers = {id(value.inner): value for value in there}
    found = func(*_inner(args), **_inner(kwargs))

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        # What is changed in place stays the same object.
        same = wrappers.get(id(value))
        return Elsewhere(value) if same is None else same

    if func.overloadpacket is torch.ops.aten.copy_:
        return args[0]
    return tree_map(wrapped, found) if (bool(there) if wanted is None else is_elsewhere(wanted)) else found


def is_elsewhere(device: torch.device) -> bool:
    return device.type in (ELSEWHERE.type, HELD_AS.type)


def _inner(values: Any) -> Any:
    def inner(value: Any) -> Any:
        if isinstance(value, torch.device) and is_elsewhere(value):
            return torch.device("cpu")
        return value.inner if isinstance(value, Elsewhere) else value

    return tree_map(inner, values)


def _refuse_mixtures(func: Any, values: list[Any]) -> None:
    """Raise Mixed if a tensor of the processor with one dimension or more is among those elsewhere."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if any(value.device == HELD_AS for value in tensors):
        raise NotImplementedError(f"{func.name()} got a tensor that torch made by itself, which holds nothing.")
    if func.overloadpacket in INDEXED:
        tensors = [value for value in tensors if value.is_floating_point()]
    here = [value for value in tensors if not isinstance(value, Elsewhere) and value.ndim]
    if here and len(here) < len(tensors):
        raise Mixed(f"Expected all tensors to be on the same device, but {func.name()} got one of {here[0].device}.")


class _Making(TorchDispatchMode):
    """Operations that name the second device, and have no tensor of it yet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = tree_flatten((args, kwargs or {}))[0]
        # Torch's own code makes the number of `tensor[index] = number` on the device that it believes in.
        kinds = (
            (ELSEWHERE.type, HELD_AS.type) if func.overloadpacket is torch.ops.aten.scalar_tensor else (ELSEWHERE.type,)
        )
        there = any(isinstance(v, Elsewhere) or (isinstance(v, torch.device) and v.type in kinds) for v in values)
        return run(func, args, kwargs or {}) if there else func(*args, **kwargs or {})


class _Tensors(TorchFunctionMode):
    """Where torch makes a tensor on the device itself, without an operation that could be seen: of lists."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func is Tensor.__getitem__:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return func(args[0], tuple(torch.tensor(part) if isinstance(part, list) else part for part in index))
        return func(*args, **kwargs)


class _Opened:
    """A file of safetensors, whose library asks torch for the device by itself."""

    def __init__(self, path: Any, framework: str, device: Any = "cpu"):
        self.file, self.device = safetensors.safe_open(path, framework, "cpu"), device

    def __enter__(self) -> "_Opened":
        self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def get_tensor(self, name: str) -> Tensor:
        return self.file.get_tensor(name).to(self.device)


class _Pool(ThreadPoolExecutor):
    """Threads that know the second device too: what torch is told of operations holds for one thread."""

    def __init__(self, threads: int, initializer: Callable[[], object]):
        def prepare() -> None:
            _Making().__enter__()
            _Tensors().__enter__()
            initializer()

        super().__init__(threads, initializer=prepare)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside the block there is a second device."""
    with ExitStack() as stack:
        stack.enter_context(_Making())
        stack.enter_context(_Tensors())
        stack.enter_context(patch("saecatalog.threads.ThreadPoolExecutor", _Pool))
        stack.enter_context(patch("sae_lens.loading.pretrained_sae_loaders.safe_open", _Opened))
        yield ELSEWHERE
