"""Pictures of the page, and their files where asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cl_prompts.experiments.report import gallery as gallery_module
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.run_folder.runs import Run


def test_a_gallery_gives_every_picture_a_file_of_its_own() -> None:
    gallery = Gallery(keep_files=True)
    first = gallery.add("a/b: C", Figure((2, 1)), "one")
    second = gallery.add("a b c", Figure((2, 1)), "two")
    gallery.add_file("recipe, " + "a=1, " * 100 + "seed 1", lambda: Figure((2, 1)))
    gallery.draw()
    assert list(gallery.files)[:2] == ["a-b-c.png", "a-b-c-2.png"]
    assert all(png.startswith(b"\x89PNG") for png in gallery.files.values())
    assert (first["alt"], first["width"]) == ("one", 192)
    assert second["uri"].startswith("data:image/svg+xml;base64,")
    assert list(gallery.files)[2].endswith("a-1-seed-1.png")
    assert len(list(gallery.files)[2]) < 200


def test_no_file_is_drawn_unless_asked_for() -> None:
    def never() -> Figure:
        raise AssertionError("drawn")

    gallery = Gallery()
    gallery.add_file("a", never)
    gallery.add("b", Figure((2, 1)), "b")
    gallery.draw()
    assert gallery.files == {}


@pytest.mark.parametrize(
    ("files", "chosen"), [(False, {"a1", "b1", "c1"}), (True, {"a1", "a2", "b1", "c1", "c2"})]
)
def test_the_first_seeds_of_all_rows_get_pictures(
    files: bool, chosen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "MOST_RUNS", 3)
    rows = [["a1", "a2"], ["b1"], ["c1", "c2"]]
    gallery = Gallery(files)
    gallery.choose([[Run(Path(name), {}) for name in row] for row in rows])
    assert {folder.name for folder in gallery.chosen} == chosen


def test_letters_never_shrink_below_9_px() -> None:
    figure = Figure((4, 1))
    figure.text(0, 0, "12 px", fontsize=9)
    assert least_width(figure) == 0.75 * 384
    figure.text(0, 0, "8 px", fontsize=6)
    assert least_width(figure) == 384


def least_width(figure: Figure) -> int:
    gallery = Gallery()
    view = gallery.add("a", figure, "")
    gallery.draw()
    least: int = view["least"]
    return least
