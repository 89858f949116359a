"""The report of a comparison: the differences flow in; a page, a CSV file, JSON and lines for the terminal flow out.

The page stands alone, with its style inside and without a script, so it can be mailed or published anywhere.
"""

import math
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from saecatalog.errors import CatalogError
from saecatalog.neuronpedia.compare import KINDS, Compared, Comparison
from saecatalog.site import cite
from saecatalog.site.templates import environment
from saecatalog.tables import write_csv
from saecatalog.write_errors import writing

PAGE, CSV = "index.html", "comparison.csv"
MOST_ROWS = 500
"""Features on the page; the CSV file has all."""
MOST_LINES = 20
"""Features named on the terminal."""

DIFFERENT_TEXTS = (
    "Densities, maxima and the tokens that a feature fires on were measured there on other texts, so they differ "
    "even if nothing is wrong. Promoted and suppressed tokens follow from the weights alone and should agree."
)


def check_free(out: Path) -> None:
    """Raise CatalogError if a file of a report is in the folder already."""
    there = [name for name in (PAGE, CSV) if os.path.lexists(out / name)]
    if there:
        raise CatalogError("This report exists already.", str(out / there[0]), "Move it away, or choose another --out.")


def write_report(comparison: Comparison, out: Path) -> None:
    """Write the page and the CSV file into `out`, both or none; raises CatalogError if one of them exists."""
    check_free(out)
    page = environment(Path(__file__).parent).get_template("comparison.html").render(_view(comparison, out))
    with writing(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as made, ExitStack() as undo:
            (Path(made) / PAGE).write_text(page, encoding="utf-8", newline="\n")
            write_csv(pd.DataFrame([_csv_row(one) for one in comparison.features]), Path(made) / CSV)
            for name in (CSV, PAGE):
                os.replace(Path(made) / name, out / name)
                undo.callback((out / name).unlink)
            undo.pop_all()


def lines(comparison: Comparison, out: Path) -> list[str]:
    """What the terminal shows: counts, what could not be compared, and the first features that disagree."""
    found = comparison.disagreeing
    more = [f"and {len(found) - MOST_LINES:,} more"] if len(found) > MOST_LINES else []
    return [
        *summary(comparison),
        *(f"  {number:>6,}  {KINDS[kind]}" for kind, number in comparison.counts.items() if number),
        *(f"feature {one.feature}: {', '.join(one.disagreements)}" for one in found[:MOST_LINES]),
        *more,
        f"Open {out / PAGE}",
    ]


def summary(comparison: Comparison) -> list[str]:
    """Sentences about the comparison as a whole."""
    n, found = len(comparison.features), len(comparison.disagreeing)
    sentences = [f"{found:,} of {n:,} compared feature{'s' * (n != 1)} of {comparison.source} disagree."]
    if comparison.looks_like_another_sae:
        shared = f"{comparison.median_promoted:.0%}"
        sentences.append(
            f"On the median feature only {shared} of the promoted tokens agree: this is probably another SAE or model."
        )
    for name, words in (("density", "densities"), ("max", "maxima")):
        if found_here := comparison.correlation(name):
            rho, fired = found_here
            sentences.append(f"Rank correlation of the {words}: {rho:.2f}, over {fired:,} features that fire on both.")
    if comparison.silent_on_both:
        sentences.append(f"Silent on both sides: {comparison.silent_on_both:,}.")
    return [*sentences, *comparison.not_compared(), DIFFERENT_TEXTS]


def facts(comparison: Comparison) -> dict[str, object]:
    """The same, with every feature that disagrees, for programs."""
    return {
        "source": str(comparison.source),
        "compared": len(comparison.features),
        "missing": comparison.missing,
        "silent_on_both": comparison.silent_on_both,
        "median_shared_promoted": comparison.median_promoted,
        "looks_like_another_sae": comparison.looks_like_another_sae,
        "thresholds": KINDS,
        "counts": comparison.counts,
        "features": [_figures(one) for one in comparison.disagreeing],
    }


def _figures(one: Compared) -> dict[str, Any]:
    """The figures of a feature on both sides."""
    row, there = one.here.row, one.there
    return {
        "feature": one.feature,
        "disagreements": list(one.disagreements),
        "density": row.density,
        "density_low": row.density_low,
        "density_high": row.density_high,
        "density_there": there.density,
        "max": row.max,
        "max_there": there.max,
        "shared_promoted": one.promoted,
        "shared_suppressed": one.suppressed,
        "peaks": one.here.peaks,
        "peaks_there": one.peaks,
        "shared_peaks": one.shared_peaks,
    }


def _csv_row(one: Compared) -> dict[str, Any]:
    """The same in one cell each; what could not be compared is an empty cell."""
    figures = _figures(one)
    words = {name: " · ".join(figures[name]) for name in ("peaks", "peaks_there")}
    words["disagreements"] = ", ".join(one.disagreements)
    shared = None if one.shared_peaks is None else len(one.shared_peaks)
    figures |= {**words, "shared_peaks": shared}
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _view(comparison: Comparison, out: Path) -> dict[str, Any]:
    """What the page shows."""
    catalog = comparison.catalog
    return {
        "title": catalog.manifest["title"],
        "source": comparison.source,
        "summary": summary(comparison),
        "kinds": [(kind, KINDS[kind], number) for kind, number in comparison.counts.items()],
        "shown": comparison.disagreeing[:MOST_ROWS],
        "more": max(0, len(comparison.disagreeing) - MOST_ROWS),
        "csv": CSV,
        "link": lambda one: _link(comparison, one, out),
    }


def _link(comparison: Comparison, one: Compared, out: Path) -> str:
    """The address of a feature's page: on the web if that of the site is known, else relative to the report."""
    page, catalog = one.here.row.page, comparison.catalog
    if not page:
        return ""
    if catalog.manifest["base_url"]:
        return cite.address(catalog.manifest, page)
    return quote(Path(os.path.relpath(catalog.folder / page, out)).as_posix())
