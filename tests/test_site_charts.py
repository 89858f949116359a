"""Charts: Plotly accepts every figure as the type asked for, and every still picture is well-formed."""

import re
import xml.etree.ElementTree as ElementTree

import plotly.graph_objects as go
import pytest

from saecatalog.site import charts, svg
from saecatalog.site.charts import Chart
from saecatalog.site.formats import number, percent, percent_interval, probability, signed

HOSTILE = "<a href='javascript:alert(1)'>x</a>"


def made() -> list[tuple[str, Chart]]:
    return [
        ("bar", charts.activations([0.0, 1.0, 2.0, 3.0], [5, 0, 1200])),
        ("bar", charts.densities([-2.0, -1.0, 0.0], [3, 4])),
        ("bar", charts.by_category([0.5, 0.0], [0.1, 0.0], 5.0)),
        ("heatmap", charts.scores([3, 7], ["a", HOSTILE], ["x", HOSTILE], [[0.0, 1.5], [2.25, 0.0]], "scores")),
        ("heatmap", charts.together([3, 7], [[0.0, 0.4], [0.4, 0.0]], "together")),
    ]


@pytest.mark.parametrize(("kind", "chart"), made())
def test_plotly_accepts_the_figure_as_the_type_asked_for(kind: str, chart: Chart) -> None:
    figure = go.Figure(chart.figure)
    assert {trace.type for trace in figure.data} == {kind} == {chart.kind}


@pytest.mark.parametrize(("kind", "chart"), made())
def test_figures_carry_no_template_and_no_tags_from_names(kind: str, chart: Chart) -> None:
    assert "template" not in chart.figure["layout"]
    assert "<" not in chart.data
    traces = [
        {name: value for name, value in trace.items() if name != "hovertemplate"} for trace in chart.figure["data"]
    ]
    layout = {name: value for name, value in chart.figure["layout"].items() if name != "meta"}
    assert "<a" not in repr(traces) + repr(layout)


@pytest.mark.parametrize("chart", [chart for _, chart in made() if chart.picture])
def test_pictures_are_well_formed_and_named(chart: Chart) -> None:
    root = ElementTree.fromstring(str(chart.picture))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]


def test_picture_escapes_its_label() -> None:
    picture = svg.histogram([1], f'"{HOSTILE}"', HOSTILE, ("<", "&", ">"))
    assert ElementTree.fromstring(str(picture)).attrib["aria-label"] == f'"{HOSTILE}"'


def test_histogram_draws_each_bin_that_has_tokens() -> None:
    """The outline goes up to each bin's height, which grows with the count, and down to the axis where it is 0."""
    picture = str(charts.activations([0.0, 1.0, 2.0, 3.0], [5, 0, 1200]).picture)
    start, *heights = re.findall(r"M\d+ (\d+)|V(\d+)h", picture.split('class="bar"')[1])
    axis, (few, none, many) = int(start[0]), [int(h) for _, h in heights]
    assert none == axis
    assert many < few < axis


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
