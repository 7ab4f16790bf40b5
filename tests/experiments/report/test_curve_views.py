"""Charts of a section, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from cl_prompts.experiments.figures import strategy_styles
from cl_prompts.experiments.report.curve_views import curve_charts, final_levels
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.results.comparison import reference_row
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run, seal

SMALL: dict[str, Any] = {"n_tasks": 2, "n_classes": 2}


class Figures(Gallery):
    """The figures themselves, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, Figure] = {}

    def add_file(self, name: str, draw: Callable[[], Figure]) -> None:
        """Draw it, and keep it."""
        self.figures[name] = draw()


def charts(root: Path, gallery: Gallery | None = None) -> list[dict[str, Any]]:
    (section,) = sections(collect([root]))
    styles = strategy_styles(section.groups)
    reference = reference_row([section], list(section.groups), "linear_probe")
    return curve_charts(section, styles, reference, gallery or Gallery())


def said(root: Path) -> str:
    (view,) = charts(root)
    return " ".join(view["captions"])


def test_one_strategy_has_no_differences(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", **SMALL)
    (view,) = charts(tmp_path)
    assert [plot["name"] for plot in view["chart"]["plots"]] == ["Accuracy"]
    assert "One seed each: no band." in said(tmp_path)
    assert "One strategy: there is nothing to take differences to." in said(tmp_path)
    assert "Vertical lines: task ends." in said(tmp_path)


def test_differences_are_to_the_reference_and_said_to_be(tmp_path: Path) -> None:
    for strategy in ("linear_probe", "mvp", "fine_tuning"):
        fake_run(tmp_path, strategy, 1, **SMALL)
    assert "One shared seed: no band." in said(tmp_path)
    for strategy in ("linear_probe", "mvp"):
        fake_run(tmp_path, strategy, 2, **SMALL)
    fake_run(tmp_path, "joint", 1, **SMALL)
    (view,) = charts(tmp_path)
    absolute, gaps = view["chart"]["plots"]
    assert gaps["name"] == "Difference to linear_probe"
    labels = [entry["label"] for entry in view["chart"]["legend"]]
    assert {labels[curve["index"]] for curve in gaps["curves"]} == {"mvp", "fine_tuning"}
    assert len(absolute["curves"]) == 4
    assert "at the end joint 87.8 %, mvp" in absolute["alt"]
    text = said(tmp_path)
    assert "95 % intervals of these means (Student)" in text
    assert "One shared seed, no band: fine_tuning." in text
    assert "Task ends differ between seeds." in text
    assert "Dotted: final accuracy of a reference" in text


def test_strategies_of_other_seeds_have_no_difference(tmp_path: Path) -> None:
    fake_run(tmp_path, "linear_probe", 1, **SMALL)
    fake_run(tmp_path, "mvp", 2, **SMALL)
    assert "no strategy shares a seed with it" in said(tmp_path)
    fake_run(tmp_path, "fine_tuning", 1, **SMALL)
    assert "No shared seed: mvp." in said(tmp_path)


def test_only_references_have_no_chart(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint", **SMALL)
    assert charts(tmp_path) == []
    (section,) = sections(collect([tmp_path]))
    assert list(final_levels(section)) == ["joint"]


def test_many_curves_hide_their_bands(tmp_path: Path) -> None:
    for i in range(4):
        settings = {"lr": float(i)}
        for seed in (1, 2):
            time = f"2025010{i}-00000{seed}"
            fake_run(tmp_path, "mvp", seed, settings=settings, time=time, **SMALL)
    (view,) = charts(tmp_path)
    assert view["chart"]["many"]
    assert "More than 3 bands would hide each other: intervals at some points" in said(tmp_path)
    curves = view["chart"]["plots"][0]["curves"]
    # Each curve has marks of its own, and an interval with two ends at each.
    places = [set(re.findall(r"M([\d.]+) ", curve["marks"])) for curve in curves]
    assert all(len(found) >= 3 for found in places)
    assert len(set.union(*places)) == sum(map(len, places))
    assert all(curve["bars"].count("h") == 2 * curve["marks"].count("h") for curve in curves)


def test_an_alternative_text_names_few_of_many_curves(tmp_path: Path) -> None:
    for i in range(9):
        fake_run(tmp_path, "mvp", settings={"lr": float(i)}, time=f"2025010{i}-000000", **SMALL)
    (view,) = charts(tmp_path)
    assert "3 others between" in view["chart"]["plots"][0]["alt"]


def test_several_epochs_are_drawn_where_they_are_in_the_stream(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "mvp", **SMALL)
    assert "several epochs" not in said(tmp_path)
    summary = (folder / "summary.json").read_text()
    (run,) = collect([tmp_path])
    ends = run.summary["task_ends"]
    twice = [2 * end for end in ends]
    (folder / "summary.json").write_text(summary.replace(str(ends), str(twice)))
    seal(folder)
    assert "mvp: seen in several epochs" in said(tmp_path)
    (view,) = charts(tmp_path)
    assert view["chart"]["plots"][0]["xlabel"] == "samples of the stream (images)"


def without_end(folder: Path) -> Path:
    """A run by a rule under which the end of the stream is no point of its own."""
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("points: default", "points: published"))
    seal(config.parent)
    return folder


def keep_points(folder: Path, *samples: int) -> None:
    """Leave the anytime values at some samples alone."""
    without_end(folder)
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    starts = tuple(f"{n}," for n in samples)
    kept = [line for line in lines if "anytime" not in line or line.startswith(starts)]
    (folder / "metrics.csv").write_text("".join(kept))
    seal(folder)


def test_seeds_without_a_common_point_are_drawn_over_tasks(tmp_path: Path) -> None:
    for strategy in ("linear_probe", "mvp"):
        for seed in (1, 2):
            keep_points(fake_run(tmp_path, strategy, seed, **SMALL), 100 * seed)
    (view,) = charts(tmp_path)
    assert view["title"] == "Accuracy after each task"
    wanted = "No curves over samples: seeds share no evaluation point (linear_probe, mvp)."
    assert wanted in view["captions"]


@pytest.mark.parametrize("apart", ["mvp", "linear_probe"])
def test_a_row_without_a_common_point_is_left_out_and_named(tmp_path: Path, apart: str) -> None:
    # Seed 1 alone is shared, so that there is a difference without a mean.
    for strategy in ("linear_probe", "mvp", "fine_tuning"):
        without_end(fake_run(tmp_path, strategy, 1, **SMALL))
    keep_points(next(tmp_path.glob(f"*/{apart}/1-*")), 100)
    keep_points(fake_run(tmp_path, apart, 3, **SMALL), 200)
    (view,) = charts(tmp_path)
    assert view["title"] == "Accuracy at any time"
    assert apart not in [entry["label"] for entry in view["chart"]["legend"]]
    assert f"Not drawn, seeds share no evaluation point: {apart}." in view["captions"]
    lacks = "No differences to linear_probe: it has no mean curve here." in view["captions"]
    assert lacks == (apart == "linear_probe")


def test_lines_are_at_the_task_ends_of_the_axis(tmp_path: Path) -> None:
    fake_run(tmp_path, "linear_probe", **SMALL)
    folder = fake_run(tmp_path, "mvp", **SMALL)
    (view,) = charts(tmp_path)
    once = view["chart"]["plots"][0]["lines"]
    ends = collect([folder])[0].summary["task_ends"]
    summary = (folder / "summary.json").read_text()
    thrice = [3 * end for end in ends]
    (folder / "summary.json").write_text(summary.replace(str(ends), str(thrice)))
    (folder / "metrics.csv").write_text(stretched((folder / "metrics.csv").read_text()))
    seal(folder)
    gallery = Figures()
    (view,) = charts(tmp_path, gallery)
    assert view["chart"]["plots"][0]["lines"] == once
    assert len(once) == len(ends)
    assert "Vertical lines: task ends." in view["captions"][0]
    (figure,) = gallery.figures.values()
    (axes,) = figure.axes
    upright = [line.get_xdata()[0] for line in axes.lines if len({*line.get_xdata()}) == 1]
    assert upright == ends
    assert axes.get_xlabel() == "samples of the stream (images)"


def test_strong_lines_are_where_finished_runs_were_gone_on_from(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", **SMALL, changes={"parent": {"run": "first", "sizes": [[1, 1]]}})
    (view,) = charts(tmp_path)
    (plot,) = view["chart"]["plots"]
    assert plot["breaks"] == plot["lines"][:1]
    assert re.search(r"Strong lines: ends of the runs .*, after [\d,]+ samples\.", said(tmp_path))


def stretched(metrics: str) -> str:
    """Rows of metrics.csv at three times their samples."""
    head, *rows = metrics.splitlines()
    cells = [row.partition(",") for row in rows]
    return "\n".join([head, *(f"{3 * int(at)},{rest}" for at, _, rest in cells)])
