"""The one error type meant for users: what is wrong, where, and what to do about it."""

from collections.abc import Iterable
from difflib import get_close_matches


class CatalogError(Exception):
    """A mistake in the input, the settings or the environment, reported without a traceback (exit code 2).

    `what` is one sentence; `where` names the file, line, feature or setting; `fix` says what to do.
    """

    def __init__(self, what: str, where: str = "", fix: str = ""):
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def line(self) -> str:
        """The error on one line, for a notice."""
        said = f"{self.where}: {self.what}" if self.where else self.what
        return f"{said} {self.fix}".strip()

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  do:    {self.fix}")
        return "\n".join(lines)


def closest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.5) -> list[str]:
    """The known names most similar to `name`, the closest first; case is ignored. A similarity of 1 means equal."""
    spelled = {word.lower(): word for word in known}
    return [spelled[word] for word in get_close_matches(name.lower(), spelled, n=count, cutoff=cutoff)]


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """ "Did you mean a or b or c?", or "" if no known name is close."""
    close = closest(name, known, count)
    return f"Did you mean {' or '.join(close)}?" if close else ""
