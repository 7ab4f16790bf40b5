"""Prepare the training of a finished run on a folder or table of further images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_prompts.checks import shown
from cl_prompts.datasets.bad_images import Progress
from cl_prompts.datasets.combined import JoinedDataSet
from cl_prompts.datasets.registry import DATASETS, crop_of
from cl_prompts.datasets.survey import name_of, survey
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, runs_of
from cl_prompts.experiments.run_folder.plans import settings_of
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.lineage import (
    differences_of_model,
    finished_run,
    grow_to_parent,
    one_task,
    parent_entry,
)
from cl_prompts.user_code import Trust, is_dotted

#: settings of the parent's data set that also apply to further images
_ALIKE = ("augment", "crop")
#: length of a run's name; longer ones lose their beginning
_NAME = 60


def prepared(
    folder: Path,
    place: Path,
    overrides: Sequence[str] = (),
    *,
    test_percent: float = 20,
    seed: int = 0,
    trust_code: Trust = False,
    progress: Progress | None = None,
) -> tuple[RunConfig, list[str]]:
    """Survey further images and check that the model of a finished run can learn them.

    Args:
        folder: run folder of the parent.
        place: folder or table of the images, laid out as for ``cl-prompts init``.
        overrides: ``key=value`` texts, as for a recipe.
        test_percent, seed: share and choice of test images, if there is no test part.
        trust_code: dotted names in the parent's settings that may be imported.
        progress: called with the number of files opened so far, and of all.

    Returns:
        Settings of the new run, and sentences on the images and the new classes.

    Raises:
        InputError: no finished run, no images, or settings that do not fit the trained model.
    """
    parent = finished_run(folder)
    found = survey(place, test_percent=test_percent, seed=seed, progress=progress, least=1)
    settings = settings_of_child(
        parent, found.settings, len(found.classes), name_of(place), overrides, trust_code
    )
    run = build_run(settings, Resources(quick=True))
    data = run.data
    assert isinstance(data, JoinedDataSet)
    # The state has to fit the settings.
    assert settings.parent is not None
    state = grow_to_parent(run, settings.parent)
    learned = run.benchmark.train_stream[: state["tasks_done"]]
    run.strategy.load_state_dict(state["strategy"], learned)
    new = f", new: {', '.join(data.new_classes)}" if data.new_classes else ""
    images = f"{len(data.later.train)} training and {len(data.later.test)} test images"
    return settings, [
        f"{len(data.before.classes)} classes -> {len(data.classes)}{new}; {images}",
        *found.lines()[1:],
    ]


def settings_of_child(
    parent: RunRecord,
    dataset: Mapping[str, Any],
    n_classes: int,
    name: str,
    overrides: Sequence[str] = (),
    trust_code: Trust = False,
) -> RunConfig:
    """Return the settings of a continual run: those of its parent, on further images.

    The new images form one task unless ``overrides`` change ``scenario``.

    Args:
        parent: the finished run.
        dataset: section ``dataset`` of the new images.
        n_classes: number of their classes.
        name: name of the images, for the new run's folder.
        overrides: ``key=value`` texts, as for a recipe.
        trust_code: dotted names in the parent's settings that may be imported.

    Raises:
        InputError: a setting that does not exist or cannot change.
    """
    settings = settings_of(parent.folder, trust_code)
    if parent.whole_stream:
        raise InputError(
            f"{settings.strategy} trains on the whole stream at once and cannot continue: run it on"
            " all images"
        )
    if settings.dataset["name"] == "features":
        raise InputError("a run on stored features cannot learn from images: store theirs too")
    if settings.backbone["normalisation"] == "dataset":
        # "dataset" means the statistics of the parent's data set.
        data = Resources(quick=True).data(settings)
        settings.backbone["normalisation"] = [list(data.mean), list(data.std)]
    recipe = _recipe(parent, settings, dataset, n_classes, name)
    (child, *more) = runs_of(recipe, name, overrides)
    same = (child.strategy, child.seed, child.order) == (settings.strategy, settings.seed, "")
    if more or not same:
        raise InputError(
            f"a continual run has the strategy and seed of its parent, {settings.strategy} and"
            f" {settings.seed}: leave out strategy=, seed= and orders="
        )
    own = is_dotted(settings.dataset["name"])  # its transform is not known
    for key, value, known in differences_of_model(child, settings):
        if not (own and key == "dataset.crop"):
            raise InputError(
                f"{key} is {shown(value)}, and the model was made with {shown(known)}: leave it out"
            )
    child.recipe = f"{settings.recipe}+{name}"[-_NAME:]
    child.parent = parent_entry(parent, settings)
    return child


def _recipe(
    run: RunRecord, settings: RunConfig, dataset: Mapping[str, Any], n_classes: int, name: str
) -> dict[str, Any]:
    boundaries = bool(run.stream.get("boundaries"))
    scenario = one_task(n_classes, multi_label=run.multi_label, boundaries=boundaries)
    # In a domain-incremental run the new images are one more domain.
    if run.summary.get("domain_names"):
        scenario = {"name": "domain_incremental", "announced": boundaries}
        if dataset["name"] == "folder":  # a folder of class folders is one domain
            dataset = {"domains": name, **dataset}
    alike = {}
    # Arguments of a user's function may have other meanings.
    if settings.dataset["name"] in DATASETS:
        alike = {key: settings.dataset[key] for key in _ALIKE if key in settings.dataset}
        # The model needs one crop for all its images.
        wanted = crop_of(settings.dataset["name"], settings.dataset["crop"])
        alike["crop"] = None if crop_of(dataset["name"]) == wanted else wanted
    return {
        "dataset": {**alike, **dataset},
        "scenario": scenario,
        "backbone": settings.backbone,
        "evaluation": settings.evaluation,
        "strategies": {settings.strategy: settings.options},
        "run": [settings.strategy],
        "seeds": [settings.seed],
        "stream_seed": settings.stream_seed,
        "device": settings.device,
        "num_workers": settings.num_workers,
        "checkpoint_every": settings.checkpoint_every,
        "tracker": settings.tracker,
    }
