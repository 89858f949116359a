"""The categories and concepts in the search, against the tables counted by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import CONCEPT, write

from saecatalog.constants import CLEAR_KINDS
from saecatalog.site.catalog import Catalog
from saecatalog.site.search import bits, index
from saecatalog.site.search_groups import groups, information


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    tables, manifest = write(tmp_path_factory.mktemp("tables"))
    return Catalog(tables, manifest)


def told(catalog: Catalog, row: Any, active: str, texts: str) -> float:
    """Bits that a feature tells of the texts of a row, counted from the scores of all texts."""
    scores = catalog.tables["text_scores"]
    everywhere = (scores["feature"] == row.feature).sum() / len(catalog.tables["texts"])
    share = getattr(row, active) / getattr(row, texts)
    return share * math.log2(share / everywhere) if share > everywhere else 0.0


def test_groups_have_the_features_that_tell_most_of_them(catalog: Catalog) -> None:
    found = {page: (title, kind, strengths) for title, page, kind, _, strengths in groups(catalog)}
    assert [kind for _, kind, _ in found.values()] == ["category"] * 3 + ["concept"] + ["clearest features"] * 4
    for ref in catalog.categories:
        rows = catalog.tables["categories"].query("category == @ref.name").itertuples()
        wanted = {row.feature: told(catalog, row, "active_inside", "n_inside") for row in rows}
        strengths = dict(found[ref.page][2])  # type: ignore[arg-type]
        assert set(strengths) == {feature for feature, value in wanted.items() if value > 0}
        best = max(wanted.values())
        for feature, strength in strengths.items():
            assert strength == pytest.approx(wanted[feature] / best, abs=0.006)
        assert list(strengths) == sorted(strengths, key=lambda f: (-wanted[f], f))
        # Feature 0 fires on every text, so it tells nothing of any.
        assert 0 not in strengths


def test_kinds_of_clear_features_lead_to_their_lists_only(catalog: Catalog) -> None:
    found = {page: (title, words, strengths) for title, page, _, words, strengths in groups(catalog)[-4:]}
    assert found == {
        f"clearest/index.html#{kind}": (CLEAR_KINDS[kind], "", [])
        for kind in ("words", "topics", "common", "positions")
    }


def test_words_of_a_concept_are_those_that_the_corpus_lacks(catalog: Catalog) -> None:
    texts = ["thank you so much", "thank them", "so kind of you", "the day"]
    frame = pd.DataFrame({"concept": CONCEPT, "content": texts})
    read = catalog.tables.read
    with pytest.MonkeyPatch.context() as patch:
        changed = lambda name, columns: frame if name == "concept_texts" else read(name, columns)  # noqa: E731
        patch.setattr(catalog.tables, "read", changed)
        words = {page: words for _, page, _, words, _ in groups(catalog)}
    assert words[catalog.concepts[0].page] == "so thank you"
    assert words[catalog.categories[0].page] == ""


def test_information_of_a_share() -> None:
    assert information(0.5, 0.125) == 1
    assert information(0.5, 0.5) == information(0.1, 0.5) == information(0, 0) == 0
    assert information(1, 0.01) > information(0.1, 0.001)


def test_bits_of_a_density() -> None:
    assert [bits(d) for d in (0.5, 1 / 128, 0.001, 1.0, 0.0)] == [1, 7, 8, 0, 0]


def test_signs_are_found_by_their_names(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path)
    labels = ["“,”, “?” or “the”", "“(” (in code)", "“🙂”", "“the” or “a”", *[""] * 8]
    changed = tables["features"].assign(label=labels)
    with pytest.MonkeyPatch.context() as patch:
        given = type(tables).__getitem__
        one = lambda self, name: changed if name == "features" else given(self, name)  # noqa: E731
        patch.setattr(type(tables), "__getitem__", one)
        catalog = Catalog(tables, manifest)
        script = index(catalog, groups(catalog))
    names = json.loads(script.removeprefix("saeSearchData(").removesuffix(");\n"))["fields"]["names"].split("\n")
    assert names[:4] == ["comma, question mark", "left parenthesis", "slightly smiling face", ""]
