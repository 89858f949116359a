"""The check of what a live part says of its error: runs of the page's engine flow in, the error is measured again.

The build measured it on the beginnings of some texts, against its own activations. Those that the checks recompute are
undecided where they are close to a threshold, so each figure must lie between the least and the most that it can be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from saecatalog.live.bundle import Bundle
from saecatalog.live.measure import STRONGEST, TEXTS, TOKENS
from saecatalog.live.node import PageRun
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.report import Checker
from saecatalog.verify.rerun import Pass

ROUNDING = 1e-6
"""What a share times a count may differ from a whole number."""


def measured(n_texts: int) -> list[int]:
    """The texts that the build measured."""
    return [int(place) for place in np.unique(np.linspace(0, n_texts - 1, TEXTS).round())]


@dataclass
class _Seen:
    """What is found on the tokens so far: pairs are the least and the most that it can be."""

    fired: Int64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2, np.int64))
    missed: Int64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2, np.int64))
    false: Int64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2, np.int64))
    alike: Int64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2, np.int64))
    page: int = 0
    tokens: int = 0
    differences: list[float] = field(default_factory=list)


def check_error(at: Checker, bundle: Bundle, runs: Mapping[int, PageRun], e: Evidence) -> None:
    """Compare the stated error with that of some texts; nothing is known if the page reads one of them otherwise."""
    longest = min(TOKENS, e.runner.context - int(e.runner.bos is not None))
    texts = [(runs[place], place) for place in measured(e.seen.n_texts)]
    if any(run.ids[:longest].tolist() != e.seen.ids(place)[:longest] for run, place in texts):
        return
    found, stated = _Seen(), bundle["error"]
    for run, place in texts:
        start = int(e.seen.offsets[place])
        for token in range(min(longest, len(run.ids))):
            if e.seen.counted[start + token]:
                _add(found, run, token, e.seen, start + token)
    at.same("error.texts", stated["texts"], len(texts))
    at.same("error.tokens", stated["tokens"], found.tokens)
    counts = {
        "error.firings": (stated["firings"], found.fired),
        "missed firings": (stated["missed"] * max(1, stated["firings"]), found.missed),
        "false firings": (stated["false"] * max(1, found.page), found.false),
        "tokens alike": (stated["top_five"] * max(1, found.tokens), found.alike),
    }
    for what, (said, (low, high)) in counts.items():
        at.within(what, said, float(low), float(high), atol=ROUNDING)
    mean, unsure = float(np.mean(found.differences or [0.0])), int(found.fired[1] - found.fired[0])
    room = e.tolerance.relative + unsure / max(1, found.page)
    at.close("error.relative_error", stated["relative_error"], mean, rtol=0, atol=room)


def _add(found: _Seen, run: PageRun, token: int, seen: Pass, place: int) -> None:
    """Add one token; `place` is its place among all recomputed tokens."""
    firings = slice(int(run.starts[token]), int(run.starts[token + 1]))
    entries = slice(int(seen.indptr[place]), int(seen.indptr[place + 1]))
    page, catalog = np.zeros(seen.d_sae), np.zeros(seen.d_sae)
    page[run.features[firings]] = run.activations[firings]
    catalog[seen.features[entries]] = seen.values[entries]
    sure = np.zeros(seen.d_sae, bool)
    sure[seen.features[entries]] = seen.sure[entries]
    found.fired += [sure.sum(), (catalog > 0).sum()]
    found.missed += [(sure & (page == 0)).sum(), ((catalog > 0) & (page == 0)).sum()]
    found.false += [((page > 0) & (catalog == 0)).sum(), ((page > 0) & ~sure).sum()]
    found.page += int((page > 0).sum())
    found.tokens += 1
    both = (page > 0) & sure
    found.differences += (np.abs(page[both] - catalog[both]) / catalog[both]).tolist()
    alike = bool((_strongest(page) == _strongest(catalog)).all())
    room = 2 * float(seen.slack[entries].max(initial=0)) + seen.tolerance.relative * float(catalog.max())
    unsure = not _is_sure(catalog, sure, room)
    found.alike += [int(alike and not unsure), int(alike or unsure)]


def _strongest(values: Float64[np.ndarray, "d_sae"]) -> Int64[np.ndarray, "few"]:
    return np.sort(np.argsort(-values, kind="stable")[:STRONGEST])


def _is_sure(values: Float64[np.ndarray, "d_sae"], sure: Bool[np.ndarray, "d_sae"], room: float) -> bool:
    """Whether rounding, which may move two activations so much apart, cannot change which are the strongest."""
    ordered = np.sort(values)[::-1]
    last, following = ordered[:STRONGEST][-1], ordered[STRONGEST:].max(initial=0)
    # Where fewer are active, the first of the others are taken, so all depends on which are active.
    undecided = values[(values > 0) & ~sure].max(initial=-np.inf)
    return bool(undecided + room < last and (following == 0 or following + room < last))
