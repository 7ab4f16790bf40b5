"""The figures: that they show the numbers they were given, at any size, without warnings."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from PIL import Image

from cl_prompts.experiments import pictures


def drawn(figure: Figure) -> np.ndarray:
    """Pixels of the figure, (height, width, 3); any warning on the way is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(Image.open(io.BytesIO(pictures.png_bytes(figure))).convert("RGB"))


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def stream(n_tasks: int, n_classes: int) -> dict[str, Any]:
    """Even classes disjoint, odd ones blurry, class c at home in task c % n_tasks."""
    counts = np.zeros((n_tasks, n_classes), int)
    kinds: dict[str, list[list[int]]] = {
        k: [[] for _ in range(n_tasks)] for k in ("disjoint", "blurry")
    }
    for c in range(n_classes):
        counts[c % n_tasks, c] = 90
        counts[(c + 1) % n_tasks, c] += 10 * (c % 2)
        kinds["blurry" if c % 2 else "disjoint"][c % n_tasks].append(c)
    return {
        "counts": counts.tolist(),
        "disjoint_classes": kinds["disjoint"],
        "blurry_classes": kinds["blurry"],
    }


def test_curves_show_mean_and_sample_standard_deviation() -> None:
    seeds = [[(100, 0.2), (200, 0.4)], [(100, 0.4), (200, 0.8)]]
    figure = pictures.curve_figure({"mvp": seeds}, [100, 200], references={"joint": 0.9})
    axes = figure.axes[0]
    mean = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[100, 30], [200, 60]])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), 60 + 100 * np.std([0.4, 0.8], ddof=1))
    assert texts(axes) == ["mvp", "joint, final"]
    assert axes.get_ylim() == (10, 100)
    drawn(figure)


def test_curves_measured_at_different_points_are_averaged_where_all_are_known() -> None:
    figure = pictures.curve_figure({"a": [[(0, 0.0), (100, 1.0)], [(50, 0.5), (150, 0.5)]]})
    mean = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
    assert np.allclose(mean.get_xydata(), [[50, 50], [100, 75]])


def test_many_curves_are_drawn_as_means_alone() -> None:
    seeds = [[(100, 0.4), (200, 0.4)], [(100, 0.8), (200, 0.8)]]
    for n, spread in ((8, True), (9, False)):
        axes = pictures.curve_figure({str(i): seeds for i in range(n)}).axes[0]
        assert len(axes.collections) == (n if spread else 0)
        assert len(axes.lines) == (3 * n if spread else n)


def test_one_seed_and_seeds_without_common_points_are_drawn_without_a_band() -> None:
    one = pictures.curve_figure({"a": [[(10, 0.5)]]})
    assert not one.axes[0].collections
    drawn(one)
    apart = pictures.curve_figure({"a": [[(10, 0.5)], [(20, 0.7)]]})
    assert texts(apart.axes[0]) == ["a"]
    drawn(apart)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=19))
def test_names_at_the_ends_of_curves_never_overlap(values: list[float]) -> None:
    figure = pictures.curve_figure({f"s{i}": [[(10, v)]] for i, v in enumerate(values)})
    places = sorted(text.xy[1] for text in figure.axes[0].texts)
    assert len(places) == len(values)
    assert np.all(np.diff(places) > 0.049)
    assert min(places) > -0.001
    assert max(places) < 1.001


def test_styles_are_told_apart_and_do_not_depend_on_order() -> None:
    names = [f"strategy {i:02}" for i in range(25)]
    styles = pictures.strategy_styles(names)
    assert len({(s["color"], str(s["linestyle"])) for s in styles.values()}) == 25
    assert pictures.strategy_styles(reversed(names)) == styles


