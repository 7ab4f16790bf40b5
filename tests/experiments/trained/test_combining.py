"""Runs of closed-form methods that are merged, or forget images or a class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.utils import save_image

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.entry import carry_out
from cl_prompts.experiments.run_folder import plans
from cl_prompts.experiments.run_folder.checksums import check_sums, learned_images
from cl_prompts.experiments.run_folder.runs import collect
from cl_prompts.experiments.runner.building import build_run
from cl_prompts.experiments.trained.combining import merge
from cl_prompts.experiments.trained.forgetting import differences, forget, verify
from cl_prompts.experiments.trained.loading import TrainedRun, load_run
from tests.experiments.commands import summary
from tests.experiments.faults import Fault, count_steps, with_fault
from tests.experiments.runner.test_lineage import SMALL, TEST, TRAIN, digits_folder, newest
from tests.experiments.sketches import sketched
from tests.few_images import few_images
from tests.refusals import check_refusals

pytestmark = pytest.mark.slow

NORTH = {"zero": 0, "one": 1, "two": 2}
SOUTH = {"two": 2, "three": 3}
#: features of 32 bits depend on the size of a batch, and the last batch of a task is smaller
CLOSE = 1e-6


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with sketched():
        yield


def trained(images: Path, strategy: str, *settings: str) -> Path:
    """A finished run beside the images."""
    recipe = images.with_suffix(".yaml")
    if not recipe.exists():
        assert main(["init", str(images), "--out", str(recipe), "--quiet"]) == 0
    out = images.parent / "runs"
    arguments = ["run", str(recipe), f"strategy={strategy}", *SMALL, "n_tasks=1", *settings]
    assert main([*arguments, "--out", str(out), "--quiet"]) == 0
    return newest(out / images.name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("merge")
    digits_folder(root / "north", NORTH)
    digits_folder(root / "south", SOUTH, skip=40)
    for part in ("north", "south"):
        shutil.copytree(root / part, root / "both", dirs_exist_ok=True)
    return root


@pytest.fixture(scope="module")
def parents(place: Path) -> tuple[Path, Path]:
    with sketched():
        return trained(place / "north", "recommended"), trained(place / "south", "recommended")


@pytest.fixture(scope="module")
def merged(place: Path, parents: tuple[Path, Path]) -> TrainedRun:
    arguments = [*map(str, parents), "--name", "all", "--out", str(place / "runs"), "--quiet"]
    with sketched():
        assert main(["merge", *arguments]) == 0
    return load_run(newest(place / "runs/all"), device="cpu")


def test_a_merged_run_is_the_run_on_all_images(place: Path, merged: TrainedRun) -> None:
    whole = load_run(trained(place / "both", "recommended"), device="cpu")
    assert merged.classes == ("one", "two", "zero", "three")
    said = summary(merged.run.folder)
    assert (said["samples_seen"], said["n_tasks"]) == (5 * TRAIN, 1)
    assert said["results"]["a_auc"] is None
    files = sorted((place / "both/test").rglob("*.png"))
    assert len(files) == 5 * TEST
    one, other = merged.predict(files), whole.predict(files)
    assert one.labels == other.labels
    columns = [merged.classes.index(name) for name in whole.classes]
    assert one.calibrated
    images = torch.rand(9, 3, 16, 16)
    found, want = (run.strategy.model(images) for run in (merged, whole))
    assert torch.allclose(found[:, columns], want, atol=1e-5)
    assert merged.evaluate() == said["results"]["a_last"] == whole.run.summary["results"]["a_last"]
    assert len(set(learned_images(merged.run.folder))) == 5 * TRAIN
    config = yaml.safe_load((merged.run.folder / "config.yaml").read_text())
    assert [Path(run).parts[-3] for run in config["parent"]["run"]] == ["north", "south"]
    check_sums(merged.run.folder)


def test_a_merged_run_learns_and_merges_like_any_other(
    place: Path, merged: TrainedRun, parents: tuple[Path, Path], tmp_path: Path
) -> None:
    later = digits_folder(tmp_path / "later", {"four": 4, "five": 5}, skip=80)
    child = merged.learn(later, out=tmp_path / "child")
    assert child.run.summary["samples_seen"] == 7 * TRAIN
    assert child.classes[-2:] == ("five", "four")
    assert main(["compare", str(merged.run.folder)]) == 0
    # Three runs, one of them merged; the test images of one folder alone.
    third = trained(later, "recommended")
    tests = tmp_path / "tests"
    shutil.copytree(place / "both/test", tests)
    shutil.copytree(later / "test", tests, dirs_exist_ok=True)
    again = merge([merged, third], name="three", test=tests, out=tmp_path / "out")
    # "two" has six test images in both folders.
    assert len(again.data().test) == 7 * TEST
    assert again.run.summary["samples_seen"] == 7 * TRAIN
    twice = merge([merged, parents[0]], allow_duplicates=True, out=tmp_path / "twice")
    assert twice.strategy.model.head.count.tolist() == [2 * TRAIN, 3 * TRAIN, 2 * TRAIN, TRAIN]
    assert len(twice.data().test) == 5 * TEST


def test_images_and_classes_are_forgotten_exactly(
    place: Path, merged: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = tmp_path / "person"
    person.mkdir()
    for number, file in enumerate(sorted((place / "both/train").rglob("*.png"))[::4]):
        shutil.copy(file, person / f"{number}.png")
    n = len(list(person.iterdir()))
    arguments = ["forget", str(merged.run.folder), str(person), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--verify"]) == 0
    assert f"forgot {n} images; {5 * TRAIN - n} remain" in capsys.readouterr().out
    found = load_run(newest(tmp_path / "out"), device="cpu")
    gap = verify(found)
    assert gap.sums < CLOSE
    assert gap.scores < CLOSE
    assert (gap.predictions, gap.images) == (0, 5 * TEST)
    assert f"0 of {5 * TEST} test images have another prediction" in str(gap)
    said = json.loads((found.run.folder / "forgotten.json").read_text())
    assert len(said["images"]) == n
    assert not {*said["images"]} & {*learned_images(found.run.folder)}
    # And of the rest a whole class, of which no column remains.
    other = forget(found, class_name="two", out=tmp_path / "class")
    assert other.classes == ("one", "zero", "three")
    assert verify(other).sums < CLOSE
    assert other.run.summary["class_names"] == ["one", "zero", "three"]
    shutil.copytree(place / "south/train/two", tmp_path / "two/train/two")
    shutil.copytree(place / "south/test/two", tmp_path / "two/test/two")
    again = other.learn(tmp_path / "two", out=tmp_path / "again")
    assert again.classes == ("one", "zero", "three", "two")


def test_the_forgotten_files_may_be_deleted(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "north", tmp_path / "mine")
    run = trained(tmp_path / "mine", "ncm")
    table = tmp_path / "out.csv"
    first, second, *_ = sorted((tmp_path / "mine/train/one").iterdir())
    table.write_text(f"path,label\n{first.relative_to(tmp_path)},one\n{second},one\n")
    found = forget(run, table, out=tmp_path / "out")
    first.unlink()
    second.unlink()
    with pytest.raises(InputError, match="changed"):
        load_run(run).learn(place / "south", out=tmp_path / "refused")
    assert found.evaluate() == found.run.summary["results"]["a_last"]


def test_several_labels_are_forgotten(tmp_path: Path) -> None:
    options = ["strategy=multi_label_ridge", "seed=1", "scenario.protocol=B10-C1", "image_size=16"]
    with few_images():
        assert main(["run", "digit_scenes", *options, "--out", str(tmp_path), "--quiet"]) == 0
        run = load_run(newest(tmp_path), device="cpu")
        (tmp_path / "some").mkdir()
        save_image(run.data().train.images[0] / 255, tmp_path / "some/scene.png")
        found = forget(run, tmp_path / "some", out=tmp_path / "out")
        assert verify(found).sums < CLOSE
        with pytest.raises(InputError, match="several classes each"):
            forget(run, class_name="one")


@pytest.mark.parametrize("command", ["merge", "forget"])
def test_nothing_half_done_remains(
    command: str,
    place: Path,
    parents: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def act(out: Path) -> None:
        if command == "merge":
            merge(parents, out=out)
        else:
            forget(parents[0], class_name="two", out=out)

    steps = count_steps(monkeypatch, lambda: act(tmp_path / "whole"))
    faults: list[tuple[int, Fault]] = [
        (steps // 3, "full"),
        (steps // 2, "killed half-way"),
        (steps - 2, "killed half-way"),
    ]
    for at, fault in faults:
        out = tmp_path / f"{at}"
        with monkeypatch.context() as patch:
            if fault != "full":  # a killed process cleans nothing up
                patch.setattr(plans.shutil, "rmtree", lambda path, **options: None)
            says = pytest.raises((RunError, OSError), match="No space left on device")
            with says if fault == "full" else nullcontext():
                with_fault(monkeypatch, at, fault, partial(act, out))
        with pytest.raises(InputError, match="no run below"):
            collect([out])
        act(out)
        assert len(collect([out])) == 1
        assert not list(out.rglob("*.tmp"))


def test_mistakes_have_one_sentence(
    place: Path, parents: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    shutil.copytree(place / "south/train/three", place / "case/train/Two")
    shutil.copytree(place / "south/train/three", place / "case/train/three")
    shutil.copytree(place / "south/test", place / "case/test")
    shutil.move(place / "case/test/two", place / "case/test/Two")
    for file in (place / "case/train/Two").iterdir():
        file.write_bytes(file.read_bytes() + b" ")
    links = {
        "north_run": parents[0],
        "south_run": parents[1],
        "ncm": trained(place / "south", "ncm"),
        "probe": trained(place / "south", "linear_probe"),
        "ridge": trained(place / "south", "ranpac", "projection=20"),
        "ridge2": trained(place / "both", "ranpac", "projection=20", "seed=2"),
        "readout": trained(place / "south", "recommended", "features=blocks:2"),
        "vit": trained(place / "south", "recommended", "backbone.weights=random"),
        "case_run": trained(place / "case", "recommended"),
        "augmented": trained(place / "south", "ncm", "augment=true"),
        "l3a": trained(place / "south", "klda", "klda.form=released", "klda.width=20"),
    }
    for name, folder in links.items():
        (place / name).symlink_to(folder)
    (place / "foreign").mkdir()
    shutil.copy(next((place / "south/train/three").iterdir()), place / "foreign/a.png")
    lines = [
        "merge north_run",
        "merge north_run north_run",
        "merge north_run nowhere",
        "merge north_run ncm",
        "merge north_run readout",
        "merge north_run vit",
        "merge probe north_run",
        "merge augmented ncm",
        "merge l3a north_run",
        "merge ridge ridge2 --allow-duplicates",
        "merge south_run case_run --allow-duplicates",
        "merge south_run readout --allow-duplicates",
        "merge north_run south_run --test nowhere",
        "merge north_run south_run --test case/test",
        "merge north_run south_run --name a/b",
        "forget north_run",
        "forget north_run foreign --class two",
        "forget north_run foreign",
        "forget north_run nothere",
        "forget north_run --class tow",
        "forget probe --class two",
        "forget augmented --class two",
        "forget ridge --class two",
    ]
    cases: dict[str, Callable[[], Any]] = {line: partial(carry_out, line.split()) for line in lines}
    check_refusals(Path(__file__).with_name("refusals.txt"), cases)
    assert not list(place.glob("runs/merged/**/summary.json"))


def test_runs_of_the_same_images_differ_by_nothing(parents: tuple[Path, Path]) -> None:
    one, other = (load_run(parents[0], device="cpu") for _ in range(2))
    found = differences(one, other, build_run(one.settings))
    assert (found.sums, found.scores, found.predictions) == (0, 0, 0)
