"""Charts: every still picture is well-formed and shows the numbers, and every figure agrees with the data."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from saecatalog.site import charts, svg
from saecatalog.site.formats import number, percent, percent_interval, probability, signed
from saecatalog.site.heatmap_data import side_by_side

HOSTILE = "<a href='javascript:alert(1)'>x</a>"
SCORES = [[0.0, 1.5, 0.0], [2.25, 0.0, 4.0]]


def pictures() -> list[Markup]:
    return [
        charts.activations([0.0, 1.0, 2.0, 3.0], [5, 0, 1200]).picture,
        charts.densities([-2.0, -1.0, 0.0], [3, 4]).picture,
        charts.logits([-1.0, 0.0, 1.0], [3, 4]),
        charts.scores(
            [3, 7], [("x", 2), (HOSTILE, 1)], [0, 1, 2], SCORES, ["3", HOSTILE], [[0.75, 0.0], [1.125, 4.0]], "scores"
        ).picture,
        charts.together([3, 7], [[0.0, 0.4], [0.4, 0.0]], [[0, 1, 0.4]], [(1, 0, 2)], "together").picture,
    ]


@pytest.mark.parametrize("picture", pictures())
def test_pictures_are_well_formed_and_named(picture: Markup) -> None:
    root = ElementTree.fromstring(str(picture))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]


def test_picture_escapes_its_label() -> None:
    picture = svg.histogram([1], f'"{HOSTILE}"', (HOSTILE, HOSTILE), ("<", "&", ">"))
    assert ElementTree.fromstring(str(picture)).attrib["aria-label"] == f'"{HOSTILE}"'


def heights(picture: Markup, bins: int) -> list[int]:
    """The height of each bin of a histogram, read from the outline of its bars."""
    outline = re.findall(r'<path d="M0 (\d+)([^"]*)"', str(picture))[-1]
    bottom = at = int(outline[0])
    found: list[int] = []
    moves = re.findall(r"V(\d+)|h(\d+)", outline[1])
    widths = [int(w) for _, w in moves if w]
    for up, along in moves:
        if up:
            at = int(up)
        else:
            found += [bottom - at] * (int(along) * bins // sum(widths))
    return found


def test_histogram_draws_each_bin_by_its_count() -> None:
    """On a log axis from 1 to the next power of ten, on which a count of 1 is visible and 0 is not."""
    counts = [0, 0, 1, 10, 10, 0, 37, 1000]
    shown = heights(charts.activations(list(range(9)), counts).picture, len(counts))
    largest = shown[-1]
    expected = [largest * (np.log10(n) + 0.15) / 3.15 if n else 0 for n in counts]
    assert shown == pytest.approx(expected, abs=0.51)
    assert shown[2] > 0


def test_histogram_table_has_every_bin_from_the_first_that_holds_a_token() -> None:
    chart = charts.activations([0.0, 1.5, 3.0, 4.5, 6.0], [0, 5, 0, 1200])
    assert chart.bins == [("1.50", 5), ("3.00", 0), ("4.50", 1200)]
    assert (chart.ends, chart.counts) == ("1.5 6", "5 0 1200")


def test_bars_of_shares_are_as_long_as_the_shares() -> None:
    chart = charts.by_category([1000, 10, 1000], [150, 0, 50], [100, 0, 1])
    assert chart.top == 0.2
    assert (chart.texts, chart.active, chart.strong) == ("1000 10 1000", "150 0 50", "100 0 1")
    active, strong = [
        {int(y) // 2: int(x) / 200 * chart.top for y, x in re.findall(r"M0 (\d+)h(\d+)", path)}
        for path in re.findall(r'd="([^"]*)"', str(chart.picture))
    ]
    assert active == pytest.approx({0: 0.15, 2: 0.05}, abs=1e-3)
    assert strong == pytest.approx({0: 0.1, 2: 0.001}, abs=1e-3)


def test_matrix_shows_each_cell_in_the_step_of_its_value() -> None:
    values = [[0.0, 0.04, 0.06, 0.29], [0.31, 0.5, 0.5, 0.7], [1.0, 2.0, 0.86, 0.05], [0.0, 0.0, 0.0, 0.0]]
    shown = np.zeros((4, 4), dtype=int)
    for step, path in re.findall(r'class="m(\d)" d="([^"]*)"', str(svg.matrix(values, 1.0, "label"))):
        for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1", path):
            shown[int(y), int(x) : int(x) + int(run)] = int(step)
    assert shown.tolist() == [[0, 0, 1, 1], [2, 3, 3, 4], [5, 5, 5, 1], [0, 0, 0, 0]]


def test_heatmap_file_holds_the_scores_and_the_bands_add_up_to_the_texts() -> None:
    chart = charts.scores(
        [3, 7], [("x", 2), ("y", 1)], [4, 5, 6], SCORES, ["3 a", "7 b"], [[0.75, 0.0], [1.125, 4.0]], "scores"
    )
    assert chart.data["z"] == SCORES
    assert sum(count for _, count in chart.data["bands"]) == len(chart.data["texts"]) == 3
    assert [text.text for text in ElementTree.fromstring(str(chart.picture)).iter("text")] == ["3 a", "7 b", "x", "y"]
    assert chart.top == pytest.approx(np.quantile([1.5, 2.25, 4.0], 0.98), rel=0.05)


def test_groups_are_moved_together_and_the_rest_keeps_its_order() -> None:
    assert side_by_side([5, 1, 9, 2, 7, 3], {1: 0, 2: 0, 3: 0, 9: 4}) == [5, 1, 2, 3, 9, 7]


def test_json_between_script_tags_cannot_end_them() -> None:
    assert "<" not in charts.script_json({"a": "</script><!--"})


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(0.0), "0"),
        (number(63.27), "63.3"),
        (number(1234.5), "1,234"),
        (number(float("inf")), "∞"),
        (number(float("nan")), "–"),
        (number(3.2e-14, 2), "3.2\u202f×\u202f10⁻¹⁴"),
        (number(-2.5), "−2.50"),
        (percent(0.0031), "0.31\u00a0%"),
        (percent(0.345), "34\u00a0%"),
        (percent_interval(0.0031, 0.0027, 0.0036), "0.31\u00a0% [0.27, 0.36]"),
        (probability(0.0000001), "1\u202f×\u202f10⁻⁷"),
        (probability(0.0123), "0.012"),
        (signed(-0.5), "−0.50"),
    ],
)
def test_numbers_read_as_they_should(shown: str, expected: str) -> None:
    assert shown == expected
