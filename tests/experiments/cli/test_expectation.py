"""What is to be expected of a proposed recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cl_prompts.experiments.cli import expectation
from cl_prompts.experiments.cli.expectation import expectations
from cl_prompts.experiments.cli.proposal import PHOTOS, backbone_for
from cl_prompts.experiments.runner.own_images import survey
from tests.experiments.own_photos import photo, photos


def test_what_nearest_class_means_reach_on_a_sample_and_how_long_runs_take(tmp_path: Path) -> None:
    for name, level in (("dark", 0), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (16, 16), level + i).save(tmp_path / name / f"{i}.png")
    accuracy, duration = expectations(survey(tmp_path))
    assert accuracy == (
        "nearest class means of frozen features, of 16 training images, are right on 100 % of 4"
        " test images: a run should reach that at least"
    )
    assert duration.startswith("a forward pass takes ")
    assert " s for all 9 runs, and more where" in duration


def test_of_several_labels_a_pass_is_measured_alone(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 12})
    rows = [f"images/all/{i:03d}.png,{'ab'[i % 2]};c" for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    (line,) = expectations(survey(tmp_path / "labels.csv"))
    assert line.endswith(" ms an image on this processor")


def test_small_photographs_are_enlarged_for_a_backbone_of_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, first in (("cat", 0), ("dog", 50)):
        for i in range(4):
            photo(tmp_path / name / f"{i}.png", first + i, (32, 32), colour=True)
    found = survey(tmp_path)
    assert backbone_for(found, None) == (PHOTOS, 98)
    monkeypatch.setattr(expectation, "at_hand", lambda name: name != PHOTOS)
    (line,) = expectations(found)
    assert line == (
        f"the weights of {PHOTOS} are not on this machine, so nothing is measured: they are"
        f" fetched from the hub by the first run, or by hand (model.safetensors of timm/{PHOTOS})"
        " and given as weights=FILE"
    )
    warning, *measured = expectations(found, "glyph_vit_tiny")
    assert "so accuracy will be low: use --backbone vit_small_patch14_dinov2" in warning
    assert len(measured) == 2
