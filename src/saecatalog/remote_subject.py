"""The subject on other machines: calls that need the model and the SAE flow in, their results flow out in order.

Each worker loads the model and the SAE once, from its own files, and proves that they are those of the machine that
builds.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.engines import Engine
from saecatalog.errors import CatalogError
from saecatalog.subject import Subject, load_subject
from saecatalog.subject_info import SubjectFacts, SubjectInfo

Tool = TypeVar("Tool")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteSubject:
    """A subject that the workers of an engine load."""

    engine: Engine
    config: SubjectConfig
    """With paths that do not depend on the folder of a process."""
    cache: Path
    info: SubjectInfo
    """The subject as this machine has it. A worker must have the same."""

    def in_order(
        self,
        make: Callable[..., Tool],
        shared: tuple[Any, ...],
        work: Callable[[Tool, Item], Result],
        items: Iterable[Item],
    ) -> Iterator[Result]:
        """`work(make(subject, *shared), item)` for every item, in the order of the items.

        A worker calls `make` once and keeps what it returns until it gets other work. `make` and `work` are functions
        of modules, classes or their methods; all else is as for an `Engine`.
        """
        return self.engine.in_order(_call, Job(self.config, self.cache, self.info, make, shared, work), items)


@dataclass(frozen=True)
class Job(Generic[Tool, Item, Result]):
    """What all calls share."""

    config: SubjectConfig
    cache: Path
    info: SubjectInfo
    make: Callable[..., Tool]
    shared: tuple[Any, ...]
    work: Callable[[Tool, Item], Result]

    @cached_property
    def tool(self) -> Tool:
        """Made in a worker, and released there with the job."""
        return self.make(checked_subject(self.config, self.cache, self.info), *self.shared)


_turn = threading.Lock()
"""One call at a time in a process: models keep state during a pass."""


def _call(job: Job[Tool, Item, Result], item: Item) -> Result:
    with _turn:
        return job.work(job.tool, item)


def checked_subject(config: SubjectConfig, cache: Path, wanted: SubjectInfo) -> Subject:
    """The model and the SAE, loaded once in this process. Raises CatalogError unless they are the wanted ones."""
    subject = _loaded(config, cache)
    _check(subject.info, wanted)
    return subject


@lru_cache(1)
def _loaded(config: SubjectConfig, cache: Path) -> Subject:
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
