"""The words of the search index."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from saecatalog.site.search import WORD, _words

TEXTS = st.lists(st.text("abcdΣΟς’ \n_9", max_size=14), max_size=8)


@given(st.lists(TEXTS, max_size=3))
def test_words_are_those_of_each_text_the_most_frequent_first(fields: list[list[str]]) -> None:
    """In lower case, which depends on what follows a letter: a word of one text does not run on in the next."""
    counts = Counter(word for texts in fields for text in texts for word in WORD.findall(text.lower()))
    assert _words(fields) == [word for word, count in counts.most_common() if count > 1]
