"""Files of `torch.save`: those of tensors are read, all others are refused before a single instruction is run."""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saecatalog.errors import CatalogError
from saecatalog.saes.tensor_files import CALLED, Unsafe, check_pickle, load_tensors

RAN: list[str] = []
"""What foreign code would write into."""


def ran(word: str) -> str:
    RAN.append(word)
    return word


class Bomb:
    """An object whose pickle calls a function when it is opened."""

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return ran, ("bomb",)


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    yield
    assert RAN == []


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, Any]:
    return load_tensors(io.BytesIO(content), "here", "convert it")


def refused(content: bytes) -> str:
    with pytest.raises(CatalogError) as caught:
        read(content)
    assert caught.value.where == "here"
    return caught.value.what + " " + caught.value.fix


def with_pickle(pickled: bytes, **others: bytes) -> bytes:
    """An archive like that of torch.save, with some pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name, content in others.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return buffer.getvalue()


# What is read


def test_tensors_of_every_usual_format_are_read_as_torch_reads_them() -> None:
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    content: dict[str, Any] = {kind: torch.arange(6).reshape(2, 3).to(getattr(torch, kind)) for kind in kinds}
    content |= {"turned": torch.randn(4, 3).T, "part": torch.arange(9.0)[2:7], "scalar": torch.tensor(2.5)}
    content |= {"parameter": torch.nn.Parameter(torch.ones(3)), "k": 32, "name": "topk", "dtype": torch.float32}
    found = read(saved(content))
    assert list(found) == list(content)
    for name, value in content.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value)
            assert (found[name].dtype, type(found[name])) == (value.dtype, torch.Tensor)
        else:
            assert found[name] == value
    assert not found["parameter"].requires_grad


def test_the_state_of_a_module_is_read() -> None:
    """It is an ordered dictionary with an attribute, which a BUILD instruction sets."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = read(saved(module.state_dict()))
    assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())
    assert type(found) is dict


# What is refused, by what it asks for


def test_a_function_is_named() -> None:
    assert "test_saes_tensor_files.ran" in refused(saved({"W_enc": torch.ones(2), "x": Bomb()}))
    for name in ("eval", "exec", "getattr", "__import__"):
        assert f"builtins.{name}" in refused(with_pickle(b"\x80\x02c__builtin__\n%b\n." % name.encode()))
    assert "os.system" in refused(with_pickle(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."))


@pytest.mark.parametrize(
    "content",
    [
        torch.nn.Linear(2, 2),
        {"x": torch.ones(3).to_sparse()},
        {"x": collections.Counter("ab")},
        {"x": torch.device("cpu")},
        {"x": {1, 2}},
        {"x": 1j},
        {"x": torch.ones(2).numpy()},
        {"x": Path("a")},
    ],
    ids=lambda content: str(content)[:20],
)
def test_other_objects_are_refused(content: object) -> None:
    said = refused(saved(content))
    assert "more than tensors" in said
    assert "it names" in said or "instruction" in said


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


ODD = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ATTACKS = {
    "a name put together": b"\x80\x04" + text("builtins") + text("eval") + b"\x93.",
    "the same without a header": text("builtins") + text("eval") + b"\x93.",
    "a name from the memo": b"\x80\x02" + text("builtins") + b"q\x00h\x00" + text("eval") + b"\x93.",
    "an instance of old classes": b"(ios\nsystem\n.",
    "an object of a class on the stack": b"(" + ODD + b"o.",
    "a new object": b"\x80\x02" + ODD + b")\x81.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "a registered extension of two bytes": b"\x80\x02\x83\x01\x00.",
    "a persistent id in text": b"Pdata.pkl\n.",
    "a persistent id that is no tuple": b"\x80\x02" + text("storage") + b"Q.",
    "a persistent id of another kind": b"\x80\x02" + b"".join(map(text, ("module", "a", "0", "cpu", "1"))) + b"tQ.",
    "a call of a format": b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.",
    "a call of a value": b"\x80\x02" + ODD + b")R)R.",
    "a call of a text": b"\x80\x02" + text("builtins.eval") + text("1") + b"\x85R.",
    "a call of a name from the memo": b"\x80\x02" + text("eval") + b"q\x05h\x05" + text("1") + b"\x85R.",
    "a state of a function": b"\x80\x02" + REBUILD + b"}b.",
    "a state of a list": b"\x80\x02]}b.",
    "a name with a dot": b"\x80\x02ctorch._utils\nsys.modules\n.",
    "a name with an escape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v\\x32\n.",
    "a name with a space": b"\x80\x02ctorch._utils _rebuild_tensor_v2\n\n.",
    "a name with a carriage return": b"\x80\x02ctorch._utils\r\n_rebuild_tensor_v2\n.",
    "a module of tensors": b"\x80\x02ctorch\nload\n.",
    "a memo of a mark": b"\x80\x02(q\x000h\x00.",
    "a value that was not made": b"\x80\x02h\x07.",
    "a mark that is missing": b"\x80\x02K\x01t.",
    "a value below a mark": b"\x80\x02" + ODD + b"(R.",
    "two pickles": b"\x80\x02}.\x80\x02cos\nsystem\n.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2) + b"}.",
    "a buffer": b"\x80\x05\x97.",
    "bytes with a pickle inside": b"\x80\x03C\x02}..",
    "a huge number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "an unknown instruction": b"\x80\x02\xff.",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_before_it_runs(name: str) -> None:
    with pytest.raises(Unsafe):
        check_pickle(ATTACKS[name])
    assert "more than tensors" in refused(with_pickle(ATTACKS[name]))


PARTS = [
    *(
        b"\x80\x02",
        b"(",
        b")",
        b"]",
        b"}",
        b"N",
        b"K\x01",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"a",
        b"e",
        b"s",
        b"u",
    ),
    *(b"t", b"\x85", b"\x86", b"\x87", b"R", b"b", b"Q", b"o", b"\x81", b"\x93", b"0", b"1", b"2", b"."),
    *(
        ODD,
        REBUILD,
        b"ctorch\nFloatStorage\n",
        b"ccopyreg\n_reconstructor\n",
        text("storage"),
        text("os"),
        text("system"),
    ),
]


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PARTS), max_size=14))
def test_what_passes_calls_nothing_else(parts: list[bytes]) -> None:
    """Python's own unpickler, which knows every instruction, calls only what is allowed in any pickle that passes."""
    pickled = b"".join(parts) + b"."
    try:
        check_pickle(pickled)
    except Unsafe:
        return
    called: list[str] = []

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return lambda *_: called.append(f"{module}.{name}")

        def persistent_load(self, pid: Any) -> Any:
            assert pid[0] == "storage"

    with suppress(Exception):
        Recorder(io.BytesIO(pickled)).load()
    assert set(called) <= CALLED


