"""Build a catalog: run the model over the texts, compute the statistics, write the site."""

import argparse
import time

from saecatalog.commands.flags import add_catalog, add_corpus, add_machines, add_subject
from saecatalog.commands.settings import config_of, left_out
from saecatalog.config import EFFECTS, AnalysisConfig, EffectsConfig, SiteConfig
from saecatalog.progress import Progress

EXAMPLE = "build --sae gpt2-small-res-jb/blocks.6.hook_resid_pre --corpus mytexts --out site"


def add(p: argparse.ArgumentParser) -> None:
    add_catalog(p)
    add_subject(p)
    add_corpus(p)
    add_machines(p)
    g = p.add_argument_group("site")
    g.add_argument("--out", metavar="DIR", help=f"folder of the site; default: {SiteConfig.out}")
    g.add_argument(
        "--features",
        metavar="WHICH",
        help=f"which features get a page: auto, notable, all, or 1,2,3; default: {SiteConfig.features}",
    )
    g.add_argument(
        "--notable", metavar="N", type=int, help=f"number of notable features; default: {AnalysisConfig.notable}"
    )
    g.add_argument(
        "--effects", choices=EFFECTS, help=f"features whose effects are measured; default: {EffectsConfig.features}"
    )
    g.add_argument("--notes", metavar="DIR", help="folder of Markdown notes; default: `notes` beside the settings file")
    g.add_argument(
        "--explanations", metavar="FILE", help="file or folder of explanations, from Neuronpedia or `explain`"
    )
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


def run(a: argparse.Namespace) -> int:
    """Build a catalog and print where it is."""
    from saecatalog.build import build

    started = time.monotonic()
    summary = build(config_of(a), Progress(a.quiet))
    if not a.quiet:
        print("\n".join(summary.lines(time.monotonic() - started)))
        if unused := left_out(a):
            names = ", ".join(unused)
            print(f"  {names} of the settings file: not used, because they are about other texts or another SAE")
    print(f"Open {summary.entry}")
    return 0
