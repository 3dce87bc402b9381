from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.reports import charts
from stages.reports.charts import Interval, Series, Step

HOSTILE = '"><script>alert(1)</script>&'


def tree(svg: str) -> ElementTree.Element:
    """Well formed, without a number that is none."""
    assert not re.search(r"nan|inf\b", svg, re.IGNORECASE)
    return ElementTree.fromstring(svg)


def texts(element: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in element.iter("text")]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_inside_evenly_apart_and_about_as_many_as_asked_for(low: float, width: float, count: int) -> None:
    ticks = charts.nice_ticks(low, low + width, count)
    assert len(ticks) <= count + 2
    assert all(low - 1e-6 * width <= t <= low + width * (1 + 1e-6) for t in ticks)
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0]) if len(ticks) > 1 else True


def test_ticks_are_round_numbers() -> None:
    assert charts.nice_ticks(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1]
    assert charts.nice_ticks(0.31, 0.72, 5) == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert charts.nice_ticks(0, 1993, 4) == [0, 500, 1000, 1500]


def test_every_text_is_escaped() -> None:
    heights, edges = np.array([1.0, 2.0]), np.array([0.0, 0.5, 1.0])
    drawn = [
        charts.histogram(HOSTILE, HOSTILE, HOSTILE, edges, [Series(HOSTILE, HOSTILE, heights)]),
        charts.bars(HOSTILE, HOSTILE, HOSTILE, [HOSTILE, "b"], heights, style=HOSTILE),
        charts.line(HOSTILE, HOSTILE, HOSTILE, heights, heights, style=HOSTILE),
        charts.funnel(HOSTILE, [Step(HOSTILE, 4, 2, HOSTILE)]),
        charts.intervals(HOSTILE, HOSTILE, [Interval(HOSTILE, 0.5, 0.4, 0.6)]),
        charts.score_bar(0.5, 0, 1, 0.6, HOSTILE),
    ]
    for svg in drawn:
        assert "<script" not in svg
        assert not [e for e in tree(svg).iter() if e.tag == "script"]
        assert tree(svg).attrib["aria-label"]


def test_bar_heights_are_in_proportion() -> None:
    drawn = tree(charts.bars("t", "x", "y", ["a", "b", "c"], np.array([10, 0, 5]), style="kept"))
    heights = [float(e.attrib["height"]) for e in drawn.iter("rect")]
    assert heights[1] == 0
    assert heights[0] == pytest.approx(2 * heights[2], abs=0.11)
    assert {"x", "y", "a", "b", "c", "10", "5"} <= set(texts(drawn))


def test_a_funnel_shows_what_is_left_and_what_went() -> None:
    drawn = tree(charts.funnel("t", [Step("candidates", 200, 200), Step("margin", 200, 50)]))
    assert texts(drawn) == ["candidates", "200", "margin", "−150 → 50 (25.0% of all)"]
    bars = [(e.attrib["class"], float(e.attrib["x"]), float(e.attrib["width"])) for e in drawn.iter("rect")]
    quarter = charts.WIDTH / 4
    assert bars[-2:] == [("bar kept", 0, quarter), ("bar dropped", quarter, 3 * quarter)]


def test_a_score_outside_of_the_scale_stays_on_its_track() -> None:
    widths = [
        float(list(tree(charts.score_bar(s, 0.0, 1.0, None, "kept")).iter("rect"))[1].attrib["width"])
        for s in (-1, 0.25, 2)
    ]
    assert widths == [0, 25, 100]


@pytest.mark.parametrize("values", [[0.0], [1.5], [2.0, 2.0], [-1.0, 1.0], [0.0] * 3])
def test_lines_of_any_shape_are_drawn(values: list[float]) -> None:
    ys = np.array(values)
    drawn = tree(charts.line("t", "step", "loss", np.arange(1.0, len(ys) + 1), ys, style="positives"))
    assert drawn.get("role") == "img"


def test_charts_of_nothing_are_drawn() -> None:
    zero = np.zeros(2, dtype=np.int64)
    for drawn in (
        charts.histogram("t", "x", "y", np.array([0.0, 0.5, 1.0]), [Series("kept", "kept", zero)]),
        charts.bars("t", "x", "y", ["0", "1"], zero, style="kept"),
        charts.funnel("t", [Step("candidates", 0, 0)]),
        charts.intervals("t", "x", [Interval("a", 0.0, 0.0, 0.0)]),
    ):
        assert tree(drawn).get("role") == "img"
