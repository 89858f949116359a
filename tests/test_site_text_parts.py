"""The part of a long text that a token is in."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.site import text_parts
from saecatalog.site.text_parts import Part, part_at, parts


@given(content=st.text("ab é\u0301👍🏽\u200d", max_size=30), per_character=st.integers(1, 3))
def test_the_part_of_a_token_is_the_one_with_it_for_texts_of_any_length(content: str, per_character: int) -> None:
    """Texts shorter than a page, as long as one, and longer."""
    ends = [end for end in range(1, len(content) + 1) for _ in range(per_character)]
    row = SimpleNamespace(content=content, token_ends=ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_parts, "MOST_TOKENS", 10)
        all_parts = parts(row)
        for position in range(len(ends)):
            assert [part_at(row, position)] == [part for part in all_parts if position in part]


def test_a_text_without_tokens_has_one_empty_part() -> None:
    row = SimpleNamespace(content="", token_ends=[])
    assert parts(row) == [part_at(row, 0)] == [Part(1, 0, 0)]
