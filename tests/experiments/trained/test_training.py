"""Models of a user's images, trained and changed by commands."""

import csv
import io
import multiprocessing
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts import Model
from cl_prompts.datasets.survey import survey
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained import training
from cl_prompts.experiments.trained.training import trained, untrained
from tests.experiments.own_photos import photo, photos
from tests.experiments.sketches import sketched
from tests.experiments.trained.models import same

CLASSES = {"cat": 22, "dog": 21, "owl": 21}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 64 grey images and a model of them, ``models/zoo``."""
    folder = tmp_path_factory.mktemp("home")
    photos(folder / "zoo", CLASSES)
    with chdir(folder), sketched():
        assert main(["train", "zoo", "--quiet"]) == 0
    return folder


@pytest.fixture
def here(here: Path, home: Path) -> Path:
    return shutil.copytree(home, here, dirs_exist_ok=True)


@pytest.fixture
def zoo(here: Path) -> Model:
    return Model.load("models/zoo")


def test_training_is_one_forward_pass_an_image(here: Path) -> None:
    photo(here / "zoo" / "cat" / "copy.png", 0)  # learned once
    photo(here / "zoo" / "dog" / "twin.png", 0)  # and in one class
    found, said = survey(Path("zoo"), whole=True), io.StringIO()
    model = trained(untrained(found), Path("zoo"), found, console=Console(file=said))
    text = " ".join(said.getvalue().split())
    assert "twin.png is a copy of" in text
    assert text.endswith("warning: copies of other images that are left out: 2")
    assert model.network.backbone.counter.images == 64
    assert model.card.per_class == list(CLASSES.values())
    assert (model.card.accuracy.images, model.card.accuracy.how) == (64, "leave-one-out")


def test_a_test_part_gives_the_accuracy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(here / "parts" / "train", CLASSES)
    photos(here / "parts" / "test", dict.fromkeys(CLASSES, 5), first=500)
    assert main(["train", "parts"]) == 0
    said = capsys.readouterr().out
    model = Model.load("models/parts")
    assert (model.card.accuracy.images, model.card.accuracy.how) == (15, "test images")
    assert f"models/parts: {model} (test images)\n" in said
    assert model.card.accuracy.value == model.evaluate("parts").total.value


@pytest.mark.slow
def test_shards_come_to_the_same_model(zoo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fork = multiprocessing.get_context("fork")  # has imported everything
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    monkeypatch.setattr(training, "cores", lambda: 1)
    command = "train zoo --name shards --shards 2 --executor local --quiet"
    assert main(command.split()) == 0
    shards = Model.load("models/shards")
    same(shards, zoo, list(Path("zoo").rglob("*.png")))
    assert shards.card.history[0].what == zoo.card.history[0].what
    assert {path.name for path in Path("models").iterdir() if path.is_dir()} == {"shards", "zoo"}


def test_mistakes_are_refused(zoo: Model, refused: Any) -> None:
    for line, says in (
        ("train nowhere", "there is no folder or table nowhere"),
        ("train zoo", "models/zoo exists already: choose another --name, or replace it with --f"),
        ("learn latest zoo --out models/zoo", "models/zoo exists already: choose another --out"),
        ("learn latest zoo lr=1", "zoo does not train by gradients: leave the settings out"),
        ("forget latest --class cat --in-place --out new", "give either --out or --in-place"),
        ("merge latest", "merge needs two or more models"),
    ):
        refused(says, *line.split())
    assert main(["train", "zoo", "--force", "--quiet"]) == 0


def test_a_model_learns_merges_and_forgets(
    zoo: Model, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = photos(here / "later" / "train", {"owl": 4, "emu": 9}, first=7000)
    photos(here / "later" / "test", {"cat": 3, "owl": 3, "emu": 3}, first=9000)
    tests = list(here.rglob("*.png"))
    assert main(["learn", "models/zoo", "later"]) == 0
    said = capsys.readouterr().out
    assert "learned 13 images of later; new: emu" in said
    assert "new classes" in said
    learned = Model.load("models/zoo-2")
    assert learned.classes == ("cat", "dog", "owl", "emu")
    # Merged with a model of the further images alone, it is the same.
    assert main(["train", str(later), "--name", "later", "--quiet"]) == 0
    assert main(["merge", "models/zoo", "models/later", "--test", "later"]) == 0
    assert "models/merged: recommended, 4 classes, 77 images" in capsys.readouterr().out
    same(Model.load("models/merged"), learned, tests)
    # Without the images and the class it is the first one again.
    assert main(["forget", "models/merged", "later/train/owl", "--in-place"]) == 0
    assert "forgot 4 images; 73 remain" in capsys.readouterr().out
    command = ["forget", "models/merged", "--class", "emu", "--in-place"]
    assert main([*command, "--test", "later"]) == 0
    assert "forgot class emu; 64 remain" in capsys.readouterr().out
    less = Model.load("models/merged")
    same(less, zoo, tests)
    assert [event.images for event in less.card.history] == [64, 77, 73, 64]
    assert main(["predict", "latest", "later/test/cat"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in found] == [*less.predict("later/test/cat").labels]
