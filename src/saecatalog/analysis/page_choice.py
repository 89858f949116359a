"""Which features get a page: the setting and what the catalog's lists name flow in, feature numbers flow out.

A page costs disk space, and a site has a limit. If a page for every feature fits, every feature has one. Otherwise the
features that a reader meets most often have one, and the figures of all others open in one shared page.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from saecatalog.constants import FEATURE_PAGE_MEAN, FEATURE_PAGES_MAX

MOST_PAGES = FEATURE_PAGES_MAX // FEATURE_PAGE_MEAN
"""The most feature pages that `auto` makes."""


def choose_pages(
    wanted: str | Sequence[int],
    d_sae: int,
    notable: Collection[int],
    noted: Collection[int],
    lists: Iterable[Iterable[int]],
    most: int = MOST_PAGES,
) -> set[int]:
    """The features with a page; `wanted` is the setting `features`.

    `lists` has the features that each kind of list in the catalog names, as often as it names them.
    """
    if wanted == "auto":
        return set(range(d_sae)) if d_sae <= most else _most_named(notable, lists, most)
    if wanted == "all":
        return set(range(d_sae))
    return set(notable) if wanted == "notable" else {*map(int, wanted), *noted}


def _most_named(notable: Collection[int], lists: Iterable[Iterable[int]], most: int) -> set[int]:
    """The notable features, then those of each list in turn, most often named first; ties by the smaller index."""
    chosen = dict.fromkeys(notable)
    for named in lists:
        counts = Counter(named)
        chosen |= dict.fromkeys(sorted(counts, key=lambda feature: (-counts[feature], feature)))
    return {*notable, *list(chosen)[:most]}
