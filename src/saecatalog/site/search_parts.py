"""The scripts of the search: the index, and in a catalog of a wide dictionary the parts that a query loads by need.

In: a `Catalog`. Out: paths and scripts. Pages opened from a folder can load whole scripts only, so each part is one:

    search/words/N.js     consecutive words, and for each the features that it finds with how much it tells of them
    search/features/N.js  label and figures of `IN_PART` consecutive features, to show those found
    search/parts.js       the first word of each part, and frequent words to compare a mistyped one with

A feature is found here by words of its label, its tokens, the names of its signs and its explanation, by beginnings of
words, and by single signs. Its examples are left out, which would be most of the data, and so is the inside of words.
"""

import math
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import regex

from saecatalog.site import formats, search
from saecatalog.site.catalog import Catalog
from saecatalog.site.charts import script_json
from saecatalog.site.packing import packed_whole, steps
from saecatalog.site.records import blocks
from saecatalog.site.search_groups import groups

FOLDER = "search"
IN_PART = 512
PART = 1 << 16
"""Characters of a script with words; a word with more features has a script of its own."""
FREQUENT = 10_000
BLOCK = 1 << 14
"""Features whose tokens are in memory at once."""

WORTH = {"label": (8, True), "tokens": (4, True), "names": (4, True), "explanation": (3, False)}
"""What a word of a field is worth, and whether one at the end is worth three quarters of that: as in `search.js`."""

SPACELESS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_SPACELESS = "".join(rf"\p{{Script={name}}}" for name in SPACELESS)
KEY = rf"(?:(?![{_SPACELESS}])[\p{{L}}\p{{N}}\p{{M}}_])+|\S"
"""What is looked up: a word, or a single sign, such as one of a script that has no spaces. The browser uses it too."""

NUMBERS = 28
"""Bits of a feature's number in a posting; the level is above them."""
LEVELS = 16


def scripts(catalog: Catalog, parts: bool = True) -> Iterator[tuple[str, str]]:
    """The path and content of each script of the search: of the index alone, if the parts are not asked for."""
    found = groups(catalog)
    yield search.INDEX, search.index(catalog, found)
    if parts and search.is_divided(catalog):
        inside = set(search.indexed(catalog, found))
        yield from _parts(catalog, [number for number in search.searchable(catalog) if number not in inside])


def _parts(catalog: Catalog, numbers: Sequence[int]) -> Iterator[tuple[str, str]]:
    postings = _postings(catalog, numbers)
    # The browser compares words by their UTF-16 units.
    words = sorted(postings, key=lambda word: word.encode("utf-16-be", "surrogatepass"))
    frequent = sorted((w for w in words if search.WORD.fullmatch(w)), key=lambda w: -len(postings[w]))[:FREQUENT]
    first = []
    for place, (part, packed) in enumerate(_word_parts(words, postings)):
        first.append(part[0])
        data = {"words": " ".join(part), "postings": " ".join(packed)}
        yield f"{FOLDER}/words/{place}.js", f"saeSearchWords({place},{script_json(data)});\n"
    yield from _feature_parts(catalog)
    known = {"first": " ".join(first), "frequent": " ".join(frequent), "key": KEY, "inPart": IN_PART}
    yield f"{FOLDER}/parts.js", f"saeSearchParts({script_json(known)});\n"


def _postings(catalog: Catalog, numbers: Sequence[int]) -> dict[str, MutableSequence[int]]:
    """For each word the features it finds, each as its level above the bits of its number."""
    found: dict[str, MutableSequence[int]] = {}
    for block in blocks(numbers, BLOCK):
        source = search.Source.of(catalog, block)
        densities = catalog.tables.features.loc[list(block), "density"].tolist()
        for number, density in zip(block, densities, strict=True):
            share = 0.1 + search.bits(density) / 8
            for word, worth in _worths(source, number).items():
                found.setdefault(word, array("I")).append(level(worth * share) << NUMBERS | number)
    return found


def level(worth: float) -> int:
    """A worth in 16 steps, four for each factor of two: `2 ** ((level - 3) / 4)`, from 0.6 to 8."""
    return max(0, min(LEVELS - 1, round(4 * math.log2(worth)) + 3))


def _worths(source: search.Source, number: int) -> dict[str, float]:
    """Each word of a feature, and the most that it is worth in one of the fields."""
    best: dict[str, float] = {}
    for name, (worth, ordered) in WORTH.items():
        pieces = search.FIELDS[name](source, number).lower().split()
        starts = [0, *accumulate(len(piece) + 1 for piece in pieces)]
        length = max(1, starts[-1] - 1)
        for piece, start in zip(pieces, starts, strict=False):
            for word, place in _keys(piece):
                graded = worth * (1 - (start + place) / length / 4) if ordered else worth
                best[word] = max(graded, best.get(word, 0))
    return best


@lru_cache(maxsize=1 << 18)
def _keys(piece: str) -> tuple[tuple[str, int], ...]:
    """The words and signs of a text without spaces, with their places."""
    return tuple((match.group(), match.start()) for match in regex.finditer(KEY, piece))


def _packed(postings: MutableSequence[int]) -> str:
    """For each level, the highest first: the level, how many features it has, and the steps between their numbers."""
    values = np.array(postings, np.int64)
    levels, numbers = values >> NUMBERS, values & ((1 << NUMBERS) - 1)
    runs = [(worth, np.sort(numbers[levels == worth])) for worth in np.unique(levels)[::-1].tolist()]
    return packed_whole(np.concatenate([part for worth, run in runs for part in ([worth, len(run)], steps(run))]))


def _word_parts(
    words: Sequence[str], postings: dict[str, MutableSequence[int]]
) -> Iterator[tuple[list[str], list[str]]]:
    """The words of each part with their packed features."""
    part: list[str] = []
    packed: list[str] = []
    size = 0
    for word in words:
        text = _packed(postings[word])
        if part and size + len(word) + len(text) > PART:
            yield part, packed
            part, packed, size = [], [], 0
        part.append(word)
        packed.append(text)
        size += len(word) + len(text) + 2
    if part:
        yield part, packed


def _feature_parts(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """The label, and the density and maximum, of each feature; a silent one has no figures."""
    frame = catalog.tables.features
    for place, first in enumerate(range(0, catalog.manifest["sae"]["d_sae"], IN_PART)):
        part = frame.loc[first : first + IN_PART - 1]
        columns = (part[name].tolist() for name in ("n_active", "density", "max"))
        figures = [
            f"{formats.percent(density)}, max {formats.number(largest)}" if active else ""
            for active, density, largest in zip(*columns, strict=True)
        ]
        data = {"labels": "\n".join(" ".join(label.split()) for label in part["label"]), "figures": "\n".join(figures)}
        yield f"{FOLDER}/features/{place}.js", f"saeSearchFeatures({place},{script_json(data)});\n"
