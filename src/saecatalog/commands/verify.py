"""Recompute a sample of a site's numbers independently and report every mismatch.
Exit code 1 on a mismatch; otherwise 2 if a catalog could not be verified.

With --json: a list with an object for each catalog. Its `folder` is relative to SITE. If the catalog
could not be verified, `error` says why; otherwise there are `mismatches` (table, where, column,
published, recomputed), `not_checked` (sentences), and the numbers that were checked: `figures`,
`features` of `d_sae`, `texts`, `tokens`, `counted` tokens, `pages` by kind, `files`, and `undecided`
activations."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.commands.flags import add_cache, add_json, add_quiet, add_site, add_trust
from saecatalog.commands.output import fail, print_json
from saecatalog.commands.settings import cache_of
from saecatalog.progress import Progress

if TYPE_CHECKING:
    from saecatalog.verify.comparisons import ComparisonOutcome
    from saecatalog.verify.run import Outcome

EXAMPLE = "verify site --sample 20"
SAMPLE = 20


def add(p: argparse.ArgumentParser) -> None:
    add_site(p, "folder of a built site, or of one of its catalogs")
    p.add_argument(
        "--sample",
        metavar="N",
        type=int,
        default=SAMPLE,
        help=f"number of features to recompute in full; default: {SAMPLE}",
    )
    p.add_argument("--model", metavar="M", help="location of the model, if it differs from the manifest")
    p.add_argument("--sae", metavar="RELEASE/ID", help="location of the SAE, if it differs from the manifest")
    add_trust(p)
    add_cache(p, "folder with the default model")
    add_quiet(p)
    add_json(p)


def run(a: argparse.Namespace) -> int:
    """Recompute a sample of a site's numbers independently and report every mismatch.

    Returns 1 if there is a mismatch, otherwise 2 if a catalog could not be verified.
    """
    from saecatalog.verify.run import Failure, verify_site
    from saecatalog.verify.runner import SubjectSources

    sources = SubjectSources(cache_of(a), a.model, a.sae, bool(a.trust_remote_code))
    mismatches = failures = 0
    facts: list[dict[str, object]] = []
    for outcome in verify_site(a.site, sources, a.sample, Progress(a.quiet)):
        facts.append({"folder": outcome.folder.relative_to(a.site).as_posix(), **outcome.facts()})
        if isinstance(outcome, Failure):
            failures += 1
            fail(str(outcome))
            continue
        mismatches += len(outcome.disagreements)
        if not a.json:
            print("\n".join(_lines(outcome, a.site)))
    if a.json:
        print_json(facts)
    return 1 if mismatches else 2 if failures else 0


def _lines(outcome: "Outcome | ComparisonOutcome", site: Path) -> list[str]:
    """What is said of a catalog, under its name unless it was itself given."""
    name = [] if outcome.folder == site else [f"{outcome.folder.relative_to(site).as_posix()}:"]
    return [*name, *outcome.lines()]
