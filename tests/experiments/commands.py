"""Runs through the command line, and what they wrote."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, stack

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder.plans import settings_of
from cl_prompts.experiments.runner.building import Resources
from cl_prompts.experiments.tracking.tracker import Tracker

#: settings of a run on the embedded digits that takes a few seconds, and learns
DIGITS = ["classes=4", "n_tasks=3", "every=50", "online_iter=1", "image_size=16"]
#: of one on 80 images of 16 px that takes a fraction of a second
QUICK = [
    "dataset=tests.experiments.own_parts:same_stripes",
    "dataset.per_class=20",
    "image_size=16",
]
QUICK += ["n_tasks=3", "every=10", "train_mb_size=8", "online_iter=1"]
MVP_R = ["strategy=mvp", "seed=1", "mvp.buffer_size=30", "mvp.buffer_batch_size=16", *DIGITS]
QUICK_MVP_R = [*MVP_R[:4], *QUICK]
NOISE = ["label_noise=symmetric", "label_noise.rate=0.2"]
PROBE = ["strategy=linear_probe", "seed=3", *QUICK]


def run(out: Path, *arguments: str) -> tuple[int, list[Path]]:
    """Exit code of ``cl-prompts run``, and the folders that it made below ``out``."""
    before = set(out.rglob("summary.json"))
    code = main(["run", *arguments, "--out", str(out), "--quiet"])
    return code, sorted(file.parent for file in set(out.rglob("summary.json")) - before)


def signalling(number: int, samples: int) -> Callable[..., None]:
    """In the place of ``Tracker.after_training_iteration``: sends this process a signal, once,
    when a run has seen so many samples."""
    advance = Tracker.after_training_iteration
    left = [samples]

    def after_training_iteration(self: Tracker, strategy: Any, **kwargs: Any) -> None:
        advance(self, strategy, **kwargs)
        if left and strategy.samples_seen >= left[0]:
            left.clear()
            os.kill(os.getpid(), number)

    return after_training_iteration


def rows(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.reader(file))


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def change_summary(folder: Path, **changes: Any) -> None:
    (folder / "summary.json").write_text(json.dumps(summary(folder) | changes))


def unfinished_copy(folder: Path, to: Path) -> Path:
    """A run that was killed between its last checkpoint and its end."""
    shutil.copytree(folder, to)
    change_summary(to, status="running")
    return to


def held_out(folder: Path) -> tuple[Tensor, Any]:
    """Test images of a run, (n, 3, size, size), and their labels."""
    test = Resources(quick=True).data(settings_of(folder, trust_code=True)).test
    return stack([test[row][0] for row in range(len(test))]), test.targets
