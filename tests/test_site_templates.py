"""The templates: a mistake in one is found with its file and line."""

from pathlib import Path

import pytest

from saecatalog.errors import CatalogError
from saecatalog.site.templates import check_templates


def test_a_mistake_in_a_template_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "about.html").write_text("<p>\n\n{% nonsense %}\n", encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        check_templates(tmp_path)
    assert error.value.where == f"{tmp_path / 'about.html'}:3"
