"""Unreadable images: found before training, refused by name, or left out and listed; copies."""

from pathlib import Path

from PIL import Image

from cl_prompts.datasets.bad_images import look_at
from tests.datasets.toys import grey, load, refusal, write_folder


def damage(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:45])
    return str(path)


def test_the_first_of_the_chosen_classes_is_named_before_training(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    bee = damage(root / "train" / "bee" / "1.png")
    said = refusal(lambda: load("folder", root))
    assert said.startswith(f"image {bee} cannot be read: ")
    assert said.endswith("skip such images with on_bad_image=skip")
    damage(root / "test" / "ant" / "a.png")
    assert "(1 more are unreadable). Repair" in refusal(lambda: load("folder", root))
    assert load("folder", root, classes=["cat"]).classes == ("cat",)


def test_skipping_leaves_them_out_and_lists_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    whole = load("folder", root)
    assert whole.skipped == ()
    bad = [damage(root / "train" / "bee" / "1.png"), damage(root / "train" / "cat" / "2.png")]
    data = load("folder", root, on_bad_image="skip")
    assert data.skipped == tuple(bad)
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert grey(data.train) == [0, 1, 2, 10, 12, 20, 21]
    assert grey(data.test) == [100, 101, 102]
    assert "; 2 unreadable images left out" in str(data)
    damage(root / "test" / "ant" / "a.png")
    said = refusal(lambda: load("folder", root, on_bad_image="skip"))
    assert said == "class 'ant' (label 0) of data set 'folder' has no test images"


def test_each_file_is_looked_at_once(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 3), "red").save(tmp_path / "b.bmp")  # other bytes, the same pixels
    Image.new("RGB", (3, 4), "red").save(tmp_path / "c.png")
    (tmp_path / "d.png").write_text("no image")
    paths = [str(file) for file in sorted(tmp_path.iterdir())]
    calls: list[tuple[int, int]] = []
    looks = look_at(paths, lambda done, total: calls.append((done, total)))
    assert [look.path for look in looks] == paths
    assert [(look.height, look.width) for look in looks] == [(3, 4), (3, 4), (4, 3), (0, 0)]
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [bool(look.problem) for look in looks] == [False, False, False, True]
    assert "d.png cannot be read" in looks[3].problem
    assert look_at([]) == []
