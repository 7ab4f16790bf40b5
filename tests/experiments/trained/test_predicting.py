"""Predictions for files."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.predicting import (
    UNKNOWN,
    Predictions,
    image_files,
    predictions_csv,
    threshold_at,
)


def test_folders_are_walked_and_files_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "new" / "inner").mkdir(parents=True)
    for name in ("new/b.png", "new/inner/a.png", "c.gif"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = image_files([tmp_path / "c.gif", tmp_path / "new", tmp_path / "new" / "b.png"])
    assert [Path(file).name for file in found] == ["c.gif", "b.png", "a.png"]
    with pytest.raises(InputError, match="there is no image or folder"):
        image_files([tmp_path / "nothing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        image_files([tmp_path / "empty"])


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_lies_between_none_and_all(rate: float) -> None:
    with pytest.raises(InputError, match="the share of known images that may be rejected"):
        threshold_at(rate, [0.0] * 30)


@pytest.mark.parametrize(
    ("rate", "n", "place"), [(0.05, 19, 0), (0.05, 38, 0), (0.05, 39, 1), (0.29, 99, 28)]
)
def test_the_threshold_leaves_the_rate_below_it(rate: float, n: int, place: int) -> None:
    """Of n + 1 images in random order the last is below with probability (place + 1) / (n + 1)."""
    assert threshold_at(rate, [float(value) for value in range(n)]) == place


def test_rows_have_path_label_and_score() -> None:
    # An unknown image has the score of the best class.
    scores = torch.tensor([[0.4, 0.6], [0.3, 0.2]])
    found = Predictions(("cat", "dog"), scores, ((UNKNOWN,), ("cat",)))
    lines = predictions_csv(["1.png", "2.png"], found).splitlines()
    assert lines[1:] == ["1.png,unknown,0.6000", "2.png,cat,0.3000"]
    scores = torch.tensor([[0.25, 0.75], [0.9, 0.6]])
    found = Predictions(("cat", "a dog, old"), scores, (("a dog, old",), ("cat", "a dog, old")))
    assert predictions_csv(["1.png", "2.png"], found) == (
        'path,label,score\n1.png,"a dog, old",0.7500\n2.png,"cat;a dog, old",0.9000;0.6000'
    )
    lines = predictions_csv(["1.png", "2.png"], found, all_scores=True).splitlines()
    assert lines[0] == 'path,label,score,cat,"a dog, old"'
    assert lines[1].endswith(",0.2500,0.7500")
    # Scores without calibration become ranks.
    found = Predictions(("a", "b"), torch.tensor([[0.2, 1.7]]), (("b", "a"),), calibrated=False)
    assert predictions_csv(["1.png"], found, all_scores=True) == (
        "path,label,rank,a,b\n1.png,b;a,1;2,2,1"
    )
