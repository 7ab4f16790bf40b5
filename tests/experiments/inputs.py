"""What runs are made of beside their settings: files that these name, and code of one's own, in the
current folder; and changes of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tests.experiments.commands import QUICK

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


def replaced(name: str, old: str, new: str) -> Callable[[], None]:
    """An edit of a text file."""

    def edit() -> None:
        text = Path(name).read_text()
        assert old in text
        Path(name).write_text(text.replace(old, new))

    return edit


Edit = tuple[list[str], Callable[[], None], str]
#: settings of a run, a change of what it is made of, and words of its refusal
EDITS: dict[str, Edit] = {
    "warmed-up prompts": (
        MISA_RUN,
        partial(write_prompts, 2),
        "file of its setting options.initial_prompts changed",
    ),
    "own strategy": (
        OWN_RUN,
        replaced("mine.py", "1.0 * float", "float"),
        "the code of mine:Mine changed",
    ),
    "file of an own strategy": (
        OWN_RUN,
        replaced("table.txt", "0.005", "0.006"),
        "file of its setting options.table changed",
    ),
    "file of own data": (
        OWN_RUN,
        replaced("labels.txt", "2 3", "3 2"),
        "file of its setting dataset.labels changed",
    ),
    "images of own data": (
        OWN_RUN,
        replaced("scale.txt", "1.0", "0.9"),
        "contents of training images changed",
    ),
}
