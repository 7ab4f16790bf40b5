"""What the report shows of each section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from cl_prompts.experiments.pictures import strategy_styles
from cl_prompts.experiments.report_views import Gallery, section_view
from cl_prompts.experiments.results import sections
from cl_prompts.experiments.runs import collect
from tests.experiments.fake_runs import fake_run


def view(root: Path) -> dict[str, Any]:
    """The view of the only section of all runs below a folder."""
    (section,) = sections(collect([root]))
    return section_view(section, strategy_styles(section.groups), Gallery())


def test_a_gallery_gives_every_picture_a_file_of_its_own() -> None:
    gallery = Gallery()
    first = gallery.add("a/b: C", Figure((2, 1)), "one")
    second = gallery.add("a b c", Figure((2, 1)), "two")
    assert list(gallery.files) == ["a-b-c.png", "a-b-c-2.png"]
    assert (first["alt"], first["width"]) == ("one", 192)
    assert second["uri"].startswith("data:image/svg+xml;base64,")


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


def test_the_text_on_spread_tells_what_the_picture_shows(tmp_path: Path) -> None:
    small: Any = {"n_tasks": 1, "n_classes": 2}
    fake_run(tmp_path, "mvp", 1, **small)
    assert view(tmp_path)["spread"] == "One seed each."
    fake_run(tmp_path, "mvp", 2, **small)
    assert view(tmp_path)["spread"].startswith("Thick: mean over seeds; band:")
    for i in range(8):
        settings = {"lr": float(i)}
        fake_run(tmp_path, "linear_probe", settings=settings, time=f"2025010{i}-000000", **small)
    assert view(tmp_path)["spread"] == "Means over seeds; the table gives their spread."


def test_references_have_a_line_and_no_curve(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    found = view(tmp_path)
    assert found["references"] == ["joint"]
    assert found["curves"] is found["task_curves"] is None
    fake_run(tmp_path, "mvp")
    assert view(tmp_path)["curves"] is not None


@pytest.mark.parametrize(("seeds", "number"), [((1, 1), 1), ((1, 2), 2)])
def test_each_stream_is_drawn_once(seeds: tuple[int, int], number: int, tmp_path: Path) -> None:
    for strategy, seed in zip(("mvp", "linear_probe"), seeds, strict=True):
        fake_run(tmp_path, strategy, seed)
    assert len(view(tmp_path)["streams"]) == number
