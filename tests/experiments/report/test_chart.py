"""Curves as inline SVG, and their numbers for the script."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from cl_prompts.experiments.figures import strategy_styles
from cl_prompts.experiments.report.chart import (
    MAX_POINTS,
    Scale,
    chart,
    plot,
    script_json,
    thinned,
    x_scale,
    x_ticks,
    y_scale,
)
from cl_prompts.experiments.results.curves import Band
from tests.experiments.figures.drawing import band

LABELS = ["mvp", "ncm", "joint"]
STYLES = strategy_styles(LABELS)


def plotted(bands: dict[str, Band], **options: Any) -> dict[str, Any]:
    return plot("Accuracy", bands, STYLES, LABELS, alt="", xlabel="", ylabel="", **options)


def test_paths_lie_in_the_plane() -> None:
    view = plotted({"ncm": band(0.5, 1.0, half=0.1, seeds=3), "mvp": band(0.25, 0.5)})
    ncm, mvp = view["curves"]
    assert [ncm["index"], mvp["index"]] == [1, 0]
    assert ncm["line"].startswith("M500 ")
    assert ncm["line"].endswith("L1000 0")
    assert ncm["band"].count("L") == 3
    assert mvp["band"] == ""
    assert mvp["dots"].count("h0") == 2
    assert view["zero"] is None


def test_the_script_gets_the_numbers_that_are_drawn() -> None:
    data = plotted({"ncm": band(0.5, 1.0, half=0.1, seeds=3)}, levels={"joint": 0.9})["data"]
    assert data["curves"] == {"1": {"x": [1, 2], "y": [50.0, 100.0], "half": [10.0, 10.0], "n": 3}}
    assert data["levels"] == {"2": 90.0}
    assert data["x"] == [0, 2]


def test_differences_have_a_line_at_0_and_signs() -> None:
    view = plotted({"ncm": band(0.1, 0.2)}, differences=True)
    assert float(view["zero"]) < 1000
    assert {text for _, text in view["yticks"]} == {"0", "+5", "+10", "+15", "+20"}
    assert chart([view], LABELS, STYLES)["legend"][1]["values"] == ["+20.0"]


def test_a_legend_names_all_rows_with_their_last_values() -> None:
    bands = {"mvp": band(0.25, 0.5), "ncm": band(0.5, 0.75)}
    view = chart([plotted(bands, levels={"joint": 0.9})], LABELS, STYLES)
    assert [entry["values"] for entry in view["legend"]] == [["50.0"], ["75.0"], ["90.0"]]
    assert [entry["style"].endswith("level") for entry in view["legend"]] == [False, False, True]
    assert not view["many"]
    assert json.loads(view["json"])["labels"] == LABELS


def test_a_file_of_the_curves_begins_no_formula() -> None:
    view = plotted({LABELS[0]: band(0.25, 0.5)})
    found = chart([view], ["=1+1"], {"=1+1": STYLES[LABELS[0]]})
    assert json.loads(found["json"])["cells"] == ["'=1+1"]


def test_json_cannot_end_its_element() -> None:
    text = script_json(["</script><b>&"])
    assert "<" not in text
    assert json.loads(text) == ["</script><b>&"]


def test_many_points_are_thinned_and_the_last_one_stays() -> None:
    long = thinned(band(*np.linspace(0, 1, 1001), half=0.1, seeds=2))
    assert len(long.x) <= MAX_POINTS
    assert long.x[-1] == 1001
    assert long.half is not None
    assert len(long.half) == len(long.x)


def test_ticks_are_round_numbers_in_the_range() -> None:
    assert Scale(10, 20, ()).place(15) == 0.5
    assert x_ticks(450) == ((0.0, "0"), (200.0, "200"), (400.0, "400"))


def test_samples_begin_at_0_and_tasks_at_1() -> None:
    assert (x_scale([band(0.5, 0.5)], tasks=False).low, x_scale([], tasks=False).high) == (0, 1)
    tasks = x_scale([band(*[0.5] * 5)], tasks=True)
    assert (tasks.low, tasks.high) == (1, 5)
    assert [text for _, text in tasks.ticks] == ["1", "2", "3", "4", "5"]
    assert x_scale([band(0.5)], tasks=True).place(1) == 0.5


def test_a_wide_band_does_not_flatten_the_curves() -> None:
    wide = y_scale([band(0.50, 0.52, half=0.4)], [], differences=False)
    assert (round(wide.low, 6), round(wide.high, 6)) == (49.0, 53.0)


def test_bands_that_are_cut_are_known() -> None:
    assert plotted({"mvp": band(0.50, 0.52, half=0.4)})["cut"]
    assert not plotted({"mvp": band(0.50, 0.52, half=0.001)})["cut"]
    assert not plotted({"mvp": band(0.50, 0.52)})["cut"]
    assert not plotted({"mvp": band(0.02, 0.98, half=0.3)})["cut"]  # beyond 0 and 100 %


def test_accuracies_stay_in_their_range_and_differences_hold_0() -> None:
    assert y_scale([band(0.0, 1.0)], [], differences=False).high == 100
    assert y_scale([band(0.1, 0.2)], [0.9], differences=False).high > 90
    gaps = y_scale([band(0.1, 0.2)], [], differences=True)
    assert gaps.low < 0
    assert [text for _, text in gaps.ticks][:2] == ["0", "+5"]
