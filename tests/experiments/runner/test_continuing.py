"""A finished run that learns on from further images."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from cl_prompts import Model
from cl_prompts.datasets.registry import augmentation_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.results.history import before_after
from cl_prompts.experiments.run_folder.files import SUMS_FILE, sums
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.experiments.runner.continuing import settings_of_child
from cl_prompts.experiments.runner.task_loop import TaskLoop
from cl_prompts.experiments.tracking.tracker import Tracker
from tests.experiments import own_parts
from tests.experiments.commands import change_summary, rows, signalling, summary
from tests.experiments.sketches import sketched

pytestmark = pytest.mark.slow

TRAIN, TEST = 12, 6
DIGITS = [[0.305] * 3, [0.324] * 3]  # mean and deviation
STRIPES = [list(own_parts.MEAN), list(own_parts.STD)]
SMALL = ["seed=1", "n_tasks=2", "every=15", "train_mb_size=8", "online_iter=1", "augment=false"]
SMALL += ["image_size=16"]


def digits_folder(root: Path, digits: dict[str, int], *, skip: int = 0) -> Path:
    data = load_digits()
    for name, digit in digits.items():
        found = np.flatnonzero(data.target == digit)[skip : skip + TRAIN + TEST]
        for place, row in enumerate(found.tolist()):
            folder = root / ("train" if place < TRAIN else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (data.images[row] * 15.9).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(folder / f"{row}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of images: four classes, and later one of these and two new ones."""
    root = tmp_path_factory.mktemp("images")
    digits_folder(root / "first", {"zero": 0, "one": 1, "two": 2, "three": 3})
    digits_folder(root / "later", {"two": 2, "four": 4, "six": 6}, skip=40)
    assert main(["init", str(root / "first"), "--out", str(root / "first.yaml"), "--quiet"]) == 0
    return root


def first_run(place: Path, out: Path, strategy: str, *settings: str) -> Path:
    recipe = str(place / "first.yaml")
    common = [one for one in SMALL if one.partition("=")[0] not in ",".join(settings)]
    arguments = ["run", recipe, f"strategy={strategy}", *common, *settings, "--out", str(out)]
    assert main([*arguments, "--quiet"]) == 0
    return newest(out)


def newest(out: Path) -> Path:
    return max((f.parent for f in out.rglob("summary.json")), key=lambda f: f.stat().st_ctime_ns)


def learn(run: Path, folder: Path, out: Path, *more: str) -> tuple[int, Path]:
    code = main(["learn", str(run), str(folder), *more, "--out", str(out), "--quiet"])
    return code, newest(out)


@pytest.fixture(scope="module")
def parent(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with sketched():
        return first_run(place, tmp_path_factory.mktemp("parent"), "mvp", "mvp.buffer_size=20")


@pytest.fixture(scope="module")
def child(parent: Path, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with sketched():
        code, folder = learn(parent, place / "later", tmp_path_factory.mktemp("child"))
    assert code == 0
    return folder


def test_a_child_knows_the_classes_of_both_by_name(place: Path, parent: Path, child: Path) -> None:
    earlier = rows(parent)
    assert rows(child)[: len(earlier)] == earlier
    assert all(int(row[0]) > 48 for row in rows(child)[len(earlier) :])
    said = summary(child)
    assert said["class_names"] == ["one", "three", "two", "zero", "four", "six"]
    assert said["n_tasks"] == 3
    assert said["samples_seen"] == 7 * TRAIN
    assert said["task_ends"][1:] == [48, 84]
    trained = Model.load(child, device="cpu")
    images = place / "later" / "train"
    later = torch.stack([_pixels(images / name) for name in ("four", "six", "two")])
    labels = trained.predict(later).labels
    assert labels[1:] == ("six", "two")  # a new class and a known one
    assert len(trained.card.calibration.confidence) == 7 * TEST  # of parent and child
    strange = torch.cat([later, later.rot90(1, (2, 3)), 1 - later])
    assert "unknown" in trained.predict(strange, unknown=0.1).labels


@pytest.mark.parametrize("strategy", ["ncm", "ranpac"])
def test_a_closed_form_that_saw_augmented_images_learns_new_classes(
    place: Path, tmp_path: Path, strategy: str
) -> None:
    run = first_run(place, tmp_path / "runs", strategy, "augment=true")
    code, child = learn(run, place / "later", tmp_path / "later")
    assert code == 0
    assert summary(child)["class_names"] == ["one", "three", "two", "zero", "four", "six"]
    assert summary(child)["results"]["a_last"] > 0.5
    assert Model.load(child, device="cpu").card.calibration.temperature is not None


def _pixels(folder: Path) -> torch.Tensor:
    image = Image.open(sorted(folder.glob("*.png"))[0]).resize((16, 16), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def altered(parent: Path, tmp_path: Path, **sections: Any) -> RunRecord:
    copied = tmp_path / str(len([*tmp_path.iterdir()]))
    shutil.copytree(parent, copied)
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, **sections}))
    (copied / SUMS_FILE).write_text(sums(copied, {}))
    return collect([copied])[0]


