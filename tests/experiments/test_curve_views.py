"""Charts of a section, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_prompts.experiments.curve_views import curve_charts, final_levels
from cl_prompts.experiments.gallery import Gallery
from cl_prompts.experiments.paired_curves import reference_row
from cl_prompts.experiments.pictures import strategy_styles
from cl_prompts.experiments.results import sections
from cl_prompts.experiments.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 2, "n_classes": 2}


def charts(root: Path) -> list[dict[str, Any]]:
    (section,) = sections(collect([root]))
    styles = strategy_styles(section.groups)
    return curve_charts(section, styles, reference_row(section), Gallery())


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
    for i in range(9):
        settings = {"lr": float(i)}
        for seed in (1, 2):
            time = f"2025010{i}-00000{seed}"
            fake_run(tmp_path, "mvp", seed, settings=settings, time=time, **SMALL)
    (view,) = charts(tmp_path)
    assert view["chart"]["many"]
    assert "More than 8 bands would hide each other" in said(tmp_path)
    assert "3 others between" in view["chart"]["plots"][0]["alt"]


def test_several_epochs_are_drawn_where_they_are_in_the_stream(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "mvp", **SMALL)
    assert "several epochs" not in said(tmp_path)
    summary = (folder / "summary.json").read_text()
    (run,) = collect([tmp_path])
    ends = run.summary["task_ends"]
    twice = [2 * end for end in ends]
    (folder / "summary.json").write_text(summary.replace(str(ends), str(twice)))
    assert "mvp: seen in several epochs" in said(tmp_path)
    (view,) = charts(tmp_path)
    assert view["chart"]["plots"][0]["xlabel"] == "samples of the stream (images)"
