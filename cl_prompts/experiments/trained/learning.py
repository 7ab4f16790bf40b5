"""Prepare the training of a finished run on a folder or table of further images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cl_prompts.checks import sha256
from cl_prompts.datasets.bad_images import Progress
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.lineage import finished_run, growth, settings_of_child
from cl_prompts.experiments.runner.own_images import name_of, survey
from cl_prompts.user_code import Trust


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
    verbose: bool = False,
) -> tuple[RunConfig, list[str]]:
    """Survey further images and check that the model of a finished run can learn them.

    Args:
        parent: folder of the finished run.
        place: folder or table of the images, laid out as for ``cl-prompts init``.
        overrides: ``key=value`` texts, as for a recipe.
        out: parent of the run folders.
        test_percent, seed: share and choice of test images, if there is no test part.
        trust_code: dotted names in the parent's settings that may be imported.
        progress: called with the number of files opened so far, and of all.
        verbose: list the tensors that grow.

    Returns:
        Settings of the new run, and sentences on the images and the new classes.

    Raises:
        InputError: no finished run, no images, or settings that do not fit the trained model.
    """
    run = finished_run(parent)
    name = name_of(place)
    # Another table may have the same name.
    version = f"-{sha256(place)[:8]}" if place.is_file() else ""
    tables = out / "split" / f"{name}{version}"
    found = survey(place, tables, test_percent=test_percent, seed=seed, progress=progress, least=1)
    settings = settings_of_child(
        run.folder, found.settings, len(found.classes), name, overrides, trust_code
    )
    added = growth(build_run(settings, Resources(quick=True)), verbose=verbose)
    return settings, [*added, *found.lines()[1:]]
