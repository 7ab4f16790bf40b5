"""A trained run learns on in Python as it does on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained.learning import prepared
from cl_prompts.experiments.trained.loading import load_run
from tests.experiments.commands import summary
from tests.experiments.runner.test_lineage import digits_folder, first_run, learn


def test_a_trained_run_learns_in_python(tmp_path: Path) -> None:
    digits_folder(tmp_path / "first", {"zero": 0, "one": 1, "two": 2, "three": 3})
    later = digits_folder(tmp_path / "later", {"four": 4}, skip=40)
    recipe = tmp_path / "first.yaml"
    assert main(["init", str(tmp_path / "first"), "--out", str(recipe), "--quiet"]) == 0
    parent = first_run(tmp_path, tmp_path / "a", "ncm")
    _, child = learn(parent, later, tmp_path / "b")
    # A table without parts is divided, each into a folder of its own.
    table = tmp_path / "more.csv"
    images = sorted((later / "train").rglob("*.png"))
    places = set()
    for some in (images, images[:-1]):
        table.write_text(
            "\n".join(["path,label,domain", *(f"{image},four,night" for image in some)])
        )
        settings, lines = prepared(parent, table, out=tmp_path / "d")
        kept = len(some) - 2
        assert lines[0] == f"4 classes -> 5, new: four; {kept} training and 2 test images"
        places.add(settings.dataset["root"])
    assert len(places) == 2
    run = load_run(parent, device="cpu")
    found = run.learn(later, "every=30", out=tmp_path / "c")
    assert found.classes == ("one", "three", "two", "zero", "four")
    assert found.settings.evaluation["every"] == 30
    told = summary(found.run.folder)
    assert told["results"]["a_last"] == summary(child)["results"]["a_last"]
    assert "learn(" in told["command"]
    with pytest.raises(InputError, match="there is no folder or table"):
        run.learn(tmp_path / "nowhere", out=tmp_path / "e")
