"""Divides pages among processes: a writer and the keys of pages flow in, the number of pages in each part flows out.

A few pages are written by this process, many by several processes of this machine or, if those are more, by the workers
of an engine. A page depends on the tables alone, so the files are the same however the work is divided.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from uuid import uuid4

from saecatalog.engines import Engine, Threads
from saecatalog.processes import worker_processes
from saecatalog.site.catalog import Catalog
from saecatalog.site.writer import Writer, write_whole
from saecatalog.tables import Tables


class Bar(Protocol):
    """The interface of a progress bar; tqdm's has it."""

    def update(self, n: int = 1) -> object: ...
    def close(self) -> object: ...


Progress = Callable[[str, int], Bar]

POOL_FROM = 2000
"""With fewer pages of features and texts, starting worker processes takes longer than writing the pages."""

Make = Callable[[Writer, Sequence[Any]], Iterator[None]]
"""Writes the pages of one kind for the given keys, and yields after each page. It is a function of a module."""


@dataclass(frozen=True)
class Part:
    """Some pages of one kind."""

    make: Make
    keys: Sequence[Any]


@dataclass(frozen=True)
class Job:
    """What a process needs to write pages of one catalog. Paths are absolute: it may have another working folder."""

    tables: Path
    manifest: str
    """As JSON."""
    templates: Path
    out: Path
    only: frozenset[str] | None
    scratch: Path | None = None
    """Where workers of an engine write each file before it comes to its place; a new folder for each job."""


@contextmanager
def written(
    job: Job,
    writer: Writer,
    kinds: Mapping[str, Sequence[Part]],
    processes: int | None = None,
    engine: Callable[[], Engine] | None = None,
) -> Iterator[Mapping[str, Iterator[int]]]:
    """For each kind of page, numbers of pages as they are written, whose sum is the number of pages of this kind.

    They are taken within the block, one kind after the other. `writer` is this process's for the same job. There are
    `processes` processes (default: one per core), which begin at once. `engine` is called if workers may be of use.
    """
    parts = [part for of_kind in kinds.values() for part in of_kind]
    with _elsewhere(job, parts, processes or os.cpu_count() or 1, engine) as numbers:
        if numbers is None:
            yield {kind: _one_by_one(writer, of_kind) for kind, of_kind in kinds.items()}
        else:
            yield {kind: islice(numbers, len(of_kind)) for kind, of_kind in kinds.items()}


def count(pages: Iterable[int], words: str, total: int, progress: Progress | None) -> int:
    """Count the pages as they are written."""
    bar = progress(words, total) if progress and total else None
    done = 0
    for number in pages:
        done += number
        if bar:
            bar.update(number)
    if bar:
        bar.close()
    return done


def _one_by_one(writer: Writer, parts: Sequence[Part]) -> Iterator[int]:
    """Write the pages in this process."""
    return (1 for part in parts for _ in part.make(writer, part.keys))


@contextmanager
def _elsewhere(
    job: Job, parts: Sequence[Part], processes: int, engine: Callable[[], Engine] | None
) -> Iterator[Iterator[int] | None]:
    """The number of pages in each part, written by others; None if starting these takes longer than they would save."""
    if sum(len(part.keys) for part in parts) < POOL_FROM:
        yield None
    elif (workers := _workers(job, len(parts), processes, engine)) is not None:
        with _shared(job) as shared:
            yield workers.in_order(write_part, shared, parts)
    elif processes > 1:
        with worker_processes(processes) as pool:
            yield pool.map(partial(write_part, job), parts)
    else:
        yield None


def _workers(job: Job, parts: int, processes: int, engine: Callable[[], Engine] | None) -> Engine | None:
    """The engine, if its workers can write the files and if more of them are of use than there are processes here."""
    if engine is None or parts <= processes:
        return None
    found = engine()
    if isinstance(found, Threads) or found.workers <= processes:
        return None
    job.out.mkdir(parents=True, exist_ok=True)
    return found if all(found.reaches(folder) for folder in (job.tables, job.out)) else None


@contextmanager
def _shared(job: Job) -> Iterator[Job]:
    """The job for workers that reach the tables and the output: the templates may be on this machine alone."""
    with TemporaryDirectory(dir=job.out) as name:
        scratch = Path(name)
        yield replace(job, templates=shutil.copytree(job.templates, scratch / "templates"), scratch=scratch)


def write_part(job: Job, part: Part) -> int:
    """Write some pages in this process, which may be anywhere; returns how many."""
    return sum(1 for _ in part.make(_open(job), part.keys))


@lru_cache(1)
def _open(job: Job) -> Writer:
    """The writer of a job, cached so that a process keeps what it has read for the next part."""
    put = write_whole if job.scratch is None else partial(_put, job.scratch / uuid4().hex)
    return Writer(Catalog(Tables(job.tables), json.loads(job.manifest)), job.templates, job.out, job.only, put)


def _put(own: Path, path: str, content: bytes) -> None:
    """Write a file that is whole at every moment, by way of a file that only this process writes.

    A worker that is ended may leave a part of a file, and one that was taken for lost may still be writing.
    """
    write_whole(own, content)
    os.replace(own, path)
