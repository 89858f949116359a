"""The command line: arguments flow in, one command runs, and its exit code flows out."""

import argparse
import errno
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog import __version__
from saecatalog.config import (
    DTYPES,
    TEXT_SCORES,
    AnalysisConfig,
    Config,
    CorpusConfig,
    SiteConfig,
    SubjectConfig,
    load_config,
    override,
)
from saecatalog.errors import CatalogError, nearest
from saecatalog.formats.known import FORMATS
from saecatalog.progress import Progress
from saecatalog.write_errors import FULL, disk_full

if TYPE_CHECKING:
    from saecatalog.sae_listing import Listed

DEFAULT_CATALOG = Path("catalog.toml")
PORT = 8000
SAMPLE = 20
DAY = 86_400
"""Seconds."""

NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

GOES_ON = "Stopped. The same command goes on where it stopped."


class Terminated(KeyboardInterrupt):
    """Raised by the signal SIGTERM, so that it cleans up as Ctrl-C does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 on success, 1 if a check found problems, 2 for a mistake in the input."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "build")
    arguments = parser().parse_args(words)
    _calm_libraries(quiet=getattr(arguments, "quiet", False))
    try:
        with _terminable():
            return int(arguments.run(arguments))
    except CatalogError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough of it. What is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in FULL:
            return _fail(str(disk_full(error)))
        if error.errno not in NO_ACCESS:
            raise
        what = f"This file cannot be used: {os.strerror(error.errno or 0)}."
        return _fail(str(CatalogError(what, str(error.filename or error), "Allow it, or use another file.")))
    except KeyboardInterrupt as stop:
        return _fail(GOES_ON, 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


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


def _fail(message: str, code: int = 2) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


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
    top = argparse.ArgumentParser(
        prog="build.py",
        description="Build a browsable catalog of the features of a sparse autoencoder (SAE).",
        epilog="`build` is the default command: `python build.py` builds catalog.toml into site/. Flags: build --help",
    )
    top.add_argument("--version", action="version", version=f"saecatalog {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (run, add, words, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=words.partition("\n")[0],
            description=words,
            epilog=f"example: {example}",
            formatter_class=argparse.RawTextHelpFormatter,
        )
        add(command)
        command.set_defaults(run=run)
    return top


def _add_subject(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("model and SAE")
    g.add_argument(
        "--model", metavar="M", help="language model, name or folder; default: the one the SAE was trained on"
    )
    g.add_argument(
        "--sae", metavar="SAE", help="name from `list`, Hub owner/repository/folder, or folder saved by sae_lens"
    )
    g.add_argument("--device", metavar="D", help=f"auto, cpu, cuda, cuda:1 or mps; default: {SubjectConfig.device}")
    g.add_argument("--dtype", choices=DTYPES, help=f"number format of the model; default: {SubjectConfig.dtype}")
    g.add_argument("--batch-tokens", metavar="N", type=int, help="tokens run at once: affects speed and memory only")
    g.add_argument(
        "--context", metavar="N", type=int, help="tokens run as one context, BOS included; default: that of the SAE"
    )
    g.add_argument(
        "--overlap",
        metavar="N",
        type=int,
        help="tokens that each window of a long text takes over from the one before it, as context; default: 0",
    )
    _add_trust(g)
    _add_cache(p)
    p.add_argument("--quiet", action="store_true", help="show no progress")


def _add_trust(p: argparse._ActionsContainer) -> None:
    p.add_argument(
        "--trust-remote-code",
        action="store_const",
        const=True,
        help="run Python files that come with the model named by --model; without this, such a model is refused",
    )


def _add_special_tokens(p: argparse._ActionsContainer) -> None:
    p.add_argument(
        "--special-tokens",
        action="store_const",
        const=True,
        help="names of special tokens in the texts, such as <|im_start|>, stand for these tokens",
    )


def _add_cache(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--cache", metavar="DIR", type=Path, help="models and cached results; default: your user cache folder"
    )


def _add_corpus(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("texts")
    g.add_argument(
        "--corpus",
        metavar="PATH",
        nargs="+",
        help="files and folders (each entry of a folder is a category), - for standard input,\n"
        "or a dataset on the hub, hf:OWNER/NAME[:CONFIG[:SPLIT]]",
    )
    g.add_argument(
        "--corpus-format",
        choices=("auto", *FORMATS),
        help=f"format of files; default: {CorpusConfig.format} (by name)",
    )
    g.add_argument("--corpus-name", metavar="NAME", help="name of the corpus; default: made from the paths")
    g.add_argument(
        "--text-field", metavar="F", help=f"field of a record with the text; default: {CorpusConfig.text_field}"
    )
    g.add_argument(
        "--category-field", metavar="F", help=f"field with the category; default: {CorpusConfig.category_field}"
    )
    _add_special_tokens(g)
    g.add_argument(
        "--concepts", metavar="DIR", help=f"folder with one file of texts per concept; default: {CorpusConfig.concepts}"
    )
    g.add_argument("--limit-tokens", metavar="N", type=int, help="use about N tokens, spread over the categories")
    g.add_argument(
        "--seed", metavar="N", type=int, help=f"which sample --limit-tokens takes; default: {CorpusConfig.seed}"
    )
    g = p.add_argument_group("analysis")
    g.add_argument(
        "--text-score", choices=TEXT_SCORES, help=f"a feature's score on a text; default: {AnalysisConfig.text_score}"
    )
    g.add_argument(
        "--strong",
        metavar="X",
        type=float,
        help="a score above X is strong; default: the 90th percentile of non-zero scores",
    )
    g.add_argument("--top", metavar="N", type=int, help=f"entries in each ranking; default: {AnalysisConfig.top}")


def _add_build(p: argparse.ArgumentParser) -> None:
    _add_catalog(p)
    _add_subject(p)
    _add_corpus(p)
    g = p.add_argument_group("site")
    g.add_argument("--out", metavar="DIR", help=f"folder of the site; default: {SiteConfig.out}")
    g.add_argument(
        "--features",
        metavar="WHICH",
        help=f"which features get a page: notable, all, or 1,2,3; default: {SiteConfig.features}",
    )
    g.add_argument(
        "--notable", metavar="N", type=int, help=f"number of notable features; default: {AnalysisConfig.notable}"
    )
    g.add_argument("--notes", metavar="DIR", help="folder of Markdown notes; default: `notes` beside the settings file")
    g.add_argument("--title", metavar="WORDS", help="title of the catalog; default: made from the model and the SAE")
    g.add_argument("--base-url", metavar="URL", help="address the site will have, for canonical links and citations")
    g.add_argument("--csv", action="store_const", const=True, help="also write the data files as CSV")
    g.add_argument(
        "--live", action=argparse.BooleanOptionalAction, help="let readers run the model on a text of their own"
    )
    g.add_argument(
        "--live-limit-mb",
        metavar="MB",
        type=float,
        help=f"the most megabytes that this may take; default: {SiteConfig.live_limit_mb:g}",
    )


def _add_catalog(p: argparse.ArgumentParser) -> None:
    p.add_argument("catalog", nargs="?", type=Path, metavar="CATALOG.toml", help="settings file; default: catalog.toml")


def _add_explore(p: argparse.ArgumentParser) -> None:
    p.add_argument("feature", type=int, help="index of the feature in the dictionary")
    p.add_argument("--text", action="append", default=[], help="text to run; can be repeated")
    p.add_argument("--file", type=Path, metavar="F", help="file of texts, in any corpus format")
    _add_special_tokens(p)
    _add_subject(p)


def _add_concept(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="texts that share a concept, one per line")
    p.add_argument(
        "--catalog",
        type=Path,
        metavar="CATALOG.toml",
        help="settings file of the corpus to compare with; default: catalog.toml",
    )
    _add_subject(p)
    _add_corpus(p)


def _add_list(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "word",
        nargs="?",
        default="",
        metavar="WORD",
        help="show only SAEs whose name, model or Neuronpedia id contains WORD",
    )
    p.add_argument("--support", action="store_true", help="count the SAEs that can be built, and the others by reason")
    p.add_argument("--markdown", action="store_true", help="print these counts as the page docs/support.md")
    _add_cache(p)


def _add_site(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "site", nargs="?", type=Path, default=Path("site"), metavar="SITE", help="folder of a built site; default: site"
    )


def _add_verify(p: argparse.ArgumentParser) -> None:
    p.add_argument("site", type=Path, metavar="SITE", help="folder of a built site, or of one of its catalogs")
    p.add_argument(
        "--sample",
        metavar="N",
        type=int,
        default=SAMPLE,
        help=f"number of features to recompute in full; default: {SAMPLE}",
    )
    p.add_argument("--model", metavar="M", help="location of the model, if it differs from the manifest")
    p.add_argument("--sae", metavar="RELEASE/ID", help="location of the SAE, if it differs from the manifest")
    _add_trust(p)
    p.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="folder with the default model; default: your user cache folder",
    )
    p.add_argument("--quiet", action="store_true", help="show no progress")


def _add_serve(p: argparse.ArgumentParser) -> None:
    _add_site(p)
    p.add_argument("--port", type=int, default=PORT, help=f"port; default: {PORT}")


def _add_clean(p: argparse.ArgumentParser) -> None:
    _add_cache(p)
    p.add_argument(
        "--older-than", metavar="DAYS", type=_amount(float), help="remove only what was not used for so long"
    )
    p.add_argument(
        "--keep",
        metavar="N",
        type=_amount(int),
        default=0,
        help="keep the N last used results of each stage; default: 0",
    )


def _amount(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A parser of numbers that are not negative."""

    def amount(word: str) -> float:
        if not 0 <= kind(word) < float("inf"):
            raise ValueError(word)
        return kind(word)

    return amount


