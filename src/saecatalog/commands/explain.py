"""Ask a language model to explain features of a built catalog, and score its explanations on held-out texts.

Works with any OpenAI-compatible endpoint that you name; there is no default. Shows the first question and the number of
requests and tokens, and asks before anything is sent. Every answer is kept in the cache, so a run that was interrupted
goes on where it stopped. Needs no model on this machine. Show the file with: build --explanations FILE"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.commands.flags import add_cache, add_quiet
from saecatalog.commands.settings import cache_of, features_of
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress
from saecatalog.texts.text_files import printable

if TYPE_CHECKING:
    from saecatalog.explain.plan import Plan

OUT, TIMEOUT = Path("explanations.jsonl"), 120.0
EXAMPLE = "explain site --endpoint http://localhost:8000/v1 --model my-model --dry-run"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument("site", type=Path, metavar="SITE", help="folder of a built site, or of one of its catalogs")
    p.add_argument("--endpoint", metavar="URL", required=True, help="base address of an OpenAI-compatible API")
    p.add_argument(
        "--model", metavar="M", required=True, help="the endpoint's name of the model that explains and judges"
    )
    p.add_argument(
        "--key-env", metavar="NAME", help="environment variable with the key of the endpoint; default: no key is sent"
    )
    p.add_argument("--features", metavar="WHICH", default="notable", help="notable (default), all that fired, or 1,2,3")
    p.add_argument(
        "--score-only",
        type=Path,
        metavar="FILE",
        help="score the explanations in this file or folder, such as Neuronpedia's, and ask for none",
    )
    p.add_argument("--out", type=Path, default=OUT, metavar="PATH", help=f"the new file; default: {OUT}")
    p.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    p.add_argument("--yes", action="store_true", help="send it without asking; needed where nobody can answer")
    p.add_argument(
        "--timeout", type=float, default=TIMEOUT, metavar="S", help=f"seconds for one answer; default: {TIMEOUT:g}"
    )
    add_cache(p, "models, cached results and answers")
    add_quiet(p)


def run(a: argparse.Namespace) -> int:
    """Explain features, and print how good the explanations are."""
    from saecatalog.explain.endpoint import Endpoint
    from saecatalog.explain.run import explain
    from saecatalog.explain.work import Job

    if not 0 < a.timeout < 1e6:
        raise CatalogError(f"{a.timeout:g} is no number of seconds.", "--timeout", "Use a number above 0.")
    endpoint = Endpoint(a.endpoint, a.model, _key(a.key_env), a.timeout)
    if a.out.exists() and not a.dry_run:
        raise CatalogError("This file exists already.", printable(a.out), "Name another --out, or move it away.")
    features = features_of(a.features) or "notable"
    job = Job(a.site, endpoint, features, a.score_only, a.out, cache_of(a))
    summary = explain(job, lambda plan: _agreed(plan, a.dry_run, a.yes), Progress(a.quiet))
    if summary is None:
        print("Nothing was sent.")
        return 0
    for line in summary.lines():
        print(line)
    return 0


def _agreed(plan: "Plan", dry_run: bool, yes: bool) -> bool:
    """Show what would be sent; whether the user wants that."""
    for line in plan.lines():
        print(printable(line))
    if dry_run or yes or not plan.requests:
        return not dry_run
    if not sys.stdin.isatty():
        fix = "Look at what --dry-run shows; then add --yes."
        raise CatalogError("Nobody is here to agree to what would be sent.", "explain", fix)
    sys.stdout.flush()
    try:
        return input(f"Send {plan.requests:,} requests? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D is no consent
        return False


def _key(name: str | None) -> str:
    """The key in an environment variable; "" without one."""
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise CatalogError("This environment variable is not set.", f"--key-env {name}", "Set it to the key.")
    return key
