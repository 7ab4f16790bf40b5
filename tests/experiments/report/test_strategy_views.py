"""What the page shows of one strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.report import gallery as gallery_module
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.strategy_views import strategy_view
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def view(root: Path, label: str) -> dict[str, Any]:
    (section,) = sections(collect([root]))
    gallery = Gallery()
    gallery.choose(section.groups.values())
    return strategy_view(section, label, gallery, lambda path: path.name)


def test_tasks_are_means_over_seeds_and_pictures_are_of_each_run(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed)
    found = view(tmp_path, "mvp")
    assert len(found["tasks"]["rows"]) == 5
    assert "± one sample standard deviation over 2 seeds" in found["tasks"]["over"]
    assert "mean over 2 seeds: after the last task" in found["tasks"]["alt"]
    assert [run["name"] for run in found["runs"]] == ["seed 1", "seed 2"]
    classes, keys = found["multiples"]
    assert [name for name, _ in classes["pictures"]] == ["seed 1", "seed 2"]
    assert classes["caption"] == "Accuracy of each class over samples seen; lines end tasks."
    assert keys["pictures"] == []
    run = found["runs"][0]
    assert (run["folder"], run["settings"]) == ("1-20250101-120000", "config.yaml")
    assert [set(shown) for shown in run["shown"]] == [{"image", "caption"}]
    assert "lr: 0.005" in found["config"]


def test_beyond_a_few_runs_the_page_has_the_map_of_classes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "MOST_RUNS", 1)
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed)
    found = view(tmp_path, "mvp")
    assert [len(run["shown"]) for run in found["runs"]] == [1, 0]
    assert len(found["multiples"][0]["pictures"]) == 2


def test_one_seed_is_said(tmp_path: Path) -> None:
    fake_run(tmp_path, "linear_probe")
    assert "One seed: no standard deviation." in view(tmp_path, "linear_probe")["tasks"]["over"]


def test_many_tasks_are_a_picture(tmp_path: Path) -> None:
    fake_run(tmp_path, "linear_probe", n_tasks=21)
    tasks = view(tmp_path, "linear_probe")["tasks"]
    assert tasks["rows"] == []
    assert tasks["picture"]["alt"] == tasks["alt"]


def test_a_bound_has_no_tasks(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    assert view(tmp_path, "joint")["tasks"] is None
