"""The one kind of error a user is meant to see: what is wrong, where, and what to do about it."""

from collections.abc import Iterable
from difflib import get_close_matches


class CatalogError(Exception):
    """A mistake in the input, the settings or the environment, told without a traceback (exit code 2).

    `what` is one sentence; `where` names the file, line, feature or setting; `fix` says what to do.
    """

    def __init__(self, what: str, where: str = "", fix: str = ""):
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  do:    {self.fix}")
        return "\n".join(lines)


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """ "Did you mean a, b or c?", or "" when nothing known is close."""
    close = get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else ""
