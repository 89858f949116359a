"""Reading tables: a column has the same type and values whichever part of the table is read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import write

from saecatalog.schemas import FEATURE_TABLES, SCHEMAS
from saecatalog.tables import Tables, write_table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return write(tmp_path_factory.mktemp("tables"))[0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_part_has_the_types_and_values_of_the_whole(tables: Tables, name: str) -> None:
    whole = tables[name]
    assert list(whole) == list(SCHEMAS[name])
    some = np.arange(len(whole)) % 3 == 1
    pd.testing.assert_frame_equal(tables.read(name, where=some), whole[some].reset_index(drop=True))
    assert tables.read(name, where=np.zeros(len(whole), bool)).dtypes.equals(whole.dtypes)
    backwards = list(reversed(SCHEMAS[name]))
    pd.testing.assert_frame_equal(tables.read(name, backwards), whole[backwards])
    pd.testing.assert_frame_equal(
        tables.read(name, backwards, where=some), whole.loc[some, backwards].reset_index(drop=True)
    )
    for column in whole:
        pd.testing.assert_frame_equal(tables.read(name, [column]), whole[[column]])


@pytest.mark.parametrize("name", [*FEATURE_TABLES, "features", "text_scores"])
def test_rows_about_features_have_the_types_of_the_whole(tables: Tables, name: str) -> None:
    whole, features = tables[name], [1, 2, 5]
    about = whole[list(FEATURE_TABLES.get(name, ("feature",)))].isin(features).any(axis=1)
    pd.testing.assert_frame_equal(tables.read(name, features=features), whole[about].reset_index(drop=True))
    some = np.arange(len(whole)) % 2 == 0
    expected = whole[about & some].reset_index(drop=True)
    pd.testing.assert_frame_equal(tables.read(name, features=features, where=some), expected)
    nothing = tables.read(name, features=[])
    assert nothing.empty
    assert nothing.dtypes.equals(whole.dtypes)


def test_equal_strings_are_one_object_across_row_groups(tmp_path: Path, tables: Tables) -> None:
    many = pd.concat([tables["text_scores"]] * 2000, ignore_index=True)
    write_table(tmp_path, "text_scores", many)
    for frame in (Tables(tmp_path)["text_scores"], Tables(tmp_path).read("text_scores", ["text"], features=[1])):
        assert len({id(text) for text in frame["text"]}) == frame["text"].nunique() < len(frame)


def test_unknown_table_is_an_error(tables: Tables) -> None:
    with pytest.raises(KeyError):
        tables["nothing"]