def test_images_of_a_child_are_normalised_as_those_of_its_parent(
    parent: Path, tmp_path: Path
) -> None:
    """Also where that is by the statistics of the parent's data set."""
    backbone = yaml.safe_load((parent / "config.yaml").read_text())["backbone"]
    backbone["normalisation"] = "dataset"
    for name, known in (("digits", DIGITS), ("tests.experiments.own_parts:stripes", STRIPES)):
        copied = altered(parent, tmp_path, backbone=backbone, dataset={"name": name})
        child = settings_of_child(copied, {"name": "folder"}, 1, "later", trust_code=True)
        assert child.backbone["normalisation"] == known


@pytest.mark.parametrize(
    ("name", "crop"),
    [
        *(("folder", None), ("folder", "square"), ("csv", "whole"), ("digits", None)),
        *(("imagenet_r", None), ("domainnet", "random_area")),
    ],
)
def test_images_of_a_child_become_squares_as_those_of_its_parent(
    name: str, crop: Any, parent: Path, tmp_path: Path
) -> None:
    """Whatever kind of data set each of them has."""
    copied = altered(parent, tmp_path, dataset={"name": name, "crop": crop})
    photo = torch.randint(256, (3, 60, 90), generator=torch.manual_seed(0)).to(torch.uint8)
    wanted = augmentation_of(name, crop).test(28)(photo)
    for later in ("folder", "csv"):
        dataset = {"name": later, "root": "."}
        child = settings_of_child(copied, dataset, 1, "later", trust_code=True).dataset
        assert torch.equal(augmentation_of(later, child["crop"]).test(28)(photo), wanted)
        for other in {"square", "random_area"} - {augmentation_of(name, crop).crop}:
            with pytest.raises(InputError, match=f"dataset.crop is {other!r}, and the model"):
                settings_of_child(copied, dataset, 1, "later", [f"crop={other}"], trust_code=True)


def test_a_child_that_is_stopped_resumes_to_the_same(
    parent: Path, child: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop = signalling(signal.SIGTERM, 70)
        patch.setattr(Tracker, "after_training_iteration", stop)
        code, folder = learn(parent, place / "later", tmp_path)
    assert code == 143
    (folder / "before.json").write_text((folder / "before.json").read_text().replace("0.", "0.9"))
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    assert rows(folder) == rows(child)
    learned = [f / "model" / "model.safetensors" for f in (folder, child)]
    assert learned[0].read_bytes() == learned[1].read_bytes()
    assert (folder / "before.json").read_bytes() == (child / "before.json").read_bytes()


def test_a_child_learns_on(child: Path, place: Path, tmp_path: Path) -> None:
    digits_folder(tmp_path / "eight", {"eight": 8})
    code, grandchild = learn(child, tmp_path / "eight", tmp_path / "out")
    assert code == 0
    said = summary(grandchild)
    assert said["class_names"][-1] == "eight"
    assert said["n_tasks"] == 4
    assert Model.load(grandchild, device="cpu").classes[-1] == "eight"


def test_known_classes_may_have_test_images_alone(
    parent: Path, place: Path, tmp_path: Path, refused: Any
) -> None:
    digits_folder(tmp_path / "seven", {"one": 1, "seven": 7, "zero": 0}, skip=40)
    for known in ("one", "zero"):
        shutil.rmtree(tmp_path / "seven" / "train" / known)
    code, folder = learn(parent, tmp_path / "seven", tmp_path / "out")
    assert code == 0
    assert summary(folder)["class_names"] == ["one", "three", "two", "zero", "seven"]
    assert summary(folder)["samples_seen"] == 5 * TRAIN
    (run,) = collect([folder])
    table = {row.name: row.images for row in before_after(run)}
    assert [table[name] for name in ("one", "two", "seven")] == [2 * TEST, TEST, TEST]
    shutil.rmtree(tmp_path / "seven" / "test" / "seven")
    refused("class 'seven' (label 1) of", "learn", str(parent), str(tmp_path / "seven"))


def test_scores_before_and_after(child: Path) -> None:
    (run,) = collect([child])
    table = {row.name: row for row in before_after(run)}
    assert list(table)[:3] == ["all test images", "classes known before", "new classes"]
    assert table["four"].before is None
    assert table["four"].after is not None
    assert table["four"].texts[-1] == ""
    two = table["two"]
    assert two.texts[-1].startswith(f"{100 * (two.after - two.before):+.1f} (")
    assert table["all test images"].after == summary(child)["results"]["a_last"]
    # Test images of new classes, which the parent's model had none right of, count before, too.
    right = sum(TEST * (table[name].before or 0.0) for name in [*run.summary["class_names"], "two"])
    assert table["all test images"].before == pytest.approx(right / (7 * TEST))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["strategy=ncm"], "has the strategy and seed of its parent, mvp and 1"),
        (["scenario=class_incremental", "n_tasks=1"], "stream announces task boundaries"),
        (["mvp.pool_size=3"], "pool_size is 3, and the model was made with 10"),
        (["lr=1e-3", "features=raw_blocks:1"], "features is 'raw_blocks:1', and the model was"),
        (["plugins=slow_heads"], "plugins.slow_heads.decays is [0.9, 0.99], and the model was"),
        (["seed=2"], "has the strategy and seed of its parent, mvp and 1"),
        (["weights=random"], "the weights or the normalisation of its backbone changed"),
        (["precision=bf16"], "backbone.precision is 'bf16'"),
        (["normalisation=[[0,0,0],[1,1,1]]"], "normalisation of its backbone changed"),
    ],
)
def test_refused_settings(
    settings: list[str], sentence: str, parent: Path, place: Path, here: Path, refused: Any
) -> None:
    refused(sentence, "learn", str(parent), str(place / "later"), *settings, "--quiet")


