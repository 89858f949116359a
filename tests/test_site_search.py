"""The words of the search index."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import FEATURES, write

from saecatalog.site import search
from saecatalog.site.catalog import Catalog
from saecatalog.site.search import WORD, _words, index, with_notes_of
from saecatalog.site.search_groups import groups
from saecatalog.tables import Tables

TEXTS = st.lists(st.text("abcdΣΟς’ \n_9", max_size=14), max_size=8)


@given(st.lists(TEXTS, max_size=3))
def test_words_are_those_of_each_text_the_most_frequent_first(fields: list[list[str]]) -> None:
    """In lower case, which depends on what follows a letter: a word of one text does not run on in the next."""
    counts = Counter(word for texts in fields for text in texts for word in WORD.findall(text.lower()))
    assert _words(fields) == [word for word, count in counts.most_common() if count > 1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, dict[str, Any]]:
    return write(tmp_path_factory.mktemp("world") / "tables")


PIECES = st.sampled_from(["harbour", "Monday", "Σ", "ς", " ", "\n", "\x85", "\\", "<", "&", "é", "\u0301", "1"])
NOTES = st.dictionaries(
    st.tuples(st.just("feature"), st.integers(0, FEATURES - 1).map(str)), st.lists(PIECES, max_size=9).map("".join)
)


@settings(max_examples=30)
@given(NOTES, NOTES, st.booleans())
def test_an_index_with_other_notes_is_the_index_of_the_catalog_with_these(
    world: tuple[Tables, dict[str, Any]], before: dict[Any, str], after: dict[Any, str], divided: bool
) -> None:
    def noted(notes: dict[Any, str]) -> Catalog:
        catalog = Catalog(*world)
        catalog.notes = notes
        return catalog

    with pytest.MonkeyPatch.context() as patch:
        if divided:
            patch.setattr(search, "WHOLE", 1)
        one, other = (index(catalog, groups(catalog)) for catalog in map(noted, (before, after)))
        assert with_notes_of(one, noted(after)) == other
