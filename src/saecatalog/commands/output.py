"""What all commands print in one way."""

import json
import sys


def fail(message: str, code: int = 2) -> int:
    """Print an error. Returns the exit code of a mistake in the input, or `code`."""
    print(f"error: {message}", file=sys.stderr)
    return code


def print_json(value: object) -> None:
    """Print a result for other programs, as the only output on standard output."""
    print(json.dumps(value, indent=1))