def test_a_parent_that_was_changed_is_refused(
    parent: Path, place: Path, tmp_path: Path, refused: Any
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(parent, copied)
    _, made = learn(copied, place / "later", tmp_path / "out")
    change_summary(made, status="interrupted")
    (copied / "SHA256SUMS").write_text("something else\n")
    refused(f"{copied}, is missing or was changed", "run", "--resume", str(made), "--quiet")


def test_images_of_the_parent_that_are_gone_are_missed(
    place: Path, tmp_path: Path, refused: Any
) -> None:
    own: Any = tmp_path / "images"
    shutil.copytree(place / "first", own / "first")
    assert main(["init", str(own / "first"), "--out", str(own / "first.yaml"), "--quiet"]) == 0
    parent = first_run(own, tmp_path / "parent", "linear_probe")
    lost = next((own / "first" / "test" / "two").iterdir())
    lost.unlink()
    says = "it has 23 test images, and had 24: restore them"
    refused(says, "learn", str(parent), str(place / "later"), "--out", str(own), "--quiet")


def test_rates_and_decay_are_those_of_the_settings_of_the_child(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = first_run(place, tmp_path / "a", "er", "er.buffer_size=8", "schedule=cosine")
    found = []
    loaded = TaskLoop._restore_parent

    def noted(self: TaskLoop) -> None:
        loaded(self)
        found.extend(self.run.strategy.optimizer.param_groups)

    monkeypatch.setattr(TaskLoop, "_restore_parent", noted)
    settings = ["lr=0.02", "er.weight_decay=0.3"]
    assert learn(parent, place / "later", tmp_path / "b", *settings)[0] == 0
    assert [(group["lr"], group["weight_decay"]) for group in found] == [(0.02, 0.3)]
    assert found[0].get("initial_lr", 0.02) == 0.02


def test_a_further_domain_with_a_new_class(tmp_path: Path) -> None:
    """A folder that holds folders of classes is a domain, under its own name."""
    own = tmp_path / "images"
    names = {"zero": 0, "one": 1, "two": 2}
    for number, domain in enumerate(("night", "snow", "fog")):
        here = {**names, "four": 4} if domain == "fog" else names
        digits_folder(tmp_path / domain, here, skip=40 * number)
        for part in ("train", "test") if domain != "fog" else ():
            shutil.copytree(tmp_path / domain / part, own / part / domain)
    recipe = str(tmp_path / "first.yaml")
    assert main(["init", str(own), "--out", recipe, "--quiet"]) == 0
    plain = [text for text in SMALL if not text.startswith("n_tasks")]
    command = ["run", recipe, "strategy=s_prompt", "s_prompt.train_epochs=1", *plain]
    assert main([*command, "--out", str(tmp_path / "runs"), "--quiet"]) == 0
    first = newest(tmp_path / "runs")
    code, child = learn(first, tmp_path / "fog", tmp_path / "a")
    assert code == 0
    said = summary(child)
    assert said["domain_names"] == ["night", "snow", "fog"]
    table = {row.name: row for row in before_after(collect([child])[0])}
    assert table["domain fog"].before is not None
    ends = {row[2]: float(row[3]) for row in rows(child) if row[1] == "task_end_accuracy"}
    assert table["domain fog"].after == pytest.approx(ends["domain:fog"])
    assert learn(child, tmp_path / "snow", tmp_path / "a")[0] == 2  # a domain comes once