def test_pickles_of_python_are_refused() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert "not an archive" in refused(pickle.dumps(Bomb(), protocol))
        if protocol != 2:
            assert "more than tensors" in refused(saved({"x": Bomb()}, pickle_protocol=max(protocol, 1)))


def test_the_format_before_archives_is_refused() -> None:
    assert "not an archive" in refused(saved({"x": torch.ones(1)}, _use_new_zipfile_serialization=False))


# What is refused, by the archive


def test_another_file_in_the_archive_is_named() -> None:
    bomb = pickle.dumps(Bomb())
    for name in ("constants.pkl", "code__x.py", "data__x", "data__0__data.pkl", "..__data.pkl", "model.json"):
        assert "another file" in refused(with_pickle(b"\x80\x02}.", **{name: bomb}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_pickles_in_the_archive_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), 2))
    assert "more than once" in refused(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("other/data.pkl", pickle.dumps(Bomb(), 2))
    assert "another file" in refused(buffer.getvalue())


def test_a_second_archive_behind_the_first_changes_nothing() -> None:
    """Whether a reader looks for the table of contents from the front or from the back, it finds the same one."""
    good, bad = with_pickle(b"\x80\x02}."), saved({"x": Bomb()})
    assert "more than tensors" in refused(good + bad)
    assert "more than tensors" in refused(bad + good)
    comment = good[:-2] + struct.pack("<H", len(bad)) + bad
    assert "more than tensors" in refused(comment)


def test_a_compressed_archive_is_refused() -> None:
    """A few kilobytes could unpack to gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(10**7))
    assert len(buffer.getvalue()) < 20_000
    assert "is compressed" in refused(buffer.getvalue())


def test_long_instructions_are_refused() -> None:
    assert "bytes long" in refused(with_pickle(b"\x80\x02]" + b"K\x01a" * 2_000_000 + b"."))


def test_a_tensor_that_repeats_its_numbers_is_refused() -> None:
    assert "repeats" in refused(saved({"x": torch.ones(1).expand(10**9)}))


def test_a_storage_that_is_larger_than_its_file_is_refused() -> None:
    """Torch would read what the memory happens to have behind the file's numbers."""
    content = saved({"x": torch.arange(4.0)})
    assert content.count(b"K\x04t") == 1
    pickled = zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl")
    larger = pickled.replace(b"K\x04t", b"K\xfft")
    assert "more than its file" in refused(with_pickle(larger, data__0=bytes(16)))
    assert "more than its file" in refused(with_pickle(pickled))
    assert "storage" in refused(with_pickle(pickled.replace(b"K\x04t", b"Nt"), data__0=bytes(16)))


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"state": torch.ones(1), 5: torch.ones(1)}])
def test_what_is_not_a_dictionary_of_texts_is_told(content: object) -> None:
    if isinstance(content, dict):
        assert list(read(saved(content))) == ["state", "5"]
    else:
        assert "not a dictionary" in refused(saved(content))


def test_a_damaged_file_is_told() -> None:
    content = saved({"x": torch.ones(100)})
    for damaged in (content[:100], content[:-30], b"", content[:200] + bytes(100) + content[300:]):
        with pytest.raises(CatalogError):
            read(damaged)


def test_a_file_with_changed_bytes_is_read_or_refused() -> None:
    """Nothing else happens, and no other error is raised. 20,000 such files were tried once."""
    content, random = saved(torch.nn.Linear(3, 2).state_dict()), Random(0)
    for _ in range(500):
        changed = bytearray(content)
        for _ in range(random.choice([1, 2, 4])):
            place = random.choice([random.randrange(len(content)), random.randrange(300), -1 - random.randrange(700)])
            changed[place] = random.choice([0, 255, random.randrange(256)])
        with suppress(CatalogError):
            assert set(map(type, read(bytes(changed)).values())) <= {torch.Tensor}


def test_what_is_checked_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file becomes another one after it was checked."""
    path = tmp_path / "ae.pt"
    path.write_bytes(saved({"x": torch.ones(2)}))
    original = torch.serialization.load

    def later(*words: Any, **options: Any) -> Any:
        path.write_bytes(saved({"x": Bomb()}))
        return original(*words, **options)

    monkeypatch.setattr(torch.serialization, "load", later)
    assert torch.equal(load_tensors(path, "here", "convert it")["x"], torch.ones(2))


def test_the_second_barrier_is_up_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first one had a hole, torch's own unpickler would still refuse."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr("saecatalog.saes.tensor_files.check_pickle", lambda pickled: [])
    assert "cannot be read" in refused(saved({"x": Bomb()}))
