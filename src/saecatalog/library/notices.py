"""Notices of the program become Python warnings, because a library prints nothing."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from saecatalog.progress import noticed_by


class CatalogWarning(UserWarning):
    """What a user has to know: the command line prints it on standard error."""


@contextmanager
def notices_as_warnings() -> Iterator[None]:
    """Inside the block, a notice is a `CatalogWarning`."""
    with noticed_by(lambda line: warnings.warn(line, CatalogWarning, stacklevel=2)):
        yield
