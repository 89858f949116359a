"""The verify command: the folder of a site flows in, every mismatch flows out.

The figures of a sample of features, all text scores and the counts of all features are recomputed from the published
texts, in the slow and obvious way. Everything derived from them is recomputed from the published tables; see
`evidence`.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.live.node import node
from saecatalog.manifest import has_live_part
from saecatalog.progress import Progress, notice
from saecatalog.site.inventory import comparisons, files_below
from saecatalog.site.reading import find_catalogs
from saecatalog.site.totals import Totals, page_counts
from saecatalog.verify import (
    check_ablation,
    check_catalog,
    check_categories,
    check_category_pairs,
    check_concepts,
    check_detection,
    check_explanations,
    check_features,
    check_firings,
    check_labels,
    check_pairs,
    check_steering,
    check_texts,
    check_weights,
    pages,
)
from saecatalog.verify.check_live import MANIFEST as LIVE_MANIFEST
from saecatalog.verify.check_live import check_live
from saecatalog.verify.check_live_files import check_live_files
from saecatalog.verify.comparisons import ComparisonOutcome, verify_comparison
from saecatalog.verify.evidence import Evidence, gather
from saecatalog.verify.published import Published, choose_features
from saecatalog.verify.report import Disagreement, Report
from saecatalog.verify.rerun import TOLERANCES
from saecatalog.verify.runner import Runner, SubjectSources, load_runner
from saecatalog.verify.runner import check_weights as check_hashes

Check = tuple[Callable[[Evidence], None], tuple[str, ...]]
CHECKS: tuple[Check, ...] = (
    (check_texts.check_texts, ("texts",)),
    (check_texts.check_text_scores, ("texts", "text_scores")),
    (check_texts.check_text_top, ("texts", "text_scores", "text_top")),
    (check_texts.check_context_cells, ("texts", "contexts")),
    (check_texts.check_windows, ("texts", "contexts")),
    (check_texts.check_concept_texts, ("concept_texts",)),
    (check_features.check_counts, ("texts", "text_scores", "features")),
    (check_features.check_values, ("texts", "features")),
    (check_features.check_token_rules, ("texts", "features")),
    (check_features.check_tokens, ("texts", "features", "tokens")),
    (check_features.check_histograms, ("texts", "features", "histograms")),
    (check_labels.check_labels, ("texts", "features")),
    (check_detection.check_detection, ("texts", "text_scores", "features", "notes", "detection")),
    (check_features.check_top_contexts, ("texts", "features", "contexts")),
    (check_features.check_bands, ("texts", "features", "contexts")),
    (check_categories.check_categories, ("texts", "text_scores", "categories")),
    (check_categories.check_q_values, ("texts", "text_scores", "categories")),
    (check_categories.check_held_out, ("texts", "text_scores", "categories", "held_out")),
    (check_category_pairs.check_category_pairs, ("texts", "text_scores", "category_pairs")),
    (check_concepts.check_concepts, ("texts", "text_scores", "concepts", "concept_texts")),
    (check_concepts.check_q_values, ("texts", "text_scores", "concepts", "concept_texts")),
    (check_pairs.check_pairs, ("texts", "text_scores", "coactivation")),
    (check_firings.check_firings, ("texts", "features", "firings")),
    (check_pairs.check_clusters, ("coactivation", "clusters")),
    (check_weights.check_effects, ("features", "logits", "logit_histograms")),
    (check_steering.check_steering, ("features", "steering_prompts", "steering")),
    (check_steering.check_prices, ("features", "steering_prices")),
    (check_steering.check_attributions, ("features", "contexts", "attributions")),
    (check_weights.check_neighbours, ("neighbours",)),
    (check_ablation.check_effect_means, ("effect_contexts", "effects")),
    (check_ablation.check_ablations, ("texts", "effects", "effect_tokens", "effect_contexts")),
    (check_catalog.check_rankings, ("features", "categories", "concepts", "rankings")),
    (check_catalog.check_notable, ("features", "notes", "rankings")),
    (check_explanations.check_explanations, ("texts", "text_scores", "explanations")),
    (check_catalog.check_manifest, ("texts", "features", "concept_texts")),
    (check_catalog.check_health, ("texts", "features", "text_scores")),
)
"""Every check and the tables it reads. A check is skipped if one of its tables is missing, which is itself reported."""

MALFORMED = (KeyError, IndexError, ValueError, TypeError, AttributeError, ZeroDivisionError)
"""The errors that a check raises if a table has impossible content."""


@dataclass(frozen=True)
class Outcome:
    """The outcome for one catalog."""

    folder: Path
    report: Report
    n_features: int
    d_sae: int
    totals: Totals
    """The texts and tokens that were run again, and the pages that were compared."""
    n_undecided: int
    n_files: int
    """Number of files that were compared, including pages."""
    notes: tuple[str, ...]
    """Sentences that say what was not checked, and why."""

    @property
    def disagreements(self) -> list[Disagreement]:
        return self.report.found

    def lines(self) -> list[str]:
        """Every mismatch, what was not checked, and the counts."""
        return [*map(str, self.disagreements), *self.notes, self.summary()]

    def facts(self) -> dict[str, object]:
        """The same as plain values."""
        return {
            "mismatches": [asdict(found) for found in self.disagreements],
            "not_checked": list(self.notes),
            "figures": self.report.checked,
            "features": self.n_features,
            "d_sae": self.d_sae,
            **asdict(self.totals),
            "files": self.n_files,
            "undecided": self.n_undecided,
        }

    def summary(self) -> str:
        """One line of counts."""
        found = len(self.disagreements)
        files = f"; {self.totals.page_words()}, in {self.n_files:,} files" if self.n_files else ""
        return (
            f"Checked {self.report.checked:,} figures of {self.n_features:,} features (of {self.d_sae:,}), "
            f"{self.totals.corpus_words()}{files}; "
            f"{self.n_undecided:,} undecided activation{'s' * (self.n_undecided != 1)}; "
            f"{found:,} mismatch{'es' * (found != 1)}"
        )


@dataclass(frozen=True)
class Failure:
    """A catalog that could not be verified, for example because its model or its manifest is missing."""

    folder: Path
    error: Exception

    def facts(self) -> dict[str, object]:
        """The same as plain values."""
        return {"error": str(self)}

    def __str__(self) -> str:
        """What is wrong, where, and what to do, as far as it is known."""
        reason = self.error if isinstance(self.error, CatalogError) else f"{type(self.error).__name__}: {self.error}"
        return f"{self.folder} could not be verified. {reason}"


def verify_site(
    site: Path, sources: SubjectSources, n_features: int, progress: Progress
) -> Iterator[Outcome | ComparisonOutcome | Failure]:
    """Verify every catalog of a site and every comparison, or the one catalog whose folder is given.

    One that fails does not stop the others.

    Raises CatalogError if there is nothing to verify.
    """
    if n_features < 1:
        raise CatalogError(
            "The sample contains no features.", f"--sample {n_features}", "Use a whole number, 1 or more."
        )
    for folder in find_catalogs(site):
        try:
            yield verify_catalog(folder, sources, n_features, progress)
        except Exception as error:  # A broken catalog may fail anywhere: in a library, or in a thread.
            yield Failure(folder, error)
    for part in comparisons(files_below(site)):
        try:
            yield verify_comparison(site, part)
        except Exception as error:
            yield Failure(site / part, error)


def verify_catalog(folder: Path, sources: SubjectSources, n_features: int, progress: Progress) -> Outcome:
    """Verify one catalog."""
    published, report = Published(folder), Report()
    _check_settings(published)
    published.report_problems(report)
    with progress.bar("load model", 2) as bar:
        check_hashes(published.manifest, sources, report)
        bar.update()
        runner = load_runner(published.manifest, sources)
        bar.update()
    evidence = _check_figures(published, runner, choose_features(published, n_features), report, progress)
    report = evidence.report
    notes = _check_live(evidence, progress)
    reason = pages.why_not(published)
    files = [] if reason else pages.check_pages(published, report, progress)
    seen = evidence.seen
    return Outcome(
        folder=folder,
        report=report,
        n_features=len(evidence.sample),
        d_sae=published.d_sae,
        totals=Totals(seen.n_texts, len(seen.token_ids), int(seen.counted.sum()), page_counts(files)),
        n_undecided=seen.n_undecided + evidence.concepts_seen.n_undecided,
        n_files=len(files),
        notes=(*notes, *([f"The pages were not compared: {reason}."] if reason else [])),
    )


def _check_figures(
    published: Published, runner: Runner, sample: list[int], report: Report, progress: Progress
) -> Evidence:
    """Run every check; the evidence has a report of its own, which begins with what is in `report`.

    If figures disagree in single precision, all are checked once more with the rounding error of each token measured.
    On a few it is far larger than on the others, but to measure it takes longer than all the rest.
    """
    evidence = gather(published, runner, sample, deepcopy(report), progress)
    run_checks(evidence, progress)
    if len(evidence.report.found) > len(report.found) and published.settings["dtype"] == "float32":
        notice("some figures disagree: the rounding of each token is measured, and all are checked again")
        evidence = gather(published, runner, sample, deepcopy(report), progress, measured=True)
        run_checks(evidence, progress)
    return evidence


def _check_live(evidence: Evidence, progress: Progress) -> list[str]:
    """Check the live part, if there is one; returns why it could not be run."""
    if not has_live_part(evidence.manifest):
        return []
    with progress.bar("live part", 2) as bar:
        _run_live(check_live_files, evidence)
        bar.update()
        try:
            node()
        except CatalogError as error:
            return [f"The live part was not run. {error.what} {error.fix}"]
        _run_live(check_live, evidence)
        bar.update()
    return []


def _run_live(check: Callable[[Evidence], None], evidence: Evidence) -> None:
    """Run a check of the live part, of which any file may be missing or damaged."""
    try:
        _run(check, LIVE_MANIFEST, evidence)
    except OSError as error:
        evidence.report.at(LIVE_MANIFEST).holds(False, "", f"{error.strerror}: {error.filename}")
    except CatalogError as error:
        evidence.report.at(LIVE_MANIFEST).holds(False, "", f"{error.what} {error.where}")


def _check_settings(published: Published) -> None:
    dtype = published.settings["dtype"]
    if dtype not in TOLERANCES:
        fix = f"Supported formats: {', '.join(TOLERANCES)}."
        raise CatalogError("The manifest names an unknown number format.", f"settings.dtype {dtype}", fix)


def run_checks(evidence: Evidence, progress: Progress, checks: Sequence[Check] = CHECKS) -> None:
    """Run every check whose tables are present."""
    with progress.bar("checks", len(checks)) as bar:
        for check, tables in checks:
            bar.set_postfix_str(check.__name__.removeprefix("check_"))
            if all(name in evidence.published for name in tables):
                _run(check, tables[-1], evidence)
            bar.update()


def _run(check: Callable[[Evidence], None], table: str, evidence: Evidence) -> None:
    try:
        check(evidence)
    except MALFORMED as error:
        problem = f"cannot be checked completely ({check.__name__}: {type(error).__name__}: {error})"
        evidence.report.at(table).holds(False, "", problem)
