"""The harvest by workers: batches of windows flow in, shards flow out.

Each worker loads the model and the SAE once. It writes shards where all machines find them, and sends their names; or
sends them whole, if there is no such place. So it is with the store that they are merged into.
A shard that is made again, because a worker was lost, has the same windows, so none is counted twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from saecatalog.config import SubjectConfig
from saecatalog.engines import Engine, Threads
from saecatalog.harvest import Runners
from saecatalog.remote_subject import checked_subject
from saecatalog.shards import SHARD_TOKENS, Keys, Place, Shard, keys_in_turn, keys_of
from saecatalog.storage import Storage
from saecatalog.subject_info import SubjectInfo
from saecatalog.texts.windows import TokenizedTexts, Window

GROUPS = 8
"""If there is little to run, each worker gets at least this many groups of batches, so that all end together."""

LEAST_TOKENS = 1024
"""Tokens of a group, at least: each costs a message and a file."""


@dataclass(frozen=True)
class Job:
    """What all groups of batches share."""

    subject: SubjectConfig
    cache: Path
    info: SubjectInfo
    """The subject as this machine has it. A worker must have the same."""
    tokens: TokenizedTexts
    place: Place | None
    """Where workers write shards; None if they send them."""


@dataclass(frozen=True)
class RemoteHarvest:
    """Runs batches of windows on the workers of an engine."""

    engine: Engine
    subject: SubjectConfig
    cache: Path
    info: SubjectInfo

    @cached_property
    def writer(self) -> Engine:
        """Who writes the store: the workers, if they reach the cache."""
        return self.engine if self.engine.reaches(self.cache) else Threads()

    def _reached(self, place: Place) -> bool:
        """Whether workers can read and write shards in their place."""
        return isinstance(place, Storage) or self.writer is self.engine

    def run(self, place: Place, tokens: TokenizedTexts, batches: list[list[Window]]) -> Iterator[Shard]:
        job = Job(self.subject, self.cache, self.info, tokens, place if self._reached(place) else None)
        return self.engine.in_order(run_group, job, grouped(batches, self.engine.workers))

    def survey(self, place: Place, names: list[str]) -> Iterator[Keys | None]:
        """The keys of the windows in each shard. Where the workers reach them, they read and check them."""
        return self.engine.in_order(keys_of, place, names) if self._reached(place) else keys_in_turn(place, names)


def grouped(batches: list[list[Window]], workers: int) -> Iterator[list[list[Window]]]:
    """Consecutive batches, for a shard each."""
    total = sum(len(window) for batch in batches for window in batch)
    least = min(SHARD_TOKENS, max(LEAST_TOKENS, total // (GROUPS * workers)))
    group: list[list[Window]] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += sum(map(len, batch))
        if size >= least:
            yield group
            group, size = [], 0
    if group:
        yield group


def run_group(job: Job, batches: list[list[Window]]) -> Shard:
    """Run batches in this process."""
    subject = checked_subject(job.subject, job.cache, job.info)
    runners = Runners(subject, job.tokens, len(batches))
    shard = Shard.of(list(runners.run(batches, lambda n: None)))
    if job.place is None:
        return shard
    job.place.write(shard.name, shard.content)
    return Shard(shard.name, shard.keys, shard.n_tokens, b"")
