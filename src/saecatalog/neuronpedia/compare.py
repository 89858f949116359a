"""The comparison: Neuronpedia's figures of each feature and a published catalog flow in, the differences flow out.

Promoted and suppressed tokens follow from the weights alone, so they should agree. Densities, maxima and the tokens
that a feature fires on depend on the texts, which are others there, so only large differences are named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from saecatalog.neuronpedia.exported import Exported, read_exported
from saecatalog.neuronpedia.source import PublishedCatalog, Source
from saecatalog.site.reading import reading
from saecatalog.site.records import Groups, Row, rows

DENSITY_RATIO = 3.0
"""Densities disagree if one is more than this many times the other, and theirs is outside our 95 % interval."""
MAX_RATIO = 1.5
"""Maxima disagree if one is more than this many times the other."""
SHARED_LOGITS = 0.5
"""Promoted (or suppressed) tokens disagree if less than this share of the shorter list is in both."""
PEAKS = 10
"""The strongest examples whose tokens are compared."""
FEWEST_PEAKS = 3
"""With fewer examples on either side, the tokens that a feature fires on are not compared."""
SAME_SAE = 0.5
"""If the median share of promoted tokens in both lists is below this, the SAEs, or the models, are probably others."""

KINDS = {
    "promoted": f"less than {SHARED_LOGITS:.0%} of the promoted tokens are in both lists",
    "suppressed": f"less than {SHARED_LOGITS:.0%} of the suppressed tokens are in both lists",
    "silent here": "fires there, but is silent on these texts although its density there is above 3 / n",
    "silent there": "fires on these texts, but never fired there",
    "density": f"densities differ by a factor above {DENSITY_RATIO:g}, beyond the 95 % interval of the one here",
    "maximum": f"maxima differ by a factor above {MAX_RATIO:g}",
    "tokens": f"the tokens of the {PEAKS} strongest examples have none in common",
}
"""How a feature can disagree, and the threshold; what follows from the weights alone comes first."""


@dataclass(frozen=True)
class Here:
    """The figures of one feature in the catalog."""

    row: Row
    """Its row of `features`."""
    promoted: list[str]
    suppressed: list[str]
    peaks: list[str]
    """The tokens of its strongest examples."""


@dataclass(frozen=True)
class Compared:
    """One feature on both sides. A share is None if it cannot be compared."""

    feature: int
    here: Here
    there: Exported

    @cached_property
    def promoted(self) -> float | None:
        return share(self.here.promoted, self.there.promoted)

    @cached_property
    def suppressed(self) -> float | None:
        return share(self.here.suppressed, self.there.suppressed)

    @cached_property
    def peaks(self) -> list[str]:
        """The tokens of its strongest examples there."""
        return [token for _, token in sorted(self.there.peaks, key=lambda peak: -peak[0])[:PEAKS]]

    @cached_property
    def shared_peaks(self) -> list[str] | None:
        """The tokens of the strongest examples on both sides, without white space and case.

        None if either side has too few that are more than a part of a character.
        """
        sides = (self.here.peaks, self.peaks)
        here, there = ([token.strip().lower() for token in side if _is_whole(token)] for side in sides)
        if min(len(here), len(there)) < FEWEST_PEAKS:
            return None
        return list(dict.fromkeys(token for token in here if token in there))

    @cached_property
    def disagreements(self) -> tuple[str, ...]:
        """The kinds of disagreement, in the order of `KINDS`."""
        return tuple(kind for kind in KINDS if DISAGREES[kind](self))


def share(here: Sequence[str], there: Sequence[str]) -> float | None:
    """The share of the shorter list that is in both, without tokens that are only part of a character.

    None if a list is empty: such tokens are spelled in many ways.
    """
    ours, theirs = ({token for token in side if _is_whole(token)} for side in (here, there))
    return len(ours & theirs) / min(len(ours), len(theirs)) if ours and theirs else None


def _is_whole(token: str) -> bool:
    return "\ufffd" not in token and "<0x" not in token


def _factor(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _density(c: Compared) -> bool:
    there, row = c.there.density, c.here.row
    if not there or not row.n_active:
        return False
    return _factor(there, row.density) > DENSITY_RATIO and not row.density_low <= there <= row.density_high


def _maximum(c: Compared) -> bool:
    there, here = c.there.max or 0, c.here.row.max
    return min(there, here) > 0 and _factor(there, here) > MAX_RATIO


DISAGREES: dict[str, Callable[[Compared], bool]] = {
    "promoted": lambda c: c.promoted is not None and c.promoted < SHARED_LOGITS,
    "suppressed": lambda c: c.suppressed is not None and c.suppressed < SHARED_LOGITS,
    "silent here": lambda c: not c.here.row.n_active and (c.there.density or 0) > c.here.row.silent_below,
    "silent there": lambda c: c.there.silent and c.here.row.n_active > 0,
    "density": _density,
    "maximum": _maximum,
    "tokens": lambda c: c.shared_peaks == [],
}


@dataclass(frozen=True)
class Comparison:
    """All features that both sides have, and what can be said of them together."""

    catalog: PublishedCatalog
    source: Source
    features: list[Compared]

    @cached_property
    def disagreeing(self) -> list[Compared]:
        """The features that disagree in anything: by the first kind of `KINDS`, then by how many, then by number."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        found = [one for one in self.features if one.disagreements]
        return sorted(found, key=lambda c: (order[c.disagreements[0]], -len(c.disagreements), c.feature))

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of features with each kind of disagreement."""
        return {kind: sum(kind in one.disagreements for one in self.features) for kind in KINDS}

    @property
    def missing(self) -> int:
        """The features of the dictionary that the files do not have."""
        return self.catalog.d_sae - len(self.features)

    @property
    def silent_on_both(self) -> int:
        return sum(one.there.silent and not one.here.row.n_active for one in self.features)

    @cached_property
    def median_promoted(self) -> float | None:
        """The median share of promoted tokens in both lists."""
        shares = [one.promoted for one in self.features if one.promoted is not None]
        return float(np.median(shares)) if shares else None

    @property
    def looks_like_another_sae(self) -> bool:
        return self.median_promoted is not None and self.median_promoted < SAME_SAE

    def correlation(self, name: str) -> tuple[float, int] | None:
        """Spearman's correlation of `density` or `max` over the features that fire on both sides, and their number.

        None if there are fewer than three, or if one side is constant.
        """
        pairs = [(getattr(c.here.row, name), getattr(c.there, name) or 0) for c in self.features]
        fired = np.array([pair for pair in pairs if min(pair) > 0])
        if len(fired) < 3 or (fired == fired[0]).all(axis=0).any():
            return None
        return float(spearmanr(*fired.T).statistic), len(fired)

    def not_compared(self) -> Iterator[str]:
        """What the files do not allow to compare, one sentence each."""
        n = len(self.features)
        for what, absent in (
            ("densities", lambda c: c.there.density is None),
            ("promoted tokens", lambda c: c.promoted is None),
            ("tokens of the strongest examples", lambda c: c.shared_peaks is None),
        ):
            if count := sum(map(absent, self.features)):
                yield f"The {what} of {count:,} of {n:,} features could not be compared."
        if self.missing:
            yield f"{self.missing:,} features of this SAE are not in the files."


def compare(catalog: PublishedCatalog, source: Source, paths: Sequence[Path]) -> Comparison:
    """Compare a catalog with exported files; raises CatalogError as `read_exported` does, and for unreadable tables."""
    there = read_exported(paths, source, catalog.d_sae)
    with reading(catalog.folder):
        here = _figures(catalog, sorted(there))
    return Comparison(catalog, source, [Compared(number, here[number], there[number]) for number in sorted(there)])


def _figures(catalog: PublishedCatalog, features: Sequence[int]) -> Mapping[int, Here]:
    """The figures of some features in the catalog."""
    tables = catalog.tables
    logits = Groups(tables.read("logits", ("feature", "direction", "rank", "token"), features), "feature")
    contexts = tables.read("contexts", ("feature", "rank", "band", "token"), features)
    strongest = Groups(contexts[(contexts["band"] == "top") & (contexts["rank"] < PEAKS)], "feature")
    found = {}
    for row in rows(tables.read("features", features=features)):
        moved = [(r.direction, r.token) for r in logits[row.feature]]
        promoted, suppressed = ([t for d, t in moved if d == way] for way in ("promoted", "suppressed"))
        found[row.feature] = Here(row, promoted, suppressed, [r.token for r in strongest[row.feature]])
    return found
