"""Continual runs: train the model of a finished run on images of known and new classes.

The settings of a continual run name its ``parent``. It resumes the parent's last checkpoint in its
own folder, as if both streams were one. Its data set joins the images of its ancestors and its own,
so the images of the ancestors must stay in place.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.checks import sha256, shown
from cl_prompts.datasets.bad_images import Progress
from cl_prompts.datasets.classes import labels_in
from cl_prompts.datasets.combined import JoinedDataSet
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.registry import augmentation_of
from cl_prompts.datasets.survey import name_of, survey
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import Parent, RunConfig, runs_of
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.results.comparable import conditions_of, options_of
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.files import SUMS_FILE
from cl_prompts.experiments.run_folder.folder import load_state
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, settings_identity
from cl_prompts.experiments.run_folder.plans import settings_of
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.experiments.runner.building import Resources, build_run, parent_of
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.trained.card import of_model
from cl_prompts.user_code import Trust, is_dotted

#: settings of a parent's run that its child has, too
_OF_RUN = ("stream_seed", "device", "num_workers", "checkpoint_every", "tracker", "memory")
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
    (parent, *more) = collect([folder])
    if more or not parent.finished:
        raise InputError(
            f"{folder} is not one finished run: name the folder of one, or finish it with"
            f" cl-prompts run --resume {quote(str(folder))}"
        )
    found = survey(place, test_percent=test_percent, seed=seed, progress=progress, least=1)
    trained = len(labels_in(found.train_targets))
    settings = settings_of_child(
        parent, found.settings, trained, name_of(place), overrides, trust_code
    )
    run = build_run(settings, Resources(quick=True))
    state_of_parent(run)
    data = run.data
    assert isinstance(data, JoinedDataSet)
    new = f", new: {', '.join(data.new_classes)}" if data.new_classes else ""
    images = f"{len(data.later.train)} training and {len(data.later.test)} test images"
    return settings, [
        f"{len(data.before.classes)} classes -> {len(data.classes)}{new}; {images}",
        *found.lines()[1:],
    ]


def settings_of_child(
    parent: RunRecord,
    dataset: Mapping[str, object],
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
        n_classes: number of their classes with training images.
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
    if settings.backbone["normalisation"] == "dataset":
        # "dataset" means the statistics of the parent's data set.
        data = Resources(quick=True).data(settings)
        settings.backbone["normalisation"] = [list(data.mean), list(data.std)]
    recipe: dict[str, Any] = {
        "dataset": _images_like(settings, dataset),
        "scenario": _one_task(parent, n_classes),
        "backbone": settings.backbone,
        "evaluation": settings.evaluation,
        "strategies": {settings.strategy: settings.options},
        "run": [settings.strategy],
        "seeds": [settings.seed],
        **{key: getattr(settings, key) for key in _OF_RUN},
    }
    if recipe["scenario"]["name"] == "domain_incremental" and dataset["name"] == "folder":
        recipe["dataset"].setdefault("domains", name)  # a folder of class folders is one domain
    (child, *more) = runs_of(recipe, name, overrides)
    if more or (child.strategy, child.seed) != (settings.strategy, settings.seed):
        raise InputError(
            f"a continual run has the strategy and seed of its parent, {settings.strategy} and"
            f" {settings.seed}: leave out strategy= and seed="
        )
    _refuse_another_model(child, settings)
    child.recipe = f"{settings.recipe}+{name}"[-_NAME:]
    child.parent = _entry(parent, settings)
    return child


def _refuse_another_model(child: RunConfig, parent: RunConfig) -> None:
    """Refuse other settings of the model; weights and normalisation are compared by content."""
    own, known = _of_model(child), _of_model(parent)
    if not is_dotted(parent.dataset["name"]):  # its transform is not known
        for found, run in ((own, child), (known, parent)):
            images = run.dataset
            found["dataset.crop"] = augmentation_of(images["name"], images["crop"]).crop
    for key in {**own, **known}:
        if own.get(key) != known.get(key):
            raise InputError(
                f"{key} is {shown(own.get(key))}, and the model was made with"
                f" {shown(known.get(key))}: leave it out"
            )


def _of_model(settings: RunConfig) -> dict[str, object]:
    backbone = {f"backbone.{key}": value for key, value in settings.backbone.items()}
    for key in ("weights", "normalisation"):
        del backbone[f"backbone.{key}"]
    return {**backbone, **dict(flat(of_model(settings.options)))}


def _images_like(settings: RunConfig, dataset: Mapping[str, Any]) -> dict[str, object]:
    """Return the section of further images, with the transform of the parent's."""
    known = settings.dataset
    if is_dotted(known["name"]):  # its arguments may have other meanings
        return dict(dataset)
    wanted = augmentation_of(known["name"], known["crop"]).crop
    crop = None if augmentation_of(dataset["name"]).crop == wanted else wanted
    return {"augment": known["augment"], "crop": crop, **dataset}


