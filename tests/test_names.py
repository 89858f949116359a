"""Names as file names: short enough, allowed everywhere, different for different names, and stable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.names import LONGEST_SLUG, slug

LONGEST_SUFFIX = "category-.embed.html-0123456789-1000000"
DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Python code", "python-code"),
        ("sql_and  data", "sql-and-data"),
        ("Émile", "emile"),
        ("漢字", "漢字"),
        ("n" * LONGEST_SLUG, "n" * LONGEST_SLUG),
        ("CON", "con-1143da2b"),
        ("index", "index-1bc04b52"),
        ("..", "unnamed-5ec1f7e7"),
        ("🙂", "unnamed-d06f1525"),
    ],
)
def test_known_names(name: str, expected: str) -> None:
    assert slug(name) == expected


@given(st.text(st.characters(), max_size=400))
def test_a_file_of_any_name_can_be_written_anywhere(name: str) -> None:
    made = slug(name)
    assert made
    assert 0 < len((made + LONGEST_SUFFIX).encode()) <= 255
    assert made not in DEVICES | {"index", ".", ".."}
    assert not set(made) & set('/\\:*?"<>|.\0 ')
    assert slug(made) == made


@pytest.mark.parametrize("length", [240, 330, 5000])
def test_names_that_differ_late_only_have_different_files(length: int) -> None:
    names = ["n" * length + end for end in ("", "a", "b")] + ["漢" * length, "漢" * length + "字"]
    assert len(set(map(slug, names))) == len(names)


def test_names_of_signs_only_have_different_files() -> None:
    assert len(set(map(slug, ["🙂", "🚀", "..", "/", "", "?", "!"]))) == 7


def test_case_and_accents_do_not_change_the_file_even_of_long_names() -> None:
    name = "Ünïcode " * 50
    assert slug(name) == slug(name.lower()) == slug("unicode " * 50)
