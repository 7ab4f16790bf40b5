"""Predictions for files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.loading import Predictions
from cl_prompts.experiments.trained.predicting import image_files, predictions_csv


def test_folders_are_walked_and_files_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "new" / "inner").mkdir(parents=True)
    for name in ("new/b.png", "new/inner/a.png", "c.gif"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = image_files([tmp_path / "c.gif", tmp_path / "new", tmp_path / "new" / "b.png"])
    assert [Path(file).name for file in found] == ["c.gif", "b.png", "a.png"]
    with pytest.raises(InputError, match="there is no image or folder"):
        image_files([tmp_path / "nothing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images found"):
        image_files([tmp_path / "empty"])
    (tmp_path / "new" / "config.yaml").touch()
    with pytest.raises(InputError, match="new is another run; predictions are those of one"):
        image_files([tmp_path / "new"])


def test_no_path_or_label_is_a_formula() -> None:
    found = Predictions(("=1+1", "@x"), torch.tensor([[0.5, 0.5]]), (("@x", "=1+1"),))
    assert predictions_csv(["-x.png"], found, all_scores=True).splitlines() == [
        "path,label,score,'=1+1,'@x",
        "'-x.png,'@x;'=1+1,0.5000;0.5000,0.5000,0.5000",
    ]


def test_rows_have_path_label_and_score() -> None:
    scores = torch.tensor([[0.25, 0.75], [0.9, 0.6]])
    found = Predictions(("cat", "a dog, old"), scores, (("a dog, old",), ("cat", "a dog, old")))
    assert predictions_csv(["1.png", "2.png"], found) == (
        'path,label,score\n1.png,"a dog, old",0.7500\n2.png,"cat;a dog, old",0.9000;0.6000'
    )
    lines = predictions_csv(["1.png", "2.png"], found, all_scores=True).splitlines()
    assert lines[0] == 'path,label,score,cat,"a dog, old"'
    assert lines[1].endswith(",0.2500,0.7500")