def _one_task(parent: RunRecord, n_classes: int) -> dict[str, object]:
    """Return the scenario of a single task, announced as those of the parent are."""
    announced = bool(parent.stream.get("boundaries"))
    if parent.summary.get("domain_names"):  # the new images are one more domain
        return {"name": "domain_incremental", "announced": announced}
    if parent.multi_label and announced:
        return {"name": "mlcil", "protocol": f"B{n_classes}-C1"}
    several = "_multi_label" if parent.multi_label else ""
    return {"name": "class_incremental" if announced else f"si_blurry{several}", "n_tasks": 1}


def _entry(run: RunRecord, settings: RunConfig) -> Parent:
    """Return the entry ``parent`` in the settings of a run that continues a finished one."""
    made = json.dumps([conditions_of(run), options_of(run)], sort_keys=True)
    sizes = [run.summary["n_classes"], run.summary["n_tasks"]]
    return Parent(
        str(run.folder.resolve()),
        sha256(run.folder / SUMS_FILE),
        sizes if settings.parent is None else settings.parent.first,
        settings.user_code(),
        hashlib.sha256(made.encode()).hexdigest(),
    )


def state_of_parent(run: Run) -> tuple[int, dict[str, Any]]:
    """Return the parent's number of classes, and its last checkpoint.

    Raises:
        InputError: the parent's images or code changed.
    """
    parent, data = run.settings.parent, run.data
    assert parent is not None
    assert isinstance(data, JoinedDataSet)
    folder = Path(parent.run)
    now = settings_identity(parent_of(parent))
    now = {"files": now["files"], "code": now["code"]}
    now["backbone"] = weights_hash(run.strategy.model.backbone)
    made = files.read_json(folder / IDENTITY_FILE)
    for change in changes(made, now):
        raise InputError(f"cannot continue the run in {folder}: {change}")
    moved = fingerprint_change(made["data"], data.before.fingerprint())
    if moved is not None:
        raise InputError(
            f"the images of the run in {folder}, which a continual run needs, changed: {moved}:"
            " restore them"
        )
    found = load_state(folder)
    assert found is not None  # its checksum matched
    for name, state in found["strategy"]["plugins"]:
        if name == type(run.anytime).__name__:
            # The parent's feature cache is for its own test images.
            empty = run.anytime.evaluator.state_dict(run.strategy.model)
            work = {key: state["evaluator"][key] for key in ("images", "macs")}
            state["evaluator"] = {**empty, **work}
    return len(data.before.classes), found


def scores_before(run: Run, n_tasks: int) -> dict[str, object]:
    """Return the content of ``before.json``: scores of the parent's model on the final test images.

    Overall, by known class and by domain. Images of new classes count as wrong, or in multi-label
    data as images without a known class.

    Args:
        run: with the strategy of the parent, expanded to the new classes.
        n_tasks: tasks of the parent.
    """
    assert run.settings.parent is not None
    strategy, evaluator = run.strategy, run.anytime.evaluator
    evaluator.device = strategy.device
    # Also count test images of later domains.
    begun = evaluator.shown
    if begun is not None:
        evaluator.shown = torch.ones(len(begun), dtype=torch.bool)
    # Also count later classes, so that before and after use the same images.
    seen = strategy.model.seen.cpu()
    coming = torch.from_numpy(run.split.visible[n_tasks:].any(axis=0))
    found = evaluator.evaluate(strategy.model, seen, counting=seen | coming)
    by_domain = {name: v for name, v in run.anytime.by_domain(found).items() if v == v}
    evaluator.shown = begun
    scores = zip(found.by_class.tolist(), seen.tolist(), strict=True)
    return {
        "run": run.settings.parent.run,
        "n_tasks": n_tasks,
        "samples_seen": strategy.samples_seen,
        "score": found.accuracy,
        "by_class": [value if known and value == value else None for value, known in scores],
        "images": [] if found.images is None else found.images.int().tolist(),
        **({"by_domain": by_domain} if by_domain else {}),
    }
