"""What all commands print in one way."""

import sys


def fail(message: str, code: int = 2) -> int:
    """Print an error. Returns the exit code of a mistake in the input, or `code`."""
    print(f"error: {message}", file=sys.stderr)
    return code
