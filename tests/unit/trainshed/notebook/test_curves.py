"""Curves as SVG."""

from xml.etree import ElementTree

import pytest

from shared.schemas import Resolution
from tests.support.fake_api import make_metrics
from trainshed.notebook.curves import Line, chart, lines_of

SVG = "{http://www.w3.org/2000/svg}"


def parsed(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(chart("loss", lines))


def test_a_chart_is_xml_with_a_line_and_a_legend_for_each_curve() -> None:
    tree = parsed(*lines_of(make_metrics()))
    assert len(tree.findall(f".//{SVG}polyline")) == 4
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "epoch"} <= set(
        "\n".join(tree.itertext()).split()
    )


@pytest.mark.parametrize(("resolution", "first"), [(Resolution.EPOCH, 1), (Resolution.STEP, 0)])
def test_epochs_count_from_1_as_elsewhere(resolution: Resolution, first: int) -> None:
    assert lines_of(make_metrics(resolution=resolution))[0].x[0] == first


def test_the_points_span_the_chart_with_the_greatest_value_at_the_top() -> None:
    line = parsed(Line("a", "step", (0, 1, 2), (1.0, 3.0, 2.0))).find(f".//{SVG}polyline")
    assert line is not None
    assert line.attrib["points"] == "48.0,160.0 200.0,4.0 352.0,82.0"


def test_one_point_and_a_constant_are_drawn_too() -> None:
    assert parsed(Line("a", "epoch", (1,), (0.5,))).find(f".//{SVG}circle") is not None
    assert parsed(Line("a", "epoch", (1, 2), (0.5, 0.5))).find(f".//{SVG}polyline") is not None


def test_text_has_the_colour_of_the_page() -> None:
    svg = parsed(Line("a", "epoch", (1,), (0.5,))).find(f"{SVG}svg")
    assert svg is not None
    assert svg.attrib["fill"] == "currentColor"


def test_a_hostile_name_stays_text() -> None:
    tree = parsed(Line("<script>&", "epoch", (1,), (0.5,)))
    assert "<script>&" in "".join(tree.itertext())
