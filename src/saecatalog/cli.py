"""The command line: arguments flow in, one command runs, and its exit code flows out."""

import argparse
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from saecatalog import __version__
from saecatalog.commands import NAMES
from saecatalog.commands.output import fail
from saecatalog.errors import CatalogError
from saecatalog.write_errors import FULL, disk_full

NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

GOES_ON = "Stopped. The same command goes on where it stopped."


class Terminated(KeyboardInterrupt):
    """Raised by the signal SIGTERM, so that it cleans up as Ctrl-C does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 on success, 1 if a check found problems, 2 for a mistake in the input."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in NAMES and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "build")
    arguments = parser().parse_args(words)
    _calm_libraries(quiet=getattr(arguments, "quiet", False))
    try:
        with _terminable():
            return int(arguments.run(arguments))
    except CatalogError as error:
        return fail(str(error))
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough of it. What is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in FULL:
            return fail(str(disk_full(error)))
        if error.errno not in NO_ACCESS:
            raise
        what = f"This file cannot be used: {os.strerror(error.errno or 0)}."
        return fail(str(CatalogError(what, str(error.filename or error), "Allow it, or use another file.")))
    except KeyboardInterrupt as stop:
        return fail(GOES_ON, 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block by an exception; a second one does not break off the cleaning up."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _calm_libraries(quiet: bool) -> None:
    """Keep messages of the model libraries away from our own progress; download bars stay unless `quiet`.

    The libraries read these variables when they are imported, which happens later.
    """
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # Hides tqdm bars by default. Our own bars and download bars set `disable` themselves.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("transformer_lens").setLevel(logging.ERROR)
    logging.getLogger("sae_lens").setLevel(logging.ERROR)
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    program = program_name()
    top = argparse.ArgumentParser(
        prog=program,
        description="Build a browsable catalog of the features of a sparse autoencoder (SAE).",
        epilog=f"`build` is the default command: `{program}` builds catalog.toml into site/. Flags: build --help",
    )
    top.add_argument("--version", action="version", version=f"saecatalog {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name in NAMES:
        module = import_module(f"saecatalog.commands.{name.replace('-', '_')}")
        words = str(module.__doc__)
        command = commands.add_parser(
            name,
            help=words.partition("\n")[0],
            description=words,
            epilog=f"example: {program} {module.EXAMPLE}",
            formatter_class=argparse.RawTextHelpFormatter,
        )
        module.add(command)
        command.set_defaults(run=module.run)
    return top


def program_name() -> str:
    """How the program was started: `python build.py` in a checkout, `saecatalog` where it is installed."""
    return "python build.py" if Path(sys.argv[0]).name == "build.py" else "saecatalog"
