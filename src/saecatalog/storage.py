"""Shared storage: files under an address that fsspec knows, such as s3://bucket/folder or a folder of a network.

Names and bytes flow in and out. A file is there whole or not at all. An operation that fails is tried again, because
storage on a network fails now and then.
"""

import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from saecatalog.errors import CatalogError

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}
"""Protocols with which a file appears once all of it has arrived. With others it is renamed when it is complete."""

TRIES = 7
PAUSE = 0.1
"""Seconds before the second try; each later pause is twice as long, 6 seconds in all."""

FINAL = PermissionError, IsADirectoryError, NotADirectoryError, FileNotFoundError
"""Errors that another try does not change."""

PART = ".part-"
"""In the name of a file that is being written."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Storage:
    """The files below an address. It can be pickled: each process makes a connection of its own."""

    address: str

    def below(self, name: str) -> "Storage":
        """The files of a folder."""
        return Storage(f"{self.address.rstrip('/')}/{name}")

    @cached_property
    def _connection(self) -> tuple[Any, str]:
        """The file system and the path of the address in it."""
        # Imported late: only builds with shared storage need it.
        from fsspec.core import url_to_fs

        try:
            # Listings are not kept, because other processes write too.
            system, path = url_to_fs(self.address, use_listings_cache=False)
        except ImportError as error:
            raise self._error("A package for this kind of storage is missing.", f"Install it: {error}") from error
        except ValueError as error:
            raise self._error("This is not an address of storage.", f"{error}.") from error
        return system, str(path).rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"address": self.address}

    def names(self) -> list[str]:
        """The names of the finished files directly in this folder, sorted; none if there is no folder."""
        system, root = self._connection

        def listed() -> list[str]:
            try:
                return [str(path).rpartition("/")[2] for path in system.ls(root, detail=False)]
            except FileNotFoundError:
                return []

        return sorted(name for name in self._tried(listed) if PART not in name and name)

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError if there is none."""
        system, root = self._connection
        content: bytes = self._found(lambda: system.cat_file(f"{root}/{name}"))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, completely or not at all."""
        system, _ = self._connection
        self._put(name, lambda path: system.pipe_file(path, content))

    def upload(self, source: Path, name: str) -> None:
        """Write a file that may not fit into memory, completely or not at all."""
        system, _ = self._connection
        self._put(name, lambda path: system.put_file(str(source), path))

    def download(self, name: str, target: Path) -> None:
        """Copy a file into a local one; raises FileNotFoundError if there is none."""
        system, root = self._connection
        self._found(lambda: system.get_file(f"{root}/{name}", str(target)))

    def _put(self, name: str, put: Callable[[str], object]) -> None:
        system, root = self._connection
        path = f"{root}/{name}"

        def renamed() -> None:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            part = f"{path}{PART}{uuid.uuid4().hex}"
            try:
                put(part)
                system.mv(part, path)
            except BaseException:
                with suppress(OSError):
                    system.rm_file(part)
                raise

        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        self._tried((lambda: put(path)) if protocols & OBJECT_STORES else renamed)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        system, root = self._connection

        def gone() -> None:
            try:
                system.rm_file(f"{root}/{name}")
            except FileNotFoundError:
                return

        self._tried(gone)

    def used(self, name: str) -> None:
        """Nothing: files of shared storage are the user's to remove."""

    def check(self) -> None:
        """Raise CatalogError if files cannot be written, read and removed here."""
        name, content = f"check-{uuid.uuid4().hex}", b"written by saecatalog"
        self.write(name, content)
        if self.read(name) != content:
            raise self._error("This storage does not return what was written.", "Use another --storage.")
        self.remove(name)

    def _found(self, read: Callable[[], Result]) -> Result:
        """The result of reading a file, tried several times; raises FileNotFoundError if there is none."""
        missing: list[FileNotFoundError] = []

        def act() -> Result | None:
            try:
                return read()
            except FileNotFoundError as error:
                missing.append(error)
                return None

        result = self._tried(act)
        if missing:
            raise missing[0]
        return cast(Result, result)

    def _tried(self, act: Callable[[], Result]) -> Result:
        """The result of an operation, tried several times."""
        for attempt in range(TRIES):
            try:
                return act()
            except FINAL as error:
                raise self._refused(error) from error
            # Libraries of storage raise errors of their own, which have no class in common.
            except Exception as error:
                if attempt == TRIES - 1:
                    what = f"This storage failed {TRIES} times in a row: {_said(error)}"
                    raise self._error(what, "Run the command again when it answers.") from error
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError

    def _refused(self, error: OSError) -> CatalogError:
        if isinstance(error, PermissionError):
            return self._error(
                f"This storage does not permit it: {_said(error)}", "Allow reading, writing and listing."
            )
        if isinstance(error, FileNotFoundError):
            return self._error(f"This storage does not exist: {_said(error)}", "Make the bucket or folder.")
        return self._error(f"This storage cannot be used: {_said(error)}", "Use another --storage.")

    def _error(self, what: str, fix: str) -> CatalogError:
        return CatalogError(what, f"--storage {self.address}", fix)


def _said(error: Exception) -> str:
    """The first line of an error, without the secrets that addresses may hold."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"//[^/@\s]+@", "//", line)
