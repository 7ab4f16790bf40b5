"""A look at image files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cl_prompts.datasets.survey import copies, look_at


def test_each_file_is_looked_at_once_and_copies_are_found_by_their_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 3), "red").save(tmp_path / "b.bmp")  # other bytes, the same pixels
    Image.new("RGB", (3, 4), "red").save(tmp_path / "c.png")
    (tmp_path / "d.png").write_text("no image")
    paths = [str(file) for file in sorted(tmp_path.iterdir())]
    calls: list[tuple[int, int]] = []
    looks = look_at(paths, lambda done, total: calls.append((done, total)))
    assert [look.path for look in looks] == paths
    assert [(look.height, look.width) for look in looks] == [(3, 4), (3, 4), (4, 3), (0, 0)]
    assert calls == [(4, 4)]
    assert [look.readable for look in looks] == [True, True, True, False]
    assert "d.png cannot be read" in looks[3].problem
    assert copies(looks) == [looks[:2]]
    assert look_at([]) == []
