"""Finished runs that learn on from a folder or table of further images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console

from cl_prompts.datasets.bad_images import Progress
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.findings import Survey
from cl_prompts.experiments.runner.learning_on import (
    finished_run,
    settings_of_child,
    what_grows,
)
from cl_prompts.experiments.runner.own_images import name_of, survey
from cl_prompts.experiments.runner.running import run_all
from cl_prompts.own_code import Trust


class Lesson(NamedTuple):
    """A run that is about to learn on; nothing of it is written yet.

    Attributes:
        settings: of the run.
        found: images that it learns.
        lines: sentences on the images, and on what will grow.
    """

    settings: Settings
    found: Survey
    lines: list[str]


def prepared(
    parent: Path,
    place: Path,
    overrides: Sequence[str] = (),
    *,
    out: Path = Path("runs"),
    test_percent: float = 20,
    seed: int = 0,
    trust_code: Trust = False,
    progress: Progress | None = None,
) -> Lesson:
    """Look at further images, and check that the model of a finished run can learn them.

    Args:
        parent: folder of the finished run.
        place: folder or table of the images, laid out as for ``cl-prompts init``.
        overrides: ``key=value`` texts, as for a recipe.
        out: parent of the run folders.
        test_percent, seed: share and choice of test images, where there is no test part.
        trust_code: dotted names in the parent's settings that may be imported.
        progress: called with the number of files looked at so far, and of all.

    Raises:
        InputError: no finished run, no such images, or settings that do not fit what it learned.
    """
    run = finished_run(parent)
    name = name_of(place)
    found = survey(
        place,
        test_percent=test_percent,
        seed=seed,
        tables=_place_of_tables(out / "split" / name),
        progress=progress,
        least=1,
    )
    # Before anything is written: what the parent has learned has to fit the settings.
    with TemporaryDirectory() as scratch:
        dataset = dict(found.settings)
        if found.tables:
            dataset["root"] = scratch
            found.keep(Path(scratch))
        settings = settings_of_child(
            run.folder, dataset, len(found.classes), name, overrides, trust_code
        )
        for key in ("name", "root"):
            if settings.dataset.get(key) != dataset[key]:
                raise InputError(f"the images to learn are in {place}: leave out dataset.{key}")
        growth = what_grows(Builder(quick=True).build(settings))
    if found.tables:
        settings.dataset["root"] = found.settings["root"]
    return Lesson(settings, found, [*found.lines(), *growth])


def _place_of_tables(wanted: Path) -> Path:
    """A folder that holds no tables yet: those of an earlier run on images of that name stay."""
    place = wanted
    number = 1
    while any(os.path.lexists(place / name) for name in ("train.csv", "test.csv")):
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    return place


def taught(lesson: Lesson, *, out: Path, console: Console, command: str) -> Path:
    """Execute the run; return its folder.

    Raises:
        RunError: a fault during the run, which can then be resumed.
    """
    lesson.found.keep()
    (folder,) = run_all([lesson.settings], out=out, console=console, command=command)
    return folder
