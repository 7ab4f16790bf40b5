"""What the report shows of each section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.figures import strategy_styles
from cl_prompts.experiments.report import gallery as gallery_module
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.section_views import section_view, stream_in_words
from cl_prompts.experiments.results.comparison import reference_row
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def view(root: Path) -> dict[str, Any]:
    """The view of the only section of all runs below a folder."""
    (section,) = sections(collect([root]))
    styles = strategy_styles(section.groups)
    reference = reference_row([section], list(section.groups), "linear_probe")
    gallery = Gallery()
    gallery.choose(section.groups.values())
    return section_view(section, styles, reference, gallery, lambda path: path.name)


def test_a_reference_of_other_seeds_leaves_the_others_comparable(tmp_path: Path) -> None:
    small: Any = {"n_tasks": 1, "n_classes": 2}
    fake_run(tmp_path, "joint", 3, **small)
    fake_run(tmp_path, "mvp", **small)
    found = view(tmp_path)
    assert (found["same_seeds"], found["comparable_seeds"]) == (False, True)
    fake_run(tmp_path, "linear_probe", 2, **small)
    assert not view(tmp_path)["comparable_seeds"]


def test_parts_of_ones_own_are_shown_by_their_labels(tmp_path: Path) -> None:
    names = {"dataset": "my.data:letters", "scenario": "my.streams:halves"}
    fake_run(tmp_path, "mvp", **names, name="my.methods:Mine")
    found = view(tmp_path)
    assert (found["facts"]["dataset"], found["facts"]["scenario"]) == ("letters", "halves")
    assert [strategy["label"] for strategy in found["strategies"]] == ["Mine"]


def test_references_have_a_line_and_no_curve(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    found = view(tmp_path)
    assert found["references"] == ["joint"]
    assert found["charts"] == []
    fake_run(tmp_path, "mvp")
    assert len(view(tmp_path)["charts"]) == 1


def test_paired_differences_stand_in_a_table(tmp_path: Path) -> None:
    small: Any = {"n_tasks": 2, "n_classes": 2}
    for strategy in ("joint", "linear_probe", "mvp"):
        fake_run(tmp_path, strategy, 1, **small)
    gaps = view(tmp_path)["gaps"]
    assert (gaps["reference"], gaps["tested"]) == ("linear_probe", False)
    assert [label for label, *_ in gaps["rows"]] == ["joint", "mvp"]
    for strategy in ("mvp", "linear_probe"):
        fake_run(tmp_path, strategy, 2, **small)
    gaps = view(tmp_path)["gaps"]
    assert gaps["tested"]
    assert [column.key for column in gaps["columns"]] == [
        "a_auc",
        "a_last",
        "forgetting",
        "task_forgetting",
        "bwt",
    ]
    cells = {label: lines for label, _, lines in gaps["rows"]}
    mean, interval, test = cells["mvp"][0][0]
    assert (mean[0], interval[0], interval[-1], test[0]) == ("+", "[", "]", "p")


def test_one_row_has_no_differences(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", n_tasks=1, n_classes=2)
    assert view(tmp_path)["gaps"] is None


@pytest.mark.parametrize(("seeds", "number"), [((1, 1), 1), ((1, 2), 2)])
def test_each_stream_is_drawn_once_and_few_are(
    seeds: tuple[int, int], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for strategy, seed in zip(("mvp", "linear_probe"), seeds, strict=True):
        fake_run(tmp_path, strategy, seed)
    found = view(tmp_path)
    assert (len(found["streams"]), found["not_drawn"]) == (number, 0)
    monkeypatch.setattr(gallery_module, "MOST_RUNS", 1)
    found = view(tmp_path)
    assert (len(found["streams"]), found["not_drawn"]) == (1, 1)


def test_streams() -> None:
    counts = [[5, 0]] * 9
    stream = {"counts": counts, "disjoint_classes": [], "blurry_classes": []}
    words = stream_in_words(stream, [5] * 9, "labels")
    assert words == "45 labels of 1 class; 9 tasks of 5 to 5 images"
    one = stream_in_words({"counts": [[5, 5]]}, [1000], "samples")
    assert one.endswith("; one task of 1,000 images")