def _add_fetch(p: argparse.ArgumentParser) -> None:
    _add_cache(p)


def _config(a: argparse.Namespace) -> Config:
    """The settings of the catalog file, overridden by the flags."""
    path = getattr(a, "catalog", None)
    if path and not path.exists() and path.suffix != ".toml":
        hint = nearest(str(path), COMMANDS) or "Commands: " + ", ".join(COMMANDS) + "."
        raise CatalogError("This is neither a command nor an existing catalog file.", str(path), hint)
    if path is None and DEFAULT_CATALOG.exists():
        path = DEFAULT_CATALOG
    config = load_config(path) if path else Config()

    def get(name: str) -> Any:
        return getattr(a, name, None)

    if get("model") is None and get("sae") is not None:
        config = replace(config, subject=replace(config.subject, model=None))
    names = ("model", "sae", "device", "dtype", "context", "overlap", "batch_tokens", "trust_remote_code")
    config = override(config, "subject", **{n: get(n) for n in names})
    if get("corpus"):
        # The name in the catalog file is that of its own texts.
        config = replace(config, corpus=replace(config.corpus, name=""))
    config = override(
        config, "corpus", paths=get("corpus") and tuple(get("corpus")), format=get("corpus_format"),
        concepts=get("concepts"), limit_tokens=get("limit_tokens"), name=get("corpus_name"), seed=get("seed"),
        text_field=get("text_field"), category_field=get("category_field"), special_tokens=get("special_tokens"),
    )  # fmt: skip
    config = override(config, "analysis", **{n: get(n) for n in ("text_score", "strong", "top", "notable")})
    if get("sae") or get("corpus"):
        # Title and description in the catalog file describe another SAE or other texts.
        config = replace(config, site=replace(config.site, title="", description=""))
    if get("sae") or get("corpus") or get("concepts"):
        config = replace(config, site=replace(config.site, notes=""))
    if get("sae"):
        # A live part of another model may be large.
        config = replace(config, site=replace(config.site, live=False))
    config = override(
        config, "site", out=get("out"), features=_features(get("features")), title=get("title"),
        notes=get("notes"), base_url=get("base_url"), csv=get("csv"), live=get("live"),
        live_limit_mb=get("live_limit_mb"),
    )  # fmt: skip
    return replace(config, cache=_cache_of(a)) if get("cache") else config


