"""Failed writes are told with the folder and the flag that chooses another; other errors pass unchanged."""

import errno
import os
from pathlib import Path

import pytest

from saecatalog.errors import CatalogError
from saecatalog.write_errors import DISK_FULL, READ_ONLY, writing


def system_error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([str(path)] if path else []))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (system_error(errno.ENOSPC), DISK_FULL),
        (system_error(errno.EDQUOT), DISK_FULL),
        (system_error(errno.EFBIG), DISK_FULL),
        (OSError(errno.ENOSPC, "No space left on device", "elsewhere/from", None, "cache/to"), DISK_FULL),
        (OSError("1000 requested and 12 written"), DISK_FULL),
        (RuntimeError("I/O error: No space left on device (os error 28)"), DISK_FULL),
        (system_error(errno.EACCES, Path("cache/stage/x")), READ_ONLY),
        (system_error(errno.EROFS, Path("cache")), READ_ONLY),
        (system_error(errno.EACCES, Path()), READ_ONLY),
    ],
)
def test_a_failed_write_names_folder_and_flag(error: Exception, what: str) -> None:
    with pytest.raises(CatalogError) as caught, writing(Path("cache"), "--cache"):
        raise error
    assert (caught.value.what, caught.value.where) == (what, "cache")
    assert "--cache" in caught.value.fix


@pytest.mark.parametrize(
    "error",
    [
        system_error(errno.EACCES, Path("corpus/a.txt")),
        system_error(errno.ENOENT, Path("cache/x")),
        ValueError("a mistake of the program"),
        CatalogError("What.", "where", "Fix."),
    ],
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing(Path("cache"), "--cache"):
        raise error
    assert caught.value is error


def test_a_full_disk_elsewhere_is_not_the_folder_s(tmp_path: Path) -> None:
    def fail() -> None:
        with writing(tmp_path / "cache", "--cache"):
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "hub" / "blob"))

    with pytest.raises(CatalogError) as caught:
        fail()
    assert str(tmp_path / "hub" / "blob") in str(caught.value)
    assert "--cache" not in str(caught.value)
