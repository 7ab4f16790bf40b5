"""Images that a run keeps for those which learn on from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained.loading import load_run
from tests.experiments.commands import rows, summary
from tests.experiments.runner.test_learning_on import digits_folder, first_run, learn

pytestmark = pytest.mark.slow


def test_images_that_are_replayed_are_kept_or_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With copies all images of training may go; without them those that are replayed are named."""
    own: Any = tmp_path / "images"
    digits_folder(own / "first", {"zero": 0, "one": 1, "two": 2, "three": 3})
    later = digits_folder(own / "later", {"two": 2, "four": 4}, skip=40)
    assert main(["init", str(own / "first"), "--out", str(own / "first.yaml"), "--quiet"]) == 0
    kept = first_run(own, tmp_path / "a", "er", "er.buffer_size=8", "keep_images=true")
    bare = tmp_path / "b"
    shutil.copytree(kept, bare, ignore=shutil.ignore_patterns("images"))
    copies = sorted(file.name for file in (kept / "images").iterdir())
    replayed = json.loads((kept / "images.json").read_text())["replayed"]
    assert sorted(f"{digest}.png" for digest in replayed.values()) == copies
    assert all(f"images/{name}" in (kept / "SHA256SUMS").read_text() for name in copies)
    _, whole = learn(bare, later, tmp_path / "c")
    shutil.rmtree(own / "first" / "train")
    _, child = learn(kept, later, tmp_path / "d")
    assert rows(child) == rows(whole)
    copied = json.loads((child / "images.json").read_text())["replayed"].values()
    assert {f.stem for f in (child / "images").iterdir()} == {*copied}
    _, grandchild = learn(child, digits_folder(own / "six", {"six": 6}), tmp_path / "e")
    assert load_run(grandchild, device="cpu").evaluate() == summary(grandchild)["results"]["a_last"]

    capsys.readouterr()
    assert main(["learn", str(bare), str(later), "--out", str(tmp_path / "f")]) == 2
    assert "8 images that the run in" in capsys.readouterr().err
