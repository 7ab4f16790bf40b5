"""Charts are valid, hold their numbers, and are rendered offline."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cl_prompts.experiments.figures import maps, style
from cl_prompts.experiments.figures.curves import MAX_POINTS, curve_chart
from cl_prompts.experiments.results.aggregates import Band

NAN = np.nan
SHOWN = "a.b[0] ?[31m?</script>'\""
HOSTILE = "a.b[0] \x1b[31m\n</script>'\""


def band(*middle: float, half: float | None = 0.1) -> Band:
    values = np.array(middle)
    places = np.arange(1.0, len(values) + 1)
    return Band(places, values, None if half is None else np.full(len(values), half), 3)


CHARTS: dict[str, Callable[[], style.Chart]] = {
    "curves": lambda: curve_chart(
        {SHOWN: band(0.5, 0.95), "b": band(0.2, half=None)},
        ["b", SHOWN],
        xlabel="samples seen (images)",
        ylabel="accuracy (%)",
    ),
    "differences": lambda: curve_chart(
        {"b": band(0.25, 0.5)}, ["b"], xlabel="task", ylabel="points", differences=True
    ),
    "classes": lambda: maps.class_chart(
        [10, 20], [[NAN, 0.5], [0.25, 1]], [HOSTILE, "b"], measure="accuracy"
    ),
    "tasks": lambda: maps.task_chart(
        [[0.9, 0.4], [NAN, 0.8]], measure="accuracy", rows="classes of task"
    ),
    "usage": lambda: maps.usage_chart([[1, 3], [0, 0]]),
    "stream": lambda: maps.stream_chart(
        {"counts": [[0, 3, 1, 0], [4, 0, 1, 0]]}, [HOSTILE, *"bcd"]
    ),
}


def rows_of(chart: style.Chart) -> list[dict[str, Any]]:
    spec = style.spec(chart, "words")
    return spec.get("datasets", {}).get("points") or spec["data"]["values"]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_picture_of_the_width_of_a_column(name: str) -> None:
    chart = CHARTS[name]()
    image = Image.open(io.BytesIO(style.figure(chart, "png")))
    assert image.width / 300 == pytest.approx(3.4, abs=0.1)
    assert len(np.unique(np.asarray(image.convert("L")))) > 8
    chart.to_dict()  # is valid
    spec = style.spec(chart, "words")
    assert (spec["description"], spec["width"]) == ("words", "container")


def test_curves_are_percents_with_their_bands() -> None:
    points = rows_of(CHARTS["curves"]())
    assert points[0] == {"strategy": SHOWN, "x": 1.0, "mean": 50, "n": 3, "low": 40, "high": 60}
    assert "low" not in points[2]
    layers = style.spec(CHARTS["differences"](), "words")["layer"]
    # Zero is in view, and wide bands do not flatten the curves.
    assert layers[0]["encoding"]["y"]["scale"]["domain"] == [-5, 55]
    assert layers[-1]["data"]["values"] == [{"y": 0}]


def test_of_many_points_some_are_drawn_the_last_among_them() -> None:
    n = 2 * MAX_POINTS + 1
    many = band(*np.linspace(0, 1, n), half=None)
    points = rows_of(curve_chart({"a": many}, ["a"], xlabel="x", ylabel="y"))
    assert len(points) <= MAX_POINTS
    assert points[-1]["x"] == n


def test_maps_hold_a_list_for_each_row_in_order() -> None:
    assert rows_of(CHARTS["classes"]()) == [
        {"y": "b", "x": ["10", "20"], "value": [25, 100]},
        {"y": SHOWN, "x": ["10", "20"], "value": [None, 50]},
    ]
    assert [row["y"] for row in rows_of(CHARTS["tasks"]())] == ["1", "2"]
    assert [row["value"] for row in rows_of(CHARTS["usage"]())] == [[25, 75], [None, None]]
    tasks = ["1  (4)", "2  (5)"]
    assert rows_of(CHARTS["stream"]()) == [
        {"y": "b", "x": tasks, "value": [100, None]},
        {"y": "c", "x": tasks, "value": [50, 50]},
        {"y": SHOWN, "x": tasks, "value": [None, 100]},
    ]
