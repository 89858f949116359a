"""The model hub: clear errors for failed downloads, and an immediate error if there is no network.

`huggingface_hub` tries a request six times over 23 s and prints two lines each time. That suits a busy server, so its
retries stay. A missing network is detected here, before the first request.
"""

import hashlib
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.request import getproxies

from saecatalog.errors import CatalogError

TRIES, PAUSE, PATIENCE = 3, 0.5, 1.5
"""Attempts to reach the hub's host, seconds between attempts, and seconds until an attempt times out."""

UNREACHABLE = {
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "ConnectionError",
    "MaxRetryError",
    "ProxyError",
    "gaierror",
}
"""Names of the errors by which the libraries (httpx, requests, urllib3) report a failed connection."""

OFFLINE_FIX = "Connect to the internet once (files are cached), or build the default catalog, which needs no hub."


class Url(Protocol):
    """The parts of httpx's URL that are used here."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...


class Request(Protocol):
    """The part of httpx's request that is used here."""

    @property
    def url(self) -> Url: ...


@contextmanager
def hub_errors(what: str, where: str, hint: str = "") -> Iterator[None]:
    """Turn the many errors of a failed download into one clear CatalogError, immediately if there is no network."""
    _notice_missing_network()
    try:
        yield
    except Exception as error:
        why = reason(error)
        if why is None:
            raise
        if why == "unknown":
            raise CatalogError(
                f"The model hub has no {what} of this name.", where, hint or "Check the name."
            ) from error
        raise CatalogError(f"The model hub cannot be reached to load the {what}.", where, OFFLINE_FIX) from error


def _notice_missing_network() -> None:
    """Make every request of `huggingface_hub` check first that its host answers."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks
    if require_network not in hooks["request"]:
        get_session().event_hooks = {**hooks, "request": [*hooks["request"], require_network]}


def require_network(request: Request) -> None:
    """Raise OfflineModeIsEnabled if the host of a request does not answer; cached files are then used, if any.

    Behind a proxy nothing is checked, because the host may not be directly reachable there.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    url = request.url
    port = url.port or (80 if url.scheme == "http" else 443)
    if not getproxies() and not _answers(url.host, port):
        raise OfflineModeIsEnabled(f"Cannot reach {url.host}.")


@cache
def _answers(host: str, port: int) -> bool:
    """Whether a connection can be opened in one of a few attempts, because a network may drop one or two."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
            return True
        except OSError:
            continue
    return False


def reason(error: BaseException) -> str | None:
    """`unknown`, `unreachable`, or None if the error has nothing to do with the hub."""
    from huggingface_hub import errors as hub

    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    names = {type(e).__name__ for e in chain}
    if any(isinstance(e, hub.OfflineModeIsEnabled | hub.LocalEntryNotFoundError) for e in chain) or names & UNREACHABLE:
        return "unreachable"
    if any(isinstance(e, hub.RepositoryNotFoundError | hub.EntryNotFoundError | hub.HFValidationError) for e in chain):
        return "unknown"
    if any(isinstance(e, OSError) and "connect" in str(e).lower() for e in chain):
        return "unreachable"
    return "unknown" if any(isinstance(e, OSError) and "not a valid model" in str(e) for e in chain) else None


def hub_places(repository: str, folder: str = "") -> list[Path]:
    """Where the downloaded files of a repository, or of a folder in it, are; and the file that names their revision.

    Only the latter, which does not exist, if nothing was downloaded in the usual way.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    kept = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    revision = kept / "refs" / "main"
    if not revision.is_file():
        return [revision]
    snapshot = kept / "snapshots" / revision.read_text(encoding="utf-8").strip() / folder
    return [revision, snapshot if snapshot.is_dir() else snapshot.parent]


def check_downloads(places: Iterable[Path]) -> None:
    """Raise CatalogError if a downloaded file is not what the hub sent.

    `huggingface_hub` keeps a file under its hash: SHA-256 for large files, and git's for others. Other files pass.
    """
    for place in places:
        for path in place.iterdir() if place.is_dir() else ():
            blob = path.resolve()
            if path.is_symlink() and blob.parent.name == "blobs" and not _is_whole(blob):
                fix = "Delete this file; it is then downloaded again."
                raise CatalogError(f"The downloaded file {path.name} is damaged.", str(blob), fix)


def _is_whole(blob: Path) -> bool:
    """Whether a file has the hash that is its name; true if the name is no hash."""
    if len(blob.name) == 64:
        with blob.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    if len(blob.name) == 40:
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == blob.name
    return True
