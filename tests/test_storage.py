"""Shared storage, on an S3-compatible server on this machine and in folders."""

import json
import os
import pickle
import random
from pathlib import Path

import pytest
from faults import between, through

from saecatalog.cache import CHECKSUMS, checksums, sealed
from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.progress import noticed_by
from saecatalog.shared_outputs import StoredOutputs
from saecatalog.storage import PART, Storage


@pytest.fixture(params=["folder", "s3", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage(request.getfixturevalue("s3"))
    return Storage(str(tmp_path / "new" / "folder") if request.param == "folder" else f"memory://{tmp_path}")


def test_what_was_written_is_read(storage: Storage, tmp_path: Path) -> None:
    assert storage.names() == []
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    large = os.urandom(200_000)
    storage.write("b", large)
    storage.write("a", b"")
    storage.write("a", b"again")
    (tmp_path / "source").write_bytes(large)
    storage.below("deep/er").upload(tmp_path / "source", "c")
    storage.below("deep").download("er/c", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == large
    assert {name: storage.read(name) for name in storage.names() if name != "deep"} == {"a": b"again", "b": large}
    copied = pickle.loads(pickle.dumps(storage))
    copied.remove("a")
    copied.remove("a")
    assert "a" not in storage.names()
    assert "b" in copied.names()
    storage.check()
    assert not [name for name in storage.names() if name.startswith("check-")]


def test_a_file_that_could_not_be_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder; the system accepts only part of it."""
    import resource

    monkeypatch.setattr("saecatalog.storage.PAUSE", 0)
    storage = Storage(str(tmp_path / "shared"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CatalogError, match="failed 7 times in a row"):
            storage.write("a", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "shared").iterdir()) == []


def test_half_written_files_of_others_are_not_seen(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    (tmp_path / f"a{PART}123").write_bytes(b"half")
    assert storage.names() == []


def test_a_server_that_fails_now_and_then(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third request fails, with a status or a closed connection."""
    monkeypatch.setattr("saecatalog.storage.PAUSE", 0.001)
    chance, failed = random.Random(3), []

    def fails(method: str, path: str) -> int | None:
        if chance.random() > 0.33:
            return None
        failed.append(method)
        return chance.choice([0, 500, 503])

    with between(s3_server, fails) as address:
        through(address, monkeypatch)
        storage = Storage(s3 + "/flaky")
        files = {f"file-{i}": os.urandom(1000 + i) for i in range(12)}
        for name, content in files.items():
            storage.write(name, content)
        assert storage.names() == sorted(files)
        assert {name: storage.read(name) for name in files} == files
    assert {"GET", "PUT"} <= set(failed)


def test_a_server_that_is_down_or_refuses_is_one_clear_error(
    s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saecatalog.storage.PAUSE", 0.001)
    with between(s3_server, lambda method, path: 403) as address:
        through(address, monkeypatch)
        with pytest.raises(CatalogError, match="does not permit") as refused:
            Storage(s3 + "/refused").check()
    assert refused.value.where == f"--storage {s3}/refused"
    through(s3_server, monkeypatch)
    with pytest.raises(CatalogError, match="does not exist"):
        Storage("s3://no-such-bucket-anywhere/x").check()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense://x/y", "not an address of storage"),
        ("gs://bucket/x", "package for this kind of storage is missing"),
    ],
)
def test_an_address_that_cannot_be_is_one_clear_error(address: str, words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        Storage(address).check()


def test_errors_do_not_tell_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CatalogError) as error:
        Storage(str(tmp_path / "file" / "below")).check()
    assert "cannot be used" in str(error.value)


@pytest.fixture
def outputs(storage: Storage, tmp_path: Path) -> StoredOutputs:
    """Shared outputs with one of two files."""
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "a.npy").write_bytes(os.urandom(1000))
    (made / "deep" / "b.json").write_text("{}")
    write_json(made / CHECKSUMS, sealed(checksums(made)))
    outputs = StoredOutputs(storage)
    outputs.add("stage", "key", made)
    return outputs


def test_an_output_is_fetched_as_it_was_made(outputs: StoredOutputs, tmp_path: Path) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    assert outputs.fetch("stage", "key", folder)
    assert checksums(folder) == checksums(tmp_path / "made")
    assert not outputs.fetch("stage", "other", folder)


@pytest.mark.parametrize("fault", ["damaged", "missing", "list", "elsewhere", "nonsense"])
def test_an_output_that_is_not_whole_is_not_taken(outputs: StoredOutputs, tmp_path: Path, fault: str) -> None:
    place, folder, said = outputs.storage.below("outputs/stage/key"), tmp_path / "to" / "fetched", list[str]()
    folder.mkdir(parents=True)
    listed = json.loads(place.read(CHECKSUMS))
    if fault == "damaged":
        place.write("a.npy", b"x" + place.read("a.npy")[1:])
    elif fault == "missing":
        place.remove("a.npy")
    elif fault == "list":
        listed["files"]["a.npy"] = "0" * 32
        place.write(CHECKSUMS, json.dumps(listed).encode())
    elif fault == "elsewhere":
        outputs.storage.below("outputs/stage").write("evil", b"evil")
        listed["files"]["../evil"] = checksum_of(b"evil", tmp_path)
        place.write(CHECKSUMS, json.dumps(sealed(listed["files"])).encode())
    else:
        place.write(CHECKSUMS, b"[1, 2")
    with noticed_by(said.append):
        assert not outputs.fetch("stage", "key", folder)
    assert not (tmp_path / "to" / "evil").exists()
    assert not (folder / CHECKSUMS).exists()
    assert len(said) == 1
    assert "is damaged; it is made again" in said[0]


def checksum_of(content: bytes, folder: Path) -> str:
    (folder / "content").write_bytes(content)
    return checksums(folder)["content"]
