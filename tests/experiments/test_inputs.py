"""Whatever enters the numbers of a run is known by its content: files, code, images, weights."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from cl_prompts.experiments.cli import main
from tests.experiments.commands import QUICK, unfinished_copy

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
MISA_RUN = ["strategy=misa", *QUICK, "misa.initial_prompts=warm", "checkpoint_every=16"]
MISA_RUN += ["dataset.per_class=8", "n_tasks=2"]


def write_prompts(seed: int) -> None:
    """Warmed-up prompts for the embedded backbone, as released: a folder of two files."""
    generator = torch.Generator().manual_seed(seed)
    Path("warm").mkdir(exist_ok=True)
    for name, shape in (("g_prompt", (1, 20, 128)), ("e_prompt", (4, 60, 128))):
        torch.save(torch.rand(shape, generator=generator), Path("warm") / f"{name}.pt")


def write_inputs() -> None:
    """Write all of it into the current folder, as it was before any change."""
    for name, text in OWN.items():
        Path(name).write_text(text)
    write_prompts(1)


def replace(name: str, old: str, new: str) -> None:
    """Edit a text file."""
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))


#: settings of a run, and changes of what it is made of, each with words of its refusal
EDITS: dict[str, tuple[list[str], dict[str, Callable[[], None]]]] = {
    "prompts": (
        MISA_RUN,
        {"file of its setting options.initial_prompts changed": partial(write_prompts, 2)},
    ),
    "own code": (
        OWN_RUN,
        {
            "the code of mine:Mine changed": partial(replace, "mine.py", "1.0 * float", "float"),
            "file of its setting options.table changed": partial(
                replace, "table.txt", "0.005", "0.006"
            ),
            "file of its setting dataset.labels changed": partial(
                replace, "labels.txt", "2 3", "3 2"
            ),
            "contents of training images changed": partial(replace, "scale.txt", "1.0", "0.9"),
        },
    ),
}


def forget() -> None:
    """Be a new process, for modules of one's own."""
    sys.modules.pop("mine", None)


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with code of one's own and warmed-up prompts."""
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_inputs()
    yield here
    forget()


def made(*settings: str) -> Path:
    """Folder of a finished run."""
    before = set(Path("runs").rglob("summary.json"))
    forget()
    assert main(["run", "digits", *settings, "--quiet"]) == 0
    (new,) = set(Path("runs").rglob("summary.json")) - before
    return new.parent


def rows_of_comparison(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The seeds of each row in which the runs so far are compared."""
    capsys.readouterr()
    assert main(["compare", "runs", "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    return sorted(row["seeds"] for row in records if row["metric"] == "a_last")


@pytest.mark.parametrize(("settings", "edits"), EDITS.values(), ids=EDITS)
def test_a_change_between_seeds_divides_rows_and_one_before_a_resume_is_refused(
    settings: list[str],
    edits: dict[str, Callable[[], None]],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., None],
) -> None:
    first = made(*settings, "seed=1")
    unfinished_copy(first, Path("unfinished"))
    made(*settings, "seed=2")
    assert rows_of_comparison(capsys) == [2]
    for seed, (says, edit) in enumerate(edits.items(), 3):
        write_inputs()
        edit()
        forget()
        refused(says, "run", "--resume", "unfinished", "--trust-code", "--quiet")
        made(*settings, f"seed={seed}")
    assert rows_of_comparison(capsys) == [*[1] * len(edits), 2]
