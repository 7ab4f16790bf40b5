"""What is found in folders and tables of a user's own images, and the recipe proposed for them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.datasets.survey import Survey, survey
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli.proposal import recipe_for, tasks_for
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources, check_plan
from cl_prompts.experiments.trained.training import PHOTOS, backbone_for
from tests.experiments.own_photos import photo, photos


def surveyed(place: Path, **options: int) -> Survey:
    return survey(place, **options)


def table_of(folder: Path, labels: Sequence[str], n: int = 20) -> Path:
    """A table of images whose rows end with these texts in turn."""
    photos(folder / "images", {"all": n})
    rows = [f"images/all/{i:03d}.png,{labels[i % len(labels)]}" for i in range(n)]
    header = "path,label,domain" if "," in labels[0] else "path,label"
    table = folder / "labels.CSV"
    table.write_text("\n".join([header, *rows]))
    return table


def assert_loads_as_found(found: Survey) -> None:
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset(found.settings["name"], image_size=8, **settings)
    assert data.classes == found.classes
    assert tuple(look.path for look in found.train) == data.train.files
    assert tuple(look.path for look in found.test) == data.test.files
    assert data.test.targets.tolist() == found.test_targets.tolist()


def test_class_folders_alone_are_divided_as_the_run_will_divide_them(tmp_path: Path) -> None:
    photos(tmp_path / "a", {"cat": 10, "dog": 5})
    found = surveyed(tmp_path / "a", test_percent=40, seed=3)
    assert found.settings["test_percent"] == 40
    assert found.lines() == [
        "2 classes, 9 training and 6 test images",
        "there is no test part: 40 % of the images of each class become one",
        "training images of a class: 3 (dog) to 6 (cat)",
    ]
    assert_loads_as_found(found)


def test_broken_and_other_files_are_named(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"cat": 4, "dog": 2})
    photos(tmp_path / "test", {"cat": 1, "dog": 1}, first=500)
    (tmp_path / "train" / "cat" / "broken.jpg").write_text("no image")
    (tmp_path / "train" / "cat" / "new.gif").write_text("?")
    photo(tmp_path / "test" / "cat" / "copy.bmp", 0)  # the pixels of train/cat/000.png
    with pytest.warns(UserWarning, match="^1 .gif not read: convert to PNG or JPEG$"):
        found = surveyed(tmp_path)
    train = tmp_path / "train"
    assert found.lines() == [
        "2 classes, 6 training and 3 test images",
        "training images of a class: 2 (dog) to 4 (cat)",
        f"warning: 1 images cannot be read and are left out: image {train}/cat/broken.jpg cannot be"
        " read: its format is not supported",
        "warning: 1 test images of this data set are also training images, the first is"
        f" {tmp_path}/test/cat/copy.bmp (in training: {train}/cat/000.png): remove them from one"
        " part",
    ]
    assert_loads_as_found(found)


@pytest.mark.parametrize(
    "labels", [("cat", "dog;owl"), ("cat,new", "dog,new", "cat,old", "dog,old")]
)
def test_a_table_without_parts_is_divided_into_two(labels: Sequence[str], tmp_path: Path) -> None:
    table = table_of(tmp_path, labels)
    found = surveyed(table)
    assert found.multi_label == (";" in labels[1])
    assert found.domains == (() if found.multi_label else ("new", "old"))
    split = {"test_percent": 20, "split_seed": 0}
    assert found.settings == {"name": "csv", "root": str(table), **split}
    assert (len(found.train), len(found.test)) == (16, 4)
    assert_loads_as_found(found)
    assert_loads_as_found(surveyed(table, seed=1))


def test_folders_of_the_same_classes_are_domains(tmp_path: Path) -> None:
    for number, domain in enumerate(("sketch: 1", "art")):
        photos(tmp_path / "a" / domain, {"cat": 15, "dog": 15}, first=5000 * number)
    found = surveyed(tmp_path / "a")
    assert found.lines()[1] == "domains: art, sketch: 1"
    assert_loads_as_found(found)
    file = tmp_path / "a.yaml"
    file.write_text(recipe_for(found, "a"))
    runs = plan(str(file))
    assert {run.strategy for run in runs} == {"recommended", "ncm"}
    assert "  s_prompt: {}" in file.read_text()
    run, warnings = check_plan(runs, Resources())
    assert run.split.domains == ("art", "sketch: 1")
    assert (run.split.boundaries, warnings) == (True, [])


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder or table"):
        surveyed(tmp_path / "nowhere")
    photos(tmp_path / "one", {"cat": 4})
    with pytest.raises(InputError, match="holds 1 classes: at least two are needed"):
        surveyed(tmp_path / "one")
    photos(tmp_path / "two", {"Cat": 4, "cat": 4, "owl": 6})
    with pytest.raises(InputError, match="names 'Cat' and 'cat' of this"):
        surveyed(tmp_path / "two")


def test_the_recipe_is_valid_and_says_what_was_found(tmp_path: Path) -> None:
    name = "my photos: 2026"
    photos(tmp_path / name, {"cat": 30, "dog": 20, "owl": 20, "fox": 20})
    found = surveyed(tmp_path / name)
    file = tmp_path / "photos.yaml"
    file.write_text(recipe_for(found, name))
    assert "72 training and 18 test images" in file.read_text().splitlines()[1]
    (run, *_) = runs = plan(str(file))
    assert [(r.strategy, r.seed) for r in runs[:3]] == [("recommended", s) for s in (1, 2, 3)]
    assert {r.strategy for r in runs} == {"recommended", "ncm"}
    assert [r.strategy for r in plan(str(file), ["strategy=mvp", "seed=1"])] == ["mvp"]
    assert (run.dataset["root"], run.dataset["test_percent"]) == (str(tmp_path / name), 20)
    assert run.scenario["n_tasks"] == 2
    assert (run.backbone["name"], run.backbone["image_size"]) == ("glyph_vit_tiny", 32)
    assert run.options["train_mb_size"] == run.evaluation["every"] == 3


def test_several_labels_and_one_domain_have_streams_of_their_own(tmp_path: Path) -> None:
    wanted = {
        "si_blurry_multi_label": (("a;e", "b;e", "c;e", "d;e"), "multi_lane"),
        "si_blurry": (("a,art", "b,art"), "mvp"),
    }
    for scenario, (labels, strategy) in wanted.items():
        found = surveyed(table_of(tmp_path / scenario, labels, n=60))
        file = tmp_path / f"{scenario}.yaml"
        file.write_text(recipe_for(found, scenario))
        runs = plan(str(file))
        assert runs[0].scenario["name"] == scenario
        assert runs[0].strategy == "recommended"
        assert strategy in yaml.safe_load(file.read_text())["strategies"]


def test_tasks_and_backbone_follow_classes_and_images(tmp_path: Path) -> None:
    two = surveyed(photos(tmp_path / "two", {"a": 8, "b": 8}))
    ten = surveyed(photos(tmp_path / "ten", dict.fromkeys("abcdefghij", 4)))
    assert [tasks_for(len(found.classes)) for found in (two, ten)] == [2, 5]
    assert backbone_for(two, None) == ("glyph_vit_tiny", 32)
    assert backbone_for(two, "vit_base_patch16_224.augreg_in21k")[1] == 96
    large = [look._replace(height=300, width=200) for look in two.train]
    photographs = Survey(two.settings, two.classes, two.train_targets, two.test_targets, large, [])
    assert backbone_for(photographs, None) == (PHOTOS, 224)
    for name, first in (("cat", 0), ("dog", 50)):
        for i in range(4):
            photo(tmp_path / "small" / name / f"{i}.png", first + i, (32, 32), colour=True)
    small = surveyed(tmp_path / "small")
    assert backbone_for(small, None) == (PHOTOS, 98)
    recipe = yaml.safe_load(recipe_for(small, "x", weights=tmp_path / "w.pth"))
    assert recipe["backbone"]["weights"] == str(tmp_path / "w.pth")
