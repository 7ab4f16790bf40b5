"""Charts are valid, hold their numbers, and are rendered offline."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cl_prompts.experiments.figures import maps, style
from cl_prompts.experiments.figures.curves import MAX_POINTS, _y_scale, curve_chart
from cl_prompts.experiments.figures.maps import forgetting_per_task
from cl_prompts.experiments.results.aggregates import Band

NAN = np.nan
SHOWN = "a.b[0] ?[31m?</script>'\""
HOSTILE = "a.b[0] \x1b[31m\n</script>'\""
STREAM = {
    "counts": [[3, 0, 1, 0], [0, 4, 1, 0]],
    "disjoint_classes": [[0], [1]],
    "blurry_classes": [[2], []],
}


def band(*middle: float, half: float | None = 0.1, x: Any = None) -> Band:
    values = np.array(middle)
    places = np.arange(1.0, len(values) + 1) if x is None else np.asarray(x, float)
    return Band(places, values, None if half is None else np.full(len(values), half), 3)


CHARTS: dict[str, Callable[[], style.Chart]] = {
    "curves": lambda: curve_chart(
        {SHOWN: band(0.5, 0.95), "b": band(0.2, half=None)},
        ["b", SHOWN],
        xlabel="samples seen (images)",
        ylabel="accuracy (%)",
        ends=[1, 2],
    ),
    "differences": lambda: curve_chart(
        {"b": band(-0.5, 0.2)}, ["b"], xlabel="task", ylabel="points", differences=True
    ),
    "classes": lambda: maps.class_chart(
        [10, 20], [[NAN, 0.5], [0.25, 1]], [HOSTILE, "b"], measure="accuracy"
    ),
    "tasks": lambda: maps.task_chart(
        [[0.9, 0.4], [NAN, 0.8]], measure="accuracy", rows="classes of task"
    ),
    "usage": lambda: maps.usage_chart([[1, 3], [0, 0]]),
    "keys": lambda: maps.key_chart([[1, -0.5], [-0.5, 1]]),
    "stream": lambda: maps.stream_chart(STREAM, [HOSTILE, "b", "c", "d"]),
}


def data_of(part: dict[str, Any]) -> list[dict[str, Any]]:
    """All data of a specification, that of its layers after its own."""
    found = [*part.get("datasets", {}).get("points", []), *part.get("data", {}).get("values", [])]
    for layer in part.get("layer", ()):
        found += data_of(layer)
    return found


def rows_of(chart: style.Chart) -> list[dict[str, Any]]:
    return data_of(style.spec(chart, "words"))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_picture(name: str) -> None:
    chart = CHARTS[name]()
    image = Image.open(io.BytesIO(style.png(chart)))
    assert image.width > 700
    assert len(set(image.convert("L").getdata())) > 8
    spec = style.spec(chart, "words")
    assert spec["description"] == "words"
    assert spec["width"] == "container"


@pytest.mark.parametrize("name", ["curves", "stream"])
def test_figures_have_the_width_of_a_column(name: str) -> None:
    image = Image.open(io.BytesIO(style.figure(CHARTS[name](), "png")))
    assert image.width / 300 == pytest.approx(3.4, abs=0.1)


def test_curves_are_percents_with_their_bands() -> None:
    points = rows_of(CHARTS["curves"]())
    assert points[0] == {"strategy": SHOWN, "x": 1.0, "mean": 50, "n": 3, "low": 40, "high": 60}
    assert points[1]["high"] == 100  # and not 105
    assert "low" not in points[2]
    assert points[3:] == [{"place": 1}, {"place": 2}]
    differences = rows_of(CHARTS["differences"]())
    assert [row.get("low", row.get("place")) for row in differences] == [-60, 10, 0]


def test_of_many_points_some_are_drawn_the_last_among_them() -> None:
    n = 2 * MAX_POINTS + 1
    many = band(*np.linspace(0, 1, n), half=None)
    points = rows_of(curve_chart({"a": many}, ["a"], xlabel="x", ylabel="y"))
    assert len(points) <= MAX_POINTS
    assert points[-1]["x"] == n


def test_a_wide_band_does_not_flatten_the_curves() -> None:
    flat = _y_scale({"a": band(0.5, 0.6, half=0.4)}, differences=False)
    assert flat["domain"] == [45, 65]
    assert _y_scale({"a": band(0.995, 0.99, half=None)}, differences=False)["domain"] == [98, 100]
    assert _y_scale({"a": band(0.5, 0.6, half=None)}, differences=True)["domain"] == [-1, 61]


def test_maps_hold_a_list_for_each_row_in_order() -> None:
    assert rows_of(CHARTS["classes"]()) == [
        {"y": "b", "x": ["10", "20"], "value": [25, 100]},
        {"y": SHOWN, "x": ["10", "20"], "value": [None, 50]},
    ]
    assert [row["y"] for row in rows_of(CHARTS["tasks"]())] == ["1  (forgets 50)", "2"]
    assert [row["value"] for row in rows_of(CHARTS["usage"]())] == [[25, 75], [None, None]]


def test_classes_of_a_stream_have_their_kind() -> None:
    rows = [(row["y"], row["x"], row["kind"], row["n"]) for row in rows_of(CHARTS["stream"]())][1:]
    assert rows == [
        ("b", "2  (5)", "disjoint", 4),
        ("c", "1  (4)", "blurry", 1),
        ("c", "2  (5)", "blurry", 1),
    ]


def test_forgetting_is_the_best_earlier_value_minus_the_last() -> None:
    lost = forgetting_per_task([[0.9, 0.4, 0.5], [NAN, 0.5, 0.75], [NAN, NAN, 0.8]])
    np.testing.assert_allclose(lost, [0.4, -0.25, NAN])
