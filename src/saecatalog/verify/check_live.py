"""Checks of the live part: the page's engine runs published texts, and every activation is compared.

The engine is that of the site, with the parts of the catalog, in Node; the other side is plain `transformers`, as in
all checks. So nothing is shared but the texts.
"""

import numpy as np
from jaxtyping import Float64

from saecatalog.live.measure import MOST_WRONG
from saecatalog.live.node import PageRun, run_as_page
from saecatalog.site.check_live import read_manifest
from saecatalog.verify.check_live_error import check_error, measured
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.report import Checker
from saecatalog.verify.rerun import Pass

MANIFEST = "live/manifest.js"
TEXTS = 20

ENGINE_SLACK = 4.0
"""The engine adds in single precision in an order of its own, so its rounding errors may be so much larger."""


def check_live(e: Evidence) -> None:
    """Twenty texts, evenly spaced: their tokens, and which features fire on them and how strongly; then the error that
    the build measured on some texts.
    """
    folder, live = e.published.folder, e.report.at(MANIFEST)
    bundle = read_manifest(folder / MANIFEST)
    exact = bool(bundle["exact"])
    places = _sample(e.published["texts"]["special_tokens"].to_numpy(bool))
    contents = e.published["texts"]["content"].tolist()
    ran = sorted({*places, *measured(len(contents))})
    found = run_as_page([contents[place] for place in ran], folder / "live", folder / "assets" / "live")
    runs = dict(zip(ran, found, strict=True))
    longest = e.runner.context - int(e.runner.bos is not None)
    counts = np.zeros(3, np.int64)
    for place in places:
        run = runs[place]
        checker, ids = e.report.at(MANIFEST, f"text {e.text_ids[place]}"), e.seen.ids(place)[:longest]
        checker.lists("tokens", run.ids.tolist(), ids)
        if run.ids.tolist() == ids:
            counts += _compare(checker, run, e.seen, place, exact)
    missed, false, fired = counts.tolist()
    limit = 0.0 if exact else MOST_WRONG
    live.within("share of missed firings", missed / max(1, fired), 0.0, limit)
    live.within("share of false firings", false / max(1, fired), 0.0, limit)
    check_error(live, bundle, runs, e)


def _sample(special_tokens: np.ndarray) -> list[int]:
    """The texts to run. If some have special tokens, the page's tokenizer finds them, so these are taken."""
    places = np.flatnonzero(special_tokens) if special_tokens.any() else np.arange(len(special_tokens))
    chosen = np.unique(np.linspace(0, len(places) - 1, TEXTS).round().astype(int))
    return [int(place) for place in places[chosen]]


def _compare(checker: Checker, run: PageRun, seen: Pass, place: int, exact: bool) -> np.ndarray:
    """Compare the firings of one text. Returns how many are missed, how many are false, and how many there are."""
    start = int(seen.offsets[place])
    tokens = range(start, start + len(run.ids))
    checker.lists("massive positions", run.left_out.tolist(), (~seen.counted[start : tokens.stop]).astype(int).tolist())
    missed = false = fired = 0
    for token in tokens:
        entries = slice(int(seen.indptr[token]), int(seen.indptr[token + 1]))
        firings = slice(int(run.starts[token - start]), int(run.starts[token - start + 1]))
        if not seen.counted[token]:
            continue
        page = dict(zip(run.features[firings].tolist(), run.activations[firings].tolist(), strict=True))
        features = seen.features[entries]
        sure = seen.margins[entries] > ENGINE_SLACK * seen.tolerance.undecided
        missed += sum(1 for feature in features[sure].tolist() if feature not in page)
        false += len(page.keys() - set(features.tolist()))
        fired += int(sure.sum())
        if exact:
            _compare_values(checker, page, features, seen, entries)
    return np.array([missed, false, fired])


def _compare_values(checker: Checker, page: dict[int, float], features: np.ndarray, seen: Pass, entries: slice) -> None:
    """The activations that both have, of one token."""
    both = np.array([feature in page for feature in features.tolist()], bool)
    found = np.array([page[feature] for feature in features[both].tolist()])
    values: Float64[np.ndarray, firing] = seen.values[entries][both].astype(np.float64)
    allowed = ENGINE_SLACK * seen.slack[entries][both] + seen.tolerance.relative * values
    worst = float((np.abs(found - values) - allowed).max(initial=-1.0))
    checker.holds(worst <= 0, "activations", f"one differs by {worst:.3g} more than rounding explains")
