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
from typing import NoReturn

import shtab

from saecatalog import __version__
from saecatalog.commands import NAMES
from saecatalog.commands.output import fail
from saecatalog.errors import CatalogError
from saecatalog.program import COMMAND, program_name
from saecatalog.write_errors import FULL, disk_full

NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

ABOUT = ("-h", "--help", "--version", "--print-completion")
"""Flags that stand without a command."""

PATHS = ("DIR", "PATH")
"""What flags that take paths call their values."""

EXIT_CODES = {
    0: "done",
    1: "check, verify or doctor found a problem; list found nothing",
    2: "a mistake in the input, or something that the command needs is missing; the message says what to do",
    128 + signal.SIGINT: "stopped by Ctrl-C; the same command goes on where it stopped",
    128 + signal.SIGTERM: "stopped by the signal SIGTERM, likewise",
}
"""Every exit code and its meaning."""

GOES_ON = "Stopped. The same command goes on where it stopped."


class Terminated(KeyboardInterrupt):
    """Raised by the signal SIGTERM, so that it cleans up as Ctrl-C does."""


def run() -> NoReturn:
    """Run the command of this process and end it."""
    code = main()
    # Everything is done and said; a signal must not break off the end of the process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns one of EXIT_CODES."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in NAMES and words[0] not in ABOUT):
        words.insert(0, "build")
    # A script that completes is for the command that is installed.
    program = COMMAND if words[0] == "--print-completion" else program_name()
    arguments = parser(program).parse_args(words)
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


def parser(program: str = COMMAND) -> argparse.ArgumentParser:
    """The parser of every command; `program` is how the user starts the program."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    top = argparse.ArgumentParser(
        prog=program,
        description="Build a browsable catalog of the features of a sparse autoencoder (SAE).",
        epilog=f"`build` is the default command: `{program}` builds catalog.toml into site/. Flags: build --help\n\n"
        f"exit codes:\n{codes}",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"saecatalog {__version__}")
    shtab.add_argument_to(top, help="print a script that completes commands and flags in this shell")
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
        _complete_paths(command)
    return top


def _complete_paths(command: argparse.ArgumentParser) -> None:
    """Let shells complete paths where a command takes one."""
    for action in command._actions:
        if action.type is Path or action.metavar in PATHS:
            vars(action)["complete"] = shtab.FILE
