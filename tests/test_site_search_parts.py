"""The search of a wide dictionary: its scripts, read without the page's script, against the fields of every feature."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import PAGED, SILENT, write
from wide import SILENT_TOO, WIDE

from saecatalog.site import formats, search, search_parts
from saecatalog.site.catalog import Catalog

STEP = 2**0.25
SPACELESS = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]")


def arguments(path: Path) -> Any:
    """What a script calls its function with."""
    _, _, given_ = path.read_text("utf-8").partition("(")
    return json.loads(f"[{given_.removesuffix(');' + chr(10))}]")[-1]


def numbers_of(packed: str) -> Iterator[int]:
    """Whole numbers of seven bits a byte."""
    value = shift = 0
    for byte in base64.b64decode(packed):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield value
            value = shift = 0


def postings(packed: str) -> dict[int, int]:
    """The level of each feature of a word."""
    found: dict[int, int] = {}
    values = numbers_of(packed)
    for level in values:
        number = 0
        for _ in range(next(values)):
            number += next(values)
            assert number not in found
            found[number] = level
    return found


def pieces(text: str) -> Iterator[tuple[str, int]]:
    """The words and single signs of a text with their places, sign by sign."""
    word, start = "", 0
    for place, sign in enumerate(text + " "):
        joins = (sign.isalnum() or sign in "_\u0307") and not SPACELESS.match(sign)
        if joins:
            word, start = word + sign, start if word else place
            continue
        if word:
            yield word, start
            word = ""
        if not sign.isspace():
            yield sign, place


def worths(source: search.Source, number: int) -> dict[str, float]:
    """What every word is worth for a feature, the slow way."""
    best: dict[str, float] = {}
    for name, worth in (("label", 8), ("tokens", 4), ("names", 4), ("explanation", 3)):
        text = " ".join(search.FIELDS[name](source, number).lower().split())
        for word, place in pieces(text):
            graded = worth * (1 if name == "explanation" else 1 - place / len(text) / 4)
            best[word] = max(graded, best.get(word, 0))
    share = 0.1 + search.bits(source.catalog.features[number].density) / 8
    return {word: worth * share for word, worth in best.items()}


def test_every_word_of_every_feature_is_in_its_part_once(wide: tuple[Catalog, Path]) -> None:
    catalog, site = wide
    listed = arguments(site / search.INDEX)["numbers"]
    assert set(PAGED) <= set(listed) < set(range(12))
    source = search.Source.of(catalog)
    rest = [n for n in range(WIDE) if n not in {*listed, SILENT, SILENT_TOO}]
    wanted = {n: worths(source, n) for n in rest}
    found: dict[int, dict[str, int]] = {n: {} for n in rest}
    order: list[str] = []
    first = arguments(site / "search/parts.js")["first"].split(" ")
    for place, start in enumerate(first):
        part = arguments(site / f"search/words/{place}.js")
        words = part["words"].split(" ")
        assert words[0] == start
        order += words
        for word, packed in zip(words, part["postings"].split(" "), strict=True):
            for number, level in postings(packed).items():
                found[number][word] = level
    assert len(first) > 5
    assert not (site / f"search/words/{len(first)}.js").exists()
    assert order == sorted(set(order), key=lambda word: word.encode("utf-16-be"))
    for number in rest:
        assert found[number].keys() == wanted[number].keys(), number
        for word, worth in wanted[number].items():
            assert 1 / STEP < 2 ** ((found[number][word] - 3) / 4) / max(worth, 0.6) < STEP, (number, word)


def test_what_is_shown_of_each_feature_is_in_its_part(wide: tuple[Catalog, Path]) -> None:
    catalog, site = wide
    in_part = arguments(site / "search/parts.js")["inPart"]
    parts = [arguments(site / f"search/features/{place}.js") for place in range(WIDE // in_part)]
    labels = [label for part in parts for label in part["labels"].split("\n")]
    figures = [one for part in parts for one in part["figures"].split("\n")]
    rows = [catalog.features[n] for n in range(WIDE)]
    assert labels == [row.label for row in rows]
    assert figures == [f"{formats.percent(r.density)}, max {formats.number(r.max)}" if r.n_active else "" for r in rows]


def test_a_small_dictionary_has_one_index(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path)
    ((path, script),) = search_parts.scripts(Catalog(tables, manifest))
    assert path == "search-index.js"
    assert '"parts"' not in script


def test_an_index_alone_is_the_same(wide: tuple[Catalog, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """After an edit of a note only the index is written again; the parts do not depend on it."""
    catalog, site = wide
    monkeypatch.setattr(search, "WHOLE", 20)
    ((path, script),) = search_parts.scripts(catalog, parts=False)
    assert script == (site / path).read_text("utf-8")


@given(st.floats(min_value=0.58, max_value=8.8))
def test_a_level_keeps_a_worth_within_a_step(worth: float) -> None:
    level = search_parts.level(worth)
    assert 0 <= level < search_parts.LEVELS
    assert 1 / STEP < 2 ** ((level - 3) / 4) / worth < STEP