def test_stream_orders_disjoint_before_blurry_and_writes_counts() -> None:
    figure = pictures.stream_figure(stream(2, 4), ["a", "b", "c", "d"])
    bars, matrix = figure.axes
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["a", "c", "b", "d"]
    assert texts(bars) == ["200", "180"] or texts(bars) == ["180", "200"]
    assert sorted(texts(matrix)) == ["10", "10", "90", "90", "90", "90"]
    assert any(text.get_text() == "disjoint classes (2)" for text in figure.legends[0].get_texts())
    pixels = drawn(figure).reshape(-1, 3)
    for colour in (
        (0, 114, 178),
        (213, 94, 0),
    ):  # a disjoint class is wholly in one task; the bars are solid
        assert (pixels == colour).all(1).sum() > 1000


@pytest.mark.parametrize(
    ("n_tasks", "n_classes"), [(1, 1), (5, 10), (10, 100), (5, 200), (40, 200)]
)
def test_stream_of_any_size_fits(n_tasks: int, n_classes: int) -> None:
    figure = pictures.stream_figure(stream(n_tasks, n_classes))
    assert drawn(figure).shape[1] <= 9.6 * 144 + 1
    assert len(figure.axes[1].get_yticks()) <= 40
    assert len(figure.axes[1].get_xticks()) <= 20


def test_classes_that_never_occur_or_have_no_kind() -> None:
    figure = pictures.stream_figure(
        {"counts": [[5, 0, 3], [0, 0, 3]], "disjoint_classes": [[0], []]}
    )
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[:2] == ["disjoint classes (1)", "other classes (1)"]
    assert "1 class not in the stream" in words[2]
    drawn(figure)


def test_class_heat_map_sorts_by_first_seen() -> None:
    matrix = [[np.nan, 0.5], [0.25, 0.75], [np.nan, np.nan]]
    figure = pictures.class_heatmap_figure([100, 200], matrix, ["late", "early", "never"], [100])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["early", "late", "never"]
    shown = np.ma.filled(axes.collections[0].get_array().astype(float), np.nan)
    assert np.array_equal(shown, [[25, 75], [np.nan, 50], [np.nan, np.nan]], equal_nan=True)
    drawn(figure)


@pytest.mark.parametrize(("points", "classes"), [(1, 1), (1, 10), (50, 200)])
def test_class_heat_map_of_any_size(points: int, classes: int) -> None:
    drawn(pictures.class_heatmap_figure(np.arange(1, points + 1), np.full((classes, points), 0.5)))


@given(
    arrays(float, st.integers(1, 6).map(lambda n: (n, n)), elements=st.floats(0, 1)), st.randoms()
)
def test_forgetting_is_the_literal_formula(values: np.ndarray, random: Any) -> None:
    n = len(values)
    empty = [i for i in range(n) if random.random() < 0.2]
    for i in range(n):
        values[i, : n if i in empty else i] = np.nan
    lost = pictures.forgetting_per_task(values)
    for i in range(n):
        if i in empty or i == n - 1:
            assert np.isnan(lost[i])
        else:
            assert lost[i] == max(values[i, t] for t in range(i, n - 1)) - values[i, n - 1]


def test_task_heat_map_writes_accuracies_and_forgetting() -> None:
    figure = pictures.task_heatmap_figure(
        [[0.9, 0.8, 0.5], [np.nan, 0.6, 0.7], [np.nan, np.nan, 0.4]]
    )
    left, right, _ = figure.axes
    assert texts(left) == ["90", "80", "50", "60", "70", "40"]
    assert texts(right) == ["40", "-10"]
    drawn(figure)


@pytest.mark.parametrize("n_tasks", [1, 2, 20])
def test_task_heat_map_of_any_size(n_tasks: int) -> None:
    drawn(pictures.task_heatmap_figure(np.where(np.tri(n_tasks).T > 0, 0.5, np.nan)))


def test_names_are_not_read_as_mathematics() -> None:
    name = r"$\frac{$"
    drawn(pictures.curve_figure({name: [[(1, 0.5)]]}))
    drawn(pictures.stream_figure(stream(1, 1), [name]))
    drawn(pictures.class_heatmap_figure([1], [[0.5]], [name]))


def test_no_global_state_is_loaded() -> None:
    code = (
        "import sys; from cl_prompts.experiments.pictures import png_bytes, task_heatmap_figure; "
    )
    code += "png_bytes(task_heatmap_figure([[1]])); print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