def _cache_of(a: argparse.Namespace) -> Path:
    """The folder of the cache: the flag, or the default."""
    return Path(a.cache.expanduser()) if a.cache else Config().cache


def _features(words: str | None) -> str | tuple[int, ...] | None:
    """`notable`, `all`, or the numbers of `1,2,3`."""
    if words is None or words in ("notable", "all"):
        return words
    try:
        return tuple(sorted({int(word) for word in words.split(",")}))
    except ValueError:
        raise CatalogError(
            f"'{words}' is not a valid choice of features.", "--features", "Use notable, all, or numbers such as 1,2,3."
        ) from None


def run_build(a: argparse.Namespace) -> int:
    """Build a catalog and print where it is."""
    from saecatalog.build import build

    started = time.monotonic()
    summary = build(_config(a), Progress(a.quiet))
    if not a.quiet:
        print("\n".join(summary.lines(time.monotonic() - started)))
    print(f"Open {summary.entry}")
    return 0


def run_explore(a: argparse.Namespace) -> int:
    """Show how strongly a feature fires on texts, token by token."""
    from saecatalog.corpus import read_text_list
    from saecatalog.explore import explore

    config = _config(a)
    texts = [*a.text, *(read_text_list(a.file, config.corpus) if a.file else [])]
    if not texts:
        raise CatalogError("No text was given.", "explore", 'Add --text "..." or --file FILE.')
    for line in explore(config, Progress(a.quiet), a.feature, texts):
        print(line)
    return 0


