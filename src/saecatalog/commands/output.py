"""What all commands print in one way."""

import sys
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pandas as pd


def fail(message: str, code: int = 2) -> int:
    """Print an error. Returns the exit code of a mistake in the input, or `code`."""
    print(f"error: {message}", file=sys.stderr)
    return code


def print_json(value: object) -> None:
    """Print a result for other programs, as the only output on standard output; numbers that JSON lacks become null."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a table by the names of the columns, as plain Python values."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
