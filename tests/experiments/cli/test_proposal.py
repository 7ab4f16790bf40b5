"""Recipes proposed for one's own images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from cl_prompts.backbones import FrozenViT, create_backbone
from cl_prompts.experiments.cli import proposal
from cl_prompts.experiments.cli.proposal import (
    PHOTOS,
    POINTS,
    backbone_for,
    every_for,
    expectations,
    recipe_for,
    tasks_for,
)
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.findings import Survey
from cl_prompts.experiments.runner.own_images import survey
from cl_prompts.experiments.runner.process import its_threads
from tests.experiments.own_photos import photo, photos


def found_in(folder: Path, counts: Mapping[str, int]) -> Survey:
    return survey(photos(folder, counts))


@pytest.mark.parametrize("n", [20, 21, 39, 64, 599, 600, 1442, 50000])
def test_there_are_at_least_twenty_points(n: int) -> None:
    assert n // every_for(n) >= POINTS
    assert every_for(n) >= 1


def test_the_recipe_is_valid_and_says_what_was_found(tmp_path: Path) -> None:
    found = found_in(tmp_path / "photos", {"cat": 30, "dog": 20, "owl": 20, "fox": 20})
    file = tmp_path / "photos.yaml"
    file.write_text(recipe_for(found, "photos"))
    assert [
        line.split()[1] for line in file.read_text().splitlines() if "in the package" in line
    ] == ["glyph_vit_tiny"]
    (run, *_) = runs = plan(str(file))
    assert [(r.strategy, r.seed) for r in runs[:3]] == [("linear_probe", s) for s in (1, 2, 3)]
    assert {r.strategy for r in runs} == {"linear_probe", "mvp", "ncm"}
    assert run.recipe == "photos"
    assert run.dataset["test_percent"] == 20
    assert run.scenario["n_tasks"] == 2
    assert (run.backbone["name"], run.backbone["image_size"]) == ("glyph_vit_tiny", 32)
    assert run.options["train_mb_size"] == run.evaluation["every"] == 3
    assert "72 training and 18 test images" in file.read_text().splitlines()[1]


def test_no_name_adds_a_line_to_the_recipe(tmp_path: Path) -> None:
    name = "a\nseeds: [9]"
    found = found_in(tmp_path / name, {"cat": 6, "dog": 6})
    text = recipe_for(found, name, backbone=name)
    recipe = yaml.safe_load(text)
    assert recipe["seeds"] == [1, 2, 3]
    assert recipe["backbone"]["name"] == name
    assert recipe["dataset"]["root"] == str(tmp_path / name)
    assert sum(line.startswith("seeds") for line in text.splitlines()) == 1
    assert text.splitlines()[1].startswith("# a seeds: [9]: 2 classes")


def test_several_labels_have_their_own_scenario_and_strategies(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 60})
    rows = [f"images/all/{i:03d}.png,{'abcd'[i % 4]};e" for i in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    found = survey(tmp_path / "labels.csv")
    file = tmp_path / "labels.yaml"
    file.write_text(recipe_for(found, "labels"))
    (run, *_) = runs = plan(str(file))
    assert run.scenario["name"] == "si_blurry_multi_label"
    assert {r.strategy for r in runs} == {"linear_probe", "multi_label_ridge", "multi_lane"}


def test_domains_have_their_own_scenario_and_strategies(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for number, domain in enumerate(("sketch: 1", "art")):
        photos(root / domain, {"cat": 15, "dog": 15}, first=5000 * number)
    file = tmp_path / "photos.yaml"
    file.write_text(recipe_for(survey(root), "photos"))
    runs = plan(str(file))
    assert {run.strategy for run in runs} == {"linear_probe", "s_prompt", "ncm"}
    parts, remarks = Builder().check(runs)
    assert parts.split.domains == ("art", "sketch: 1")
    assert (parts.split.boundaries, remarks) == (True, [])
    assert (
        file.read_text()
        .splitlines()[1]
        .endswith("12 test images, one of 2 domains after the other")
    )


def test_a_table_of_one_domain_makes_no_stream_of_domains(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 12})
    rows = [f"images/all/{i:03d}.png,{'ab'[i % 2]},art" for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,domain", *rows]))
    found = survey(tmp_path / "labels.csv")
    found.keep()
    assert found.lines()[1] == "1 domain: art"
    file = tmp_path / "labels.yaml"
    file.write_text(recipe_for(found, "labels"))
    runs = plan(str(file))
    assert {run.strategy for run in runs} == {"linear_probe", "mvp", "ncm"}
    assert Builder().check(runs)[0].split.name == "Si-Blurry"


def test_tasks_follow_the_classes(tmp_path: Path) -> None:
    two = found_in(tmp_path / "two", {"a": 8, "b": 8})
    ten = found_in(tmp_path / "ten", dict.fromkeys("abcdefghij", 4))
    assert (tasks_for(two, "si_blurry"), tasks_for(ten, "si_blurry")) == (2, 5)


def test_the_backbone_follows_the_size_of_the_images(tmp_path: Path) -> None:
    small = found_in(tmp_path, {"a": 3, "b": 3})
    assert backbone_for(small, None) == ("glyph_vit_tiny", 32)
    assert backbone_for(small, "vit_base_patch16_224.augreg_in21k")[1] == 96
    large = [look._replace(height=300, width=200) for look in small.train]
    photos_of = Survey(
        small.settings, small.classes, small.train_targets, small.test_targets, large, large
    )
    assert backbone_for(photos_of, None) == ("vit_small_patch14_dinov2.lvd142m", 224)
    assert backbone_for(photos_of, "glyph_vit_tiny") == ("glyph_vit_tiny", 32)


def test_what_nearest_class_means_reach_on_a_sample_and_how_long_runs_take(tmp_path: Path) -> None:
    for name, level in (("dark", 0), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (16, 16), level + i).save(tmp_path / name / f"{i}.png")
    accuracy, duration = expectations(survey(tmp_path))
    assert accuracy == (
        "nearest class means of frozen features, of 16 training images, are right on 100 % of 4"
        " test images: ncm with augment=false should reach about that, and a method that stays"
        " below it is not worth its training"
    )
    assert duration.startswith("a forward pass takes ")
    assert re.search(
        r" at least \d+ s for all 9 runs, \d+ s for strategy=ncm seed=1 alone", duration
    )


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
    warning, *measured = expectations(found, "glyph_vit_tiny")
    assert "so accuracy will be low: use --backbone vit_small_patch14_dinov2" in warning
    assert len(measured) == 2
    monkeypatch.setattr(proposal, "at_hand", lambda name: name != PHOTOS)
    built: list[str] = []

    def small(name: str, weights: str | Path, image_size: int) -> FrozenViT:
        built.append(f"{name} {weights} {image_size}")
        return create_backbone(image_size=96)

    monkeypatch.setattr(proposal, "create_backbone", small)
    monkeypatch.setattr(proposal, "backbone_for", lambda *_: (PHOTOS, 96))
    line, duration = expectations(found)
    assert line == (
        f"the weights of {PHOTOS} are not on this machine, so no accuracy is measured: they are"
        f" fetched from the hub by the first run, or by hand (model.safetensors of timm/{PHOTOS})"
        " and given as weights=FILE, which is --weights FILE for init"
    )
    assert duration.startswith("a forward pass takes ")
    accuracy, _ = expectations(found, weights=tmp_path / "w.pth")
    assert accuracy.startswith("nearest class means ")
    assert built == [f"{PHOTOS} random 96", f"{PHOTOS} {tmp_path / 'w.pth'} 96"]
    recipe = yaml.safe_load(recipe_for(found, "x", weights=tmp_path / "w.pth"))
    assert recipe["backbone"]["weights"] == str(tmp_path / "w.pth")


def test_the_embedded_backbone_is_measured_on_the_one_thread_that_runs_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def counted(vit: FrozenViT, images: Tensor, batch: int) -> tuple[Tensor, float]:
        threads.append(torch.get_num_threads())
        return vit(images), 0.001

    monkeypatch.setattr(proposal, "_features", counted)
    with its_threads(one=False):
        torch.set_num_threads(2)
        expectations(found_in(tmp_path, {"a": 5, "b": 5}))
    assert threads == [1, 1]
