"""Files and their text, where `test_texts_corpus.py` and `test_notes.py` do not go through them."""

from pathlib import Path

import pytest

from saecatalog.errors import CatalogError
from saecatalog.texts.text_files import decode, files_below, once, printable


def test_a_folder_to_which_many_ways_lead_is_read_once(tmp_path: Path) -> None:
    """Each folder has two links to the next, so that there are 2**30 ways to the file in the last."""
    for n in range(30):
        (tmp_path / f"{n}").mkdir()
        for side in "ab":
            (tmp_path / f"{n}" / side).symlink_to(f"../{n + 1}")
    (tmp_path / "30").mkdir()
    (tmp_path / "30" / "file.txt").touch()
    assert [path.name for path in files_below(tmp_path / "0")] == ["file.txt"]


def test_the_own_name_of_a_file_counts_and_not_that_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "z.txt").touch()
    (tmp_path / "a.txt").symlink_to("z.txt")
    assert [path.name for path in files_below(tmp_path)] == ["a.txt", "z.txt"]
    assert [path.name for path in once(files_below(tmp_path))] == ["z.txt"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["Grüße", "Привет, мир\n", "one two\nthree four\n" * 999])
def test_other_encodings_are_told_apart(encoding: str, text: str) -> None:
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(CatalogError, match=f"is {name}, not UTF-8"):
        decode(text.encode(encoding), Path("x"), "file")


def test_what_cannot_be_printed_is_escaped() -> None:
    assert printable("a b/漢\n\u202e\udcff.txt") == "a b/漢\\n\\u202e\\udcff.txt"
