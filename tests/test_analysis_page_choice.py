"""Which features get a page, against the settings and a slow count of what the lists name."""

from hypothesis import given
from hypothesis import strategies as st

from saecatalog.analysis.page_choice import MOST_PAGES, choose_pages

numbers = st.lists(st.integers(0, 39), max_size=30)


def test_each_setting_by_hand() -> None:
    lists = [[7, 8], [9]]
    chosen = {wanted: choose_pages(wanted, 10, [1, 2], [2], lists) for wanted in ("auto", "all", "notable", (4, 5))}
    assert chosen["auto"] == chosen["all"] == set(range(10))
    assert chosen["notable"] == {1, 2}
    assert chosen[4, 5] == {2, 4, 5}, "a note needs a page"
    assert choose_pages("auto", 10, [1, 2], [], lists, most=3) == {1, 2, 7}


def test_common_dictionaries_fit() -> None:
    assert 24_576 <= MOST_PAGES < 32_768


@given(notable=st.sets(st.integers(0, 39), max_size=10), lists=st.lists(numbers, max_size=3), most=st.integers(0, 39))
def test_too_many_features_leave_the_notable_and_the_most_named(
    notable: set[int], lists: list[list[int]], most: int
) -> None:
    chosen = choose_pages("auto", 40, notable, [], lists, most)
    assert notable <= chosen
    named = {number for found in lists for number in found}
    assert chosen <= notable | named
    assert len(chosen) == max(len(notable), min(most, len(notable | named)))
    # What an earlier list names comes first; within a list, what it names more often.
    rank = {n: next((i, -found.count(n), n) for i, found in enumerate(lists) if n in found) for n in named - notable}
    kept, left = [rank[n] for n in rank if n in chosen], [rank[n] for n in rank if n not in chosen]
    assert not kept or not left or max(kept) < min(left)
