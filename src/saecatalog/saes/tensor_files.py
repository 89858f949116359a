"""Files of `torch.save` that hold tensors and nothing else: a file flows in, its tensors flow out.

Such a file is a zip archive of raw numbers and of one pickle, which says how to make tensors of them. A pickle is a
program for a small machine that can call any function, but it has no jumps: whoever reads its instructions in order has
seen all that it can do. They are read here before any is carried out, and the file is refused unless the instructions
are among those that tensors need. Then torch's restricted unpickler (`weights_only`) reads the same bytes, as a second
barrier.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from saecatalog.errors import CatalogError

ORDERED = "collections.OrderedDict"
CALLED = {
    ORDERED,
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
}
"""Functions that the pickle may call: a dictionary, and those that put a tensor together from a storage."""

STORAGES = {
    "torch.DoubleStorage": 8,
    "torch.FloatStorage": 4,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.BoolStorage": 1,
}
"""Formats of a storage, a file of raw numbers in the archive, and bytes of a number. They are named, never called."""

DTYPES = {
    f"torch.{kind}"
    for kind in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
"""Names of number formats, which some files state beside their tensors."""

INSTRUCTIONS = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
"""What the pickle may contain; torch writes nothing else for tensors."""

PROTOCOL = 2

MEMBERS = re.compile(
    r"data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id"
)
"""Files of the archive, below its one folder."""

PICKLE_LIMIT = 1 << 22
"""Bytes: the pickle of an SAE is a few kilobytes."""


class Unsafe(Exception):
    """A file holds, or may hold, more than tensors; the message says what."""


@dataclass(frozen=True)
class Value:
    """What is known of a value on the stack before the pickle is run."""

    kind: str
    """The instruction that makes it, the name of a global, or `a value of` and the name of a function."""
    content: Any = None
    """Number, text, or the values of a tuple."""


def load_tensors(file: str | Path | IO[bytes], where: str, fix: str, device: Any = "cpu") -> dict[str, Any]:
    """The dictionary in a file of `torch.save`, with every tensor on the device.

    Raises CatalogError if the file could do more than that, or cannot be read. `fix` says what to do in the first case.
    """
    # What is checked is what is loaded, even if the file changes in between.
    content = Path(file).read_bytes() if isinstance(file, str | Path) else file.read()
    try:
        pickled, sizes = _opened(content)
        storages = check_pickle(pickled)
    except Unsafe as unsafe:
        what = f"The weights are not opened, as their file may hold more than tensors: {unsafe}."
        raise CatalogError(what, where, fix) from None
    try:
        _check_sizes(storages, sizes)
        # Not `torch.load`, which is refused while a library loads (see `safe_loading`).
        loaded = torch.serialization.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return dict(_tensors(loaded, device))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError("The file of weights cannot be read.", where, f"Use another copy of it. {reason}") from error


def _opened(content: bytes) -> tuple[bytes, dict[str, int]]:
    """The pickle of an archive of `torch.save`, and the size of each of its files.

    Raises Unsafe unless it is one. All is told by the reader that will load it, so that no other can find other files.
    """
    names = _member_names(content)
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
        if sorted(reader.get_all_records()) != sorted(names):
            raise Unsafe("its archive has two tables of contents")
        sizes = {name: int(reader.get_record_size(name)) for name in names}
        if sum(sizes.values()) > len(content):
            raise Unsafe("its archive unpacks to more than its size")
        if sizes["data.pkl"] > PICKLE_LIMIT:
            raise Unsafe(f"its instructions are {sizes['data.pkl']:,} bytes long")
        return reader.get_record("data.pkl"), sizes
    except (RuntimeError, KeyError, ValueError) as error:
        raise Unsafe(f"its archive cannot be read ({str(error).splitlines()[0]})") from None


def _member_names(content: bytes) -> list[str]:
    """The files of an archive, without the folder; raises Unsafe unless they are the usual ones, not compressed."""
    if not content.startswith(b"PK\3\4"):
        raise Unsafe("it is not an archive, as torch writes since version 1.6")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Unsafe(f"its archive cannot be read ({error})") from None
    root = members[0].filename.partition("/")[0] + "/" if members else ""
    names: dict[str, None] = {}
    for member in members:
        shown, name = ascii(member.filename), member.filename.removeprefix(root)
        if not member.filename.startswith(root) or not MEMBERS.fullmatch(name):
            raise Unsafe(f"its archive has another file, {shown}")
        if name in names:
            raise Unsafe(f"its archive has {shown} more than once")
        if member.compress_type != zipfile.ZIP_STORED:
            raise Unsafe(f"{shown} in its archive is compressed")
        names[name] = None
    return list(names)


def check_pickle(pickled: bytes) -> list[tuple[str, int]]:
    """The storages that a pickle asks for: name and number of bytes.

    Raises Unsafe unless its instructions make dictionaries, lists, numbers, texts and tensors only.
    """
    try:
        return _followed(pickled)
    except (ValueError, LookupError, TypeError) as error:
        raise Unsafe(f"its instructions cannot be followed ({error})") from None


def _followed(pickled: bytes) -> list[tuple[str, int]]:
    """`check_pickle`; raises ValueError, LookupError or TypeError for instructions that make no sense."""
    stack: list[Value] = []
    memo: dict[int, Value] = {}
    storages = []
    for name, argument, taken, position in _instructions(pickled, stack):
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = _top(stack)
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(Value(_allowed_global(pickled, position)))
        elif name == "BINPERSID":
            storages.append(_storage(taken[0]))
            stack.append(Value("a storage"))
        elif name not in ("PROTO", "STOP"):
            stack.append(_made(name, argument, taken))
    return storages


def _made(name: str, argument: Any, taken: list[Value]) -> Value:
    """The value that an instruction makes of those it takes; raises Unsafe for a call that tensors do not need."""
    if name == "REDUCE":
        if taken[0].kind not in CALLED:
            raise Unsafe(f"it calls {taken[0].kind}")
        return Value(f"a value of {taken[0].kind}")
    if name == "BUILD" and taken[0].kind != f"a value of {ORDERED}":
        raise Unsafe(f"it sets the state of {taken[0].kind}")
    if name in ("BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS"):
        return taken[0]
    return Value(name, taken if name.startswith("TUPLE") else argument)


def _instructions(pickled: bytes, stack: list[Value]) -> Iterator[tuple[str, Any, list[Value], int]]:
    """Name and argument of each instruction, the values that it takes, the lowest first, and its place.

    They are taken off the stack. Raises Unsafe for an instruction that is not allowed, and for bytes after the last.
    """
    end = 0
    for opcode, argument, position in pickletools.genops(pickled):
        if opcode.name == "PROTO" and argument != PROTOCOL:
            raise Unsafe(f"it is written in protocol {argument}; torch.save uses {PROTOCOL}")
        if opcode.name not in INSTRUCTIONS:
            raise Unsafe(f"it uses the instruction {opcode.name}")
        end = int(position or 0) + 1
        yield opcode.name, argument, _take(stack, opcode.stack_before), end - 1
    if end != len(pickled):
        raise Unsafe("something comes after its instructions")


def _take(stack: list[Value], kinds: list[Any]) -> list[Value]:
    """Take the values that an instruction needs off the stack; a mark on the stack begins those of unknown number."""
    above: list[Value] = []
    if pickletools.markobject in kinds:
        start = max(place for place, value in enumerate(stack) if value.kind == "MARK")
        above = stack[start + 1 :]
        del stack[start:]
        kinds = kinds[: kinds.index(pickletools.markobject)]
    taken: list[Value] = []
    for _ in kinds:
        taken.insert(0, _top(stack))
        stack.pop()
    return taken + above


def _top(stack: list[Value]) -> Value:
    if not stack or stack[-1].kind == "MARK":
        raise ValueError("an instruction finds no value")
    return stack[-1]


def _allowed_global(pickled: bytes, position: int) -> str:
    """The name of a global, as it is spelled in the bytes: pickletools would resolve escapes, the machine does not."""
    module, name = (part.decode("utf-8", "replace") for part in pickled[position + 1 :].split(b"\n", 2)[:2])
    spelled = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if spelled not in CALLED | DTYPES | set(STORAGES) or "." in name:
        raise Unsafe(f"it names {spelled if spelled.isprintable() else ascii(spelled)}")
    return spelled


def _storage(value: Value) -> tuple[str, int]:
    """Name and bytes of the storage that a persistent id asks for, a tuple: what, format, name, device, number."""
    if not value.kind.startswith("TUPLE") or len(value.content) != 5:
        raise ValueError("it asks for something that is not a storage")
    what, kind, name, _, number = value.content
    if (what.content, name.kind) != ("storage", "BINUNICODE") or not isinstance(number.content, int):
        raise ValueError("it asks for something that is not a storage")
    return str(name.content), number.content * STORAGES[kind.kind]


def _check_sizes(storages: list[tuple[str, int]], sizes: dict[str, int]) -> None:
    """Raise ValueError if a storage is larger than its file: torch would read whatever the memory has behind it."""
    for name, size in storages:
        if not 0 <= size <= sizes.get(f"data/{name}", -1):
            raise ValueError(f"Storage {name!r} has {size:,} bytes, more than its file.")


def _tensors(loaded: Any, device: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a dictionary with texts as keys; tensors without what they carry beside their numbers.

    Raises ValueError for a tensor that repeats its numbers: a small file could fill the memory.
    """
    if not isinstance(loaded, dict):
        raise ValueError(f"It holds a {type(loaded).__name__}, not a dictionary of tensors.")
    for name in loaded:
        value = loaded[name]
        if isinstance(value, torch.Tensor):
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"{name!r} repeats the numbers that it is made of.")
            value = value.detach().to(device)
        yield str(name), value
