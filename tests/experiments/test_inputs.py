"""Whatever enters the numbers of a run is known by its content: files, code, images, weights."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main
from tests.experiments.commands import unfinished_copy

pytestmark = pytest.mark.slow

#: a strategy, a data set and a scenario of one's own, and what they import
OWN = {
    "mine.py": """
import numpy as np
import torch
import cl_prompts
from cl_prompts.scenarios import Split
from cl_prompts.strategies.linear_probe import LinearProbe
from tests.experiments.own_parts import Stripes, as_dataset

class Mine(LinearProbe):
    table: str = "table.txt"
    def check_settings(self):
        super().check_settings()
        self.lr = 1.0 * float(open(self.table).read())

@cl_prompts.dataset
def images(image_size: int, labels: str = "labels.txt"):
    y = np.fromstring(open(labels).read(), sep=" ", dtype=int).repeat(10)
    parts = [Stripes(image_size, torch.tensor(y), 1 + part) for part in (0, 1)]
    for part in parts:
        part.tensors[0].mul_(float(open("scale.txt").read()))  # which no setting names
    return as_dataset(*parts)

@cl_prompts.scenario
def halves(y, seed: int = 0):
    y = np.asarray(y)
    return Split.of("halves", y, [np.flatnonzero(y < 2), np.flatnonzero(y >= 2)])
""",
    "table.txt": "0.005",
    "scale.txt": "1.0",
    "labels.txt": "0 1 2 3",
}
OWN_RUN = ["strategy=mine:Mine", "dataset=mine:images", "scenario=mine:halves", "image_size=16"]
OWN_RUN += ["every=10", "train_mb_size=8", "checkpoint_every=16"]


def write_inputs() -> None:
    """Write all of it into the current folder, as it was before any change."""
    for name, text in OWN.items():
        Path(name).write_text(text)


def replace(name: str, old: str, new: str) -> None:
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))


#: changes of what a run is made of, each with words of its refusal
EDITS: dict[str, Callable[[], None]] = {
    "the code of mine:Mine changed": partial(replace, "mine.py", "1.0 * float", "float"),
    "file of its setting options.table changed": partial(replace, "table.txt", "0.005", "0.006"),
    "file of its setting dataset.labels changed": partial(replace, "labels.txt", "2 3", "3 2"),
    "contents of training images changed": partial(replace, "scale.txt", "1.0", "0.9"),
}


def forget() -> None:
    sys.modules.pop("mine", None)


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_inputs()
    yield here
    forget()


def made(seed: str) -> Path:
    before = set(Path("runs").rglob("summary.json"))
    forget()
    assert main(["run", "digits", *OWN_RUN, seed, "--quiet"]) == 0
    (new,) = set(Path("runs").rglob("summary.json")) - before
    return new.parent


def rows_of_comparison(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The seeds of each row in which the runs so far are compared."""
    capsys.readouterr()
    assert main(["compare", "runs", "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    return sorted(row["seeds"] for row in records if row["metric"] == "a_last")


def test_a_change_between_seeds_divides_rows_and_one_before_a_resume_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., None]
) -> None:
    first = made("seed=1")
    unfinished_copy(first, Path("unfinished"))
    made("seed=2")
    assert rows_of_comparison(capsys) == [2]
    for seed, (says, edit) in enumerate(EDITS.items(), 3):
        write_inputs()
        edit()
        forget()
        refused(says, "run", "--resume", "unfinished", "--trust-code", "--quiet")
        made(f"seed={seed}")
    assert rows_of_comparison(capsys) == [*[1] * len(EDITS), 2]