def run_concept(a: argparse.Namespace) -> int:
    """Rank the features that respond to the texts of a concept."""
    from saecatalog.explore import concept

    for line in concept(_config(a), Progress(a.quiet), a.file):
        print(line)
    return 0


def run_list(a: argparse.Namespace) -> int:
    """List available SAEs, or count those that can be built."""
    from saecatalog.cache import Cache
    from saecatalog.sae_listing import list_saes

    with Cache(_cache_of(a)) as cache:
        found = list_saes(a.word, cache)
        if not found:
            return _nothing_listed(a.word, list_saes(cache=cache))
    if a.support or a.markdown:
        return _print_support(a, found)
    rows = [
        ("SAE", "model", "hook or path", "width", "Neuronpedia"),
        *((s.name, s.model, s.hook, s.width, s.neuronpedia) for s in found),
    ]
    _page(_columns(rows))
    print(f"{len(found):,} SAE{'s' * (len(found) != 1)}", file=sys.stderr)
    return 0


def _print_support(a: argparse.Namespace, found: "Sequence[Listed]") -> int:
    """Count the SAEs that can be built, and the others by reason."""
    from saecatalog.support import markdown, summary, support

    if a.markdown:
        print(markdown(support(found)), end="")
    else:
        print("\n".join(summary(support(found), f" that contain '{a.word}'" if a.word else "")))
    return 0


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _page(lines: Sequence[str]) -> None:
    """Print lines; those that a terminal cannot show at once go through the user's pager, such as `less`."""
    from pydoc import pager

    if sys.stdout.isatty() and len(lines) >= shutil.get_terminal_size().lines:
        # Otherwise `less` folds the lines.
        os.environ.setdefault("LESS", "-S")
        pager("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


def _nothing_listed(word: str, rows: "Sequence[Listed]") -> int:
    """Report that no SAE matches, and suggest similar names with the number of SAEs that each would list."""
    from saecatalog.sae_listing import similar_names

    print(f"No SAE matches '{word}'.", file=sys.stderr)
    near = similar_names(word, rows)
    if near:
        width = max(map(len, near))
        print("Similar names:", file=sys.stderr)
        for name, count in near.items():
            print(f"  {name:<{width}}  {count:,} SAE{'s' * (count != 1)}", file=sys.stderr)
    return 1


def run_check(a: argparse.Namespace) -> int:
    """Check that every link resolves and every page follows the rules."""
    from saecatalog.site.check import check_site, summary

    problems = check_site(a.site)
    for problem in problems:
        print(problem)
    found = summary(a.site)
    for catalog, totals in found["catalogs"].items():
        print(f"{catalog}: {totals.corpus_words()}; {totals.page_words()}")
    print(
        f"{len(problems) or 'No'} problem{'s' * (len(problems) != 1)} in {found['files']:,} files, "
        f"{found['bytes'] / 1e6:.1f} MB; feature pages {found['feature_page_mean'] / 1000:.1f} KB on average"
    )
    return 1 if problems else 0


def run_verify(a: argparse.Namespace) -> int:
    """Recompute a sample of a site's numbers independently and report every mismatch.

    Returns 1 if there is a mismatch, otherwise 2 if a catalog could not be verified.
    """
    from saecatalog.verify.run import Failure, verify_site
    from saecatalog.verify.runner import SubjectSources

    sources = SubjectSources(_cache_of(a), a.model, a.sae, bool(a.trust_remote_code))
    mismatches = failures = 0
    for outcome in verify_site(a.site, sources, a.sample, Progress(a.quiet)):
        if isinstance(outcome, Failure):
            failures += 1
            _fail(str(outcome))
            continue
        if outcome.folder != a.site:
            print(f"{outcome.folder.relative_to(a.site).as_posix()}:")
        for line in outcome.lines():
            print(line)
        mismatches += len(outcome.disagreements)
    return 1 if mismatches else 2 if failures else 0


def run_serve(a: argparse.Namespace) -> int:
    """Preview a site at http://127.0.0.1."""
    from saecatalog.site.serve import serve

    serve(a.site, a.port, print)
    return 0


def run_clean(a: argparse.Namespace) -> int:
    """Remove cached results that are not in use."""
    from saecatalog.cache import Cache

    removed = left = size = 0
    with Cache(_cache_of(a)) as cache:
        for part in cache.clean((a.older_than or 0) * DAY, a.keep):
            print(f"{part.stage}: removed {part.removed}, {part.size / 1e6:.1f} MB; {part.left} left")
            removed, left, size = removed + part.removed, left + part.left, size + part.size
    print(f"Removed {removed} results, {size / 1e6:.1f} MB; {left} left in {_cache_of(a)}")
    return 0


def run_fetch(a: argparse.Namespace) -> int:
    """Download the default model into the cache."""
    from saecatalog import embedded
    from saecatalog.cache import Cache
    from saecatalog.default_model import downloaded

    with Cache(_cache_of(a)) as cache:
        print(f"The default model is at {downloaded(cache).file(embedded.GGUF)}")
    return 0


Run = Callable[[argparse.Namespace], int]
Add = Callable[[argparse.ArgumentParser], None]
COMMANDS: dict[str, tuple[Run, Add, str, str]] = {
    "build": (
        run_build,
        _add_build,
        "Build a catalog: run the model over the texts, compute the statistics, write the site.",
        "python build.py build --sae gpt2-small-res-jb/blocks.6.hook_resid_pre --corpus mytexts --out site",
    ),
    "explore": (
        run_explore,
        _add_explore,
        "Show how strongly one feature fires on any text, token by token.",
        'python build.py explore 2776 --text "The rain stopped at noon."',
    ),
    "concept": (
        run_concept,
        _add_concept,
        "Rank the features that respond to a list of texts that share a concept.",
        "python build.py concept corpora/concepts/weather.txt",
    ),
    "list": (
        run_list,
        _add_list,
        "List known SAEs: the default one and those that sae_lens lists.\n"
        "With --support, count those that can be built.",
        "python build.py list gpt2-small-res",
    ),
    "check": (
        run_check,
        _add_site,
        "Check a built site: links, pages, size limits, data files, changes since the build.",
        "python build.py check site",
    ),
    "verify": (
        run_verify,
        _add_verify,
        "Recompute a sample of a site's numbers independently and report every mismatch.\n"
        "Exit code 1 on a mismatch; otherwise 2 if a catalog could not be verified.",
        "python build.py verify site --sample 20",
    ),
    "serve": (
        run_serve,
        _add_serve,
        "Preview a built site at http://127.0.0.1.",
        "python build.py serve site --port 8000",
    ),
    "clean": (
        run_clean,
        _add_clean,
        "Remove cached results; the next build makes what it needs again.",
        "python build.py clean --older-than 30",
    ),
    "fetch": (
        run_fetch,
        _add_fetch,
        "Download the default model into the cache (`make site` does this).",
        "python build.py fetch",
    ),
}
"""For each command: the function that runs it, the one that adds its flags, its help, and an example."""
