"""The harvest by workers: batches of windows flow in, shards flow out.

Each worker loads the model and the SAE once. It writes shards where all machines find them, and sends their names; or
sends them whole, if there is no such place. So it is with the store that they are merged into.
A shard that is made again, because a worker was lost, has the same windows, so none is counted twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.engines import Engine, Threads
from saecatalog.errors import CatalogError
from saecatalog.harvest import Runners
from saecatalog.shards import SHARD_TOKENS, Keys, Place, Shard, keys_in_turn, keys_of
from saecatalog.storage import Storage
from saecatalog.subject_info import SubjectFacts, SubjectInfo
from saecatalog.texts.windows import TokenizedTexts, Window

if TYPE_CHECKING:
    from saecatalog.subject import Subject

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
    subject = _subject(job.subject, job.cache)
    _check(subject.info, job.info)
    runners = Runners(subject, job.tokens, len(batches))
    shard = Shard.of(list(runners.run(batches, lambda n: None)))
    if job.place is None:
        return shard
    job.place.write(shard.name, shard.content)
    return Shard(shard.name, shard.keys, shard.n_tokens, b"")


@lru_cache(1)
def _subject(config: SubjectConfig, cache: Path) -> "Subject":
    """The model and the SAE, loaded once in this process."""
    from saecatalog.subject import load_subject

    with Cache(cache) as opened:
        return load_subject(config, opened)


def _check(found: SubjectInfo, wanted: SubjectInfo) -> None:
    """Raise CatalogError if a worker's model or SAE is not that of the machine that builds."""
    different = [f.name for f in fields(SubjectFacts) if getattr(found, f.name) != getattr(wanted, f.name)]
    if not different:
        return
    if different == ["device"]:
        what = (
            f"The workers run the model on {found.device}, this machine on {wanted.device}, which rounds differently."
        )
        fix = "Build on a machine like the workers, give each a GPU with --gpus-per-worker 1, or use --device cpu."
        raise CatalogError(what, f"--device {wanted.device}", fix)
    what = f"The workers load another model or SAE than this machine: different {', '.join(different)}."
    raise CatalogError(what, f"--sae {wanted.sae_name}", "Give all machines the same files.")
