"""Pipelines of the library: settings flow in, checked; a pipeline flows out that tidies up when nobody needs it."""

import weakref
from collections.abc import Iterable, Mapping

from saecatalog.config import SECTIONS, Config
from saecatalog.errors import CatalogError, nearest
from saecatalog.pipeline import Given, Pipeline
from saecatalog.progress import Progress

FEW = 20
"""Names that an error lists in full."""


def open_pipeline(config: Config, progress: Progress, given: Given | None = None) -> Pipeline:
    """A pipeline whose temporary files are removed when it is no longer used, at the latest when Python ends."""
    pipeline = Pipeline(config, progress, given)
    weakref.finalize(pipeline, pipeline.cache.close)
    return pipeline


def checked_settings(section: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Settings of a section of a catalog file; raises CatalogError for one that it does not have."""
    known = SECTIONS[section].__dataclass_fields__
    for name in settings:
        if name not in known:
            hint = nearest(name, known) or f"Known: {', '.join(known)}."
            raise CatalogError(f"There is no setting '{name}' in the section [{section}].", f"{name}=...", hint)
    # As in a file, where lists are written for sequences.
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def known(name: str, names: Iterable[str], what: str) -> str:
    """A name that is known; raises CatalogError for any other, with the nearest ones."""
    there = list(names)
    if name not in there:
        few = f"Known: {', '.join(there)}." if len(there) <= FEW else f"None of the {len(there):,} names is close."
        raise CatalogError(f"There is no {what} '{name}'.", f"{what} '{name}'", nearest(name, there) or few)
    return name


def check_count(n: int) -> None:
    """Raise CatalogError for a number of rows that is not above 0."""
    if n < 1:
        raise CatalogError("There is nothing to show.", f"n={n}", "Use a whole number, 1 or more.")
