"""Examples of features against loops over dense arrays, and by hand."""

from collections.abc import Callable
from pathlib import Path

import cases
import numpy as np
import pytest
import reference
from cases import make_case
from studies import Study, analyse_case

from saecatalog.analysis.contexts import AFTER, BEFORE, PER_BAND, band_bounds
from saecatalog.config import AnalysisConfig
from saecatalog.verify import formulas


def test_top_contexts(study: Study, models: Callable) -> None:
    table = study.table("contexts")
    top = table[table["band"] == "top"]
    assert sorted(set(top["feature"])) == study.fired
    for feature, rows in top.groupby("feature"):
        wanted = cases.top_contexts(study.case, feature, study.config.top)
        assert rows["rank"].tolist() == list(range(len(wanted)))
        assert rows["text"].tolist() == [study.case.text_ids[t] for t, *_ in wanted]
        assert rows["category"].tolist() == [study.case.categories[t] for t, *_ in wanted]
        assert rows["position"].tolist() == [position for _, position, _, _ in wanted]
        assert rows["activation"].tolist() == [value for _, _, value, _ in wanted]
        assert rows["similar_hidden"].tolist() == [hidden for *_, hidden in wanted]
        ids = [study.case.tokens[t][position] for t, position, _, _ in wanted]
        assert rows["token"].tolist() == [reference.token_text(models(study.shape), i) for i in ids]


def test_duplicates_are_hidden_and_counted(study: Study) -> None:
    """The corpus contains one text three times, so every feature that peaks there has near-duplicates."""
    top = study.table("contexts").query("band == 'top'")
    assert top["similar_hidden"].max() >= 2
    assert (top["activation"] > 0).all()
    assert not top.duplicated(["feature", "text"]).any()
    assert (top.groupby("feature").size() <= study.config.top).all()


def test_bands_are_equal_count_slices_of_the_ranks(study: Study) -> None:
    table = study.table("contexts")
    shown = table[table["band"] != "top"]
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    slices = {feature: cases.bands(study.case, feature) for feature in study.fired}
    for row in shown.itertuples():
        assert (where[row.text], row.position) in slices[row.feature][row.band]
        assert row.activation == study.case.activations[where[row.text]][row.position, row.feature]
        assert row.activation > 0
    assert (shown["similar_hidden"] == 0).all()
    for _, rows in shown.groupby(["feature", "band"]):
        assert len(rows) <= PER_BAND
        assert rows["rank"].tolist() == list(range(len(rows)))
    if study.config.top < 10:
        assert set(shown["band"]) == {"q75-100", "q50-75", "q25-50", "q0-25"}


def test_the_quartiles_of_the_features_table_are_the_ends_of_the_bands(study: Study) -> None:
    quartiles = study.table("features").set_index("feature")
    ends = {"q75-100": ("q75", "max"), "q50-75": ("q50", "q75"), "q25-50": ("q25", "q50"), "q0-25": ("", "q25")}
    for row in study.table("contexts").query("band != 'top'").itertuples():
        low, high = ends[row.band]
        of_feature = quartiles.loc[row.feature]
        assert (of_feature[low] if low else 0) <= row.activation <= of_feature[high]


@pytest.mark.parametrize("n", range(1, 30))
def test_bands_meet_at_the_quartiles_of_any_number_of_tokens(n: int) -> None:
    """A token above a quartile is in a band above it, one below in a band below; sizes differ by one at most."""
    values = np.arange(n, 0, -1.0)
    bounds = band_bounds(n)
    sizes = np.diff(bounds)
    assert (bounds[0], bounds[-1]) == (0, n)
    assert max(sizes) - min(sizes) <= 1
    for place, share in ((1, 0.75), (2, 0.5), (3, 0.25)):
        quartile = np.quantile(values, share)
        assert (values[: bounds[place]] >= quartile).all()
        assert (values[bounds[place] :] < quartile).all()
    names = [formulas.band_of(rank, n) for rank in range(n)]
    assert names == [name for name, size in zip(formulas.BANDS, sizes, strict=True) for _ in range(size)]


def test_no_text_is_shown_twice_for_a_feature(study: Study) -> None:
    table = study.table("contexts")
    assert not table.duplicated(["feature", "text"]).any()
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    for _, rows in table.groupby("feature"):
        around = [formulas.surroundings(study.case, where[r.text], r.position) for r in rows.itertuples()]
        assert len(set(around)) == len(around)


def test_an_example_has_its_part_shown_and_every_activation_of_its_text(study: Study) -> None:
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    beyond = 0
    for row in study.table("contexts").itertuples():
        values = study.case.activations[where[row.text]][:, row.feature]
        start, end = max(0, row.position - BEFORE), min(len(values), row.position + AFTER + 1)
        assert (row.window_start, row.window_end) == (start, end)
        active = [i for i, value in enumerate(values) if value > 0]
        beyond += sum(not start <= i < end for i in active)
        assert list(row.active_positions) == active
        assert list(row.active_values) == [values[i] for i in active]
    assert beyond > 0 or max(map(len, study.case.tokens)) <= BEFORE + 1


def test_near_duplicates_go_by_nine_tokens(tmp_path: Path) -> None:
    """Same peak and four tokens on each side: hidden. A difference four away: shown. Five away: hidden."""
    middle = [10, 11, 12, 13, 14, 15, 16, 17, 18]
    tokens = [[1, *middle, 2], [3, *middle, 4], [1, 99, *middle[1:], 2], [5, *middle, 6], middle]
    rows = np.zeros((11, 1))
    rows[5] = 1
    activations = [rows * 5, rows * 4, rows * 3, rows * 2, rows[1:10] * 1]
    table = analyse_case(tmp_path, make_case(activations, None, tokens), AnalysisConfig()).tables["contexts"]
    top = table[table["band"] == "top"]
    assert top[["text", "activation", "similar_hidden"]].to_numpy().tolist() == [["t00", 5, 3], ["t02", 3, 0]]


def test_an_end_of_a_text_is_not_a_token_of_the_next(tmp_path: Path) -> None:
    """Surroundings stop at the text's ends, even if the neighbouring text has the same tokens."""
    tokens = [[7, 8], [9, 7, 8], [9]]
    activations = [[[2.0], [0.0]], [[0.0], [3.0], [0.0]], [[0.0]]]
    table = analyse_case(tmp_path, make_case(activations, None, tokens), AnalysisConfig()).tables["contexts"]
    assert table.query("band == 'top'")["text"].tolist() == ["t01", "t00"]


def test_bands_show_weak_firings(tmp_path: Path) -> None:
    values = np.arange(1, 41, dtype=np.float32)[:, None, None]
    table = analyse_case(tmp_path, make_case(list(values)), AnalysisConfig(top=4)).tables["contexts"]
    for band, low, high in (("q75-100", 31, 40), ("q50-75", 21, 30), ("q25-50", 11, 20), ("q0-25", 1, 10)):
        shown = table[table["band"] == band]["activation"]
        assert len(shown) == PER_BAND
        assert shown.between(low, high).all()
    assert table.query("band == 'top'")["activation"].tolist() == [40, 39, 38, 37]
