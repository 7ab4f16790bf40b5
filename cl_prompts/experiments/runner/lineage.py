"""Continual runs: train the model of a finished run on images of known and new classes.

The settings of a continual run name its ``parent``. It resumes the parent's last checkpoint in its
own folder, as if both streams were one. Its data set joins the images of its ancestors and its own,
so the images of the ancestors must stay in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import torch

from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.checks import sha256, shown
from cl_prompts.datasets.combined import JoinedDataSet, copies_across
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.registry import DATASETS, crop_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, runs_of
from cl_prompts.experiments.recipes.values import GROUPS, flat
from cl_prompts.experiments.results.comparable import conditions_of, options_of
from cl_prompts.experiments.run_folder.checkpoint import CHECKPOINT_FILE, Checkpoint, Checkpoints
from cl_prompts.experiments.run_folder.checksums import READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.files import FolderFiles
from cl_prompts.experiments.run_folder.folder import settings_of
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, settings_identity
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.user_code import Trust

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.run import Run

#: settings of the parent's data set that also apply to further images
_ALIKE = ("augment", "cache", "cache_gb", "crop")
#: options that may differ from the parent's: they change the training, not the model
_TRAINING = {
    *("lr", "schedule", "new_optimizer", "clip_norm", "class_mask", "loss_norm"),
    *("train_mb_size", "eval_mb_size", "buffer_batch_size", "train_epochs", "online_iter", "views"),
    "compile",
}
#: length of a run's name; longer ones lose their beginning
_NAME = 60


def finished_run(folder: Path) -> RunRecord:
    """Return the finished run of a folder.

    Raises:
        InputError: no finished run, or several runs.
    """
    runs = collect([folder])
    if len(runs) > 1:
        raise InputError(f"{folder} holds {len(runs)} runs: name the folder of one")
    (run,) = runs
    if not run.finished:
        raise InputError(
            f"the run in {run.folder} is {run.summary['status']}: finish it with cl-prompts run"
            f" --resume {quote(str(run.folder))}"
        )
    return run


def settings_of_child(
    folder: Path,
    dataset: Mapping[str, Any],
    n_classes: int,
    name: str,
    overrides: Sequence[str] = (),
    trust_code: Trust = False,
) -> RunConfig:
    """Return the settings of a continual run: those of its parent, on further images.

    The new images form one task unless ``overrides`` change ``scenario``.

    Args:
        folder: run folder of the parent.
        dataset: section ``dataset`` of the new images.
        n_classes: number of their classes.
        name: name of the images, for the new run's folder.
        overrides: ``key=value`` texts, as for a recipe.
        trust_code: dotted names in the parent's settings that may be imported.

    Raises:
        InputError: no finished run, or a setting that does not exist or cannot change.
    """
    run = finished_run(folder)
    settings = settings_of(run.folder, trust_code)
    if run.whole_stream:
        raise InputError(
            f"{settings.strategy} trains on the whole stream at once and cannot continue: run it on"
            " all images"
        )
    if settings.dataset["name"] == "features":
        raise InputError("a run on stored features cannot learn from images: store theirs too")
    recipe = _recipe(run, settings, dataset, n_classes, name)
    (child, *more) = runs_of(recipe, name, overrides)
    same = (child.strategy, child.seed, child.order) == (settings.strategy, settings.seed, "")
    if more or not same:
        raise InputError(
            f"a continual run has the strategy and seed of its parent, {settings.strategy} and"
            f" {settings.seed}: leave out strategy=, seed= and orders="
        )
    _check_unchanged(child, settings, recipe)
    child.recipe = f"{settings.recipe}+{name}"[-_NAME:]
    first = settings.parent.get("first", [run.summary["n_classes"], run.summary["n_tasks"]])
    child.parent = parent_entry(run, settings, first=first)
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
    backbone = settings.backbone
    if backbone["normalisation"] == "dataset":
        # "dataset" means the statistics of the parent's data set.
        backbone = {**backbone, "normalisation": _statistics(settings)}
    return {
        "dataset": {**alike, **dataset},
        "scenario": scenario,
        "backbone": backbone,
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


def one_task(n_classes: int, *, multi_label: bool, boundaries: bool) -> dict[str, Any]:
    """Return the scenario of a single task, announced or not."""
    if multi_label and boundaries:
        return {"name": "mlcil", "protocol": f"B{n_classes}-C1"}
    names = {(False, False): "si_blurry", (True, False): "si_blurry_multi_label"}
    return {"name": names.get((multi_label, boundaries), "class_incremental"), "n_tasks": 1}


def _statistics(settings: RunConfig) -> list[list[float]]:
    known = DATASETS.get(settings.dataset["name"])
    if known is None:
        raise InputError(
            "the run normalises images by the statistics of a data set of your own, which further"
            " images do not have: train it with normalisation=[[MEANS],[DEVIATIONS]]"
        )
    return [list(known.mean), list(known.std)]


def _check_unchanged(child: RunConfig, parent: RunConfig, recipe: Mapping[str, Any]) -> None:
    """Refuse settings that change the model or the crop of its images."""
    pairs: dict[str, list[Any]] = {
        f"backbone.{key}": [value, recipe["backbone"][key]]
        for key, value in child.backbone.items()
        if key != "weights"  # they may have moved, and are compared by content
    }
    if parent.dataset["name"] in DATASETS:
        crops = [crop_of(s.dataset["name"], s.dataset["crop"]) for s in (child, parent)]
        pairs["dataset.crop"] = crops
    now, before = (dict(flat(run.options, GROUPS["options"])) for run in (child, parent))
    for key in {**now, **before}:
        if key not in _TRAINING and not key.endswith(("_lr", "weight_decay")):
            pairs[key] = [now.get(key), before.get(key)]
    for key, (value, known) in pairs.items():
        if value != known:
            raise InputError(
                f"{key} is {shown(value)}, and the model was made with {shown(known)}: leave it out"
            )


def parent_entry(run: RunRecord, settings: RunConfig, **own: Any) -> dict[str, Any]:
    """Return the entry ``parent`` in the settings of a run that is made of a finished one.

    Args:
        run: the finished run.
        settings: its settings.
        own: further parts of the entry.
    """
    made = json.dumps([conditions_of(run), options_of(run)], sort_keys=True)
    return {
        "run": str(run.folder.resolve()),
        "sha256": sha256(run.folder / SUMS_FILE),
        **own,
        "code": settings.user_code(),
        # Hash of its training settings and those of its ancestors, without seeds and paths.
        "settings": hashlib.sha256(made.encode()).hexdigest(),
    }


def parents_of(settings: RunConfig) -> list[RunConfig]:
    """Settings of the runs that were merged into one; see :func:`parent_of`."""
    pairs = zip(settings.parent["run"], settings.parent["sha256"], strict=True)
    return [parent_of(_with_parent(settings, run, digest)) for run, digest in pairs]


def _with_parent(settings: RunConfig, run: str, digest: str) -> RunConfig:
    return replace(settings, parent={**settings.parent, "run": run, "sha256": digest})


def parent_of(settings: RunConfig) -> RunConfig:
    """Settings of the run that another one continues.

    Raises:
        InputError: it is gone, or was changed.
    """
    folder = Path(settings.parent["run"])
    if not (folder / SUMS_FILE).is_file():
        raise InputError(f"the parent of this run is missing from {folder}: restore that folder")
    if sha256(folder / SUMS_FILE) != settings.parent["sha256"]:
        raise InputError(f"{folder} is not the parent of this run, or was changed")
    check_sums(folder, [*READ, CHECKPOINT_FILE])
    return settings_of(folder, settings.parent["code"])


def first_size(settings: RunConfig, n_classes: int, n_tasks: int) -> tuple[int, int]:
    """Return the numbers of classes and tasks of the first ancestor, from which a model grows."""
    n_classes, n_tasks = settings.parent.get("first", (n_classes, n_tasks))
    return n_classes, n_tasks


def grow_to(strategy: OnlineStrategy, settings: RunConfig, n_classes: int, n_tasks: int) -> None:
    """Expand an untrained strategy from :func:`first_size` to these sizes."""
    first_classes, first_tasks = first_size(settings, n_classes, n_tasks)
    strategy.grow(n_classes - first_classes, n_tasks - first_tasks)


def sizes_of_parent(settings: RunConfig) -> tuple[int, int]:
    """Classes and tasks of the run that another one continues."""
    summary = FolderFiles(Path(settings.parent["run"])).read_json("summary.json")
    return summary["n_classes"], summary["n_tasks"]


def grow_to_parent(parts: Run) -> Checkpoint:
    """Expand an untrained strategy to the parent's size; return the parent's last checkpoint.

    Raises:
        InputError: the parent's images or code changed.
    """
    settings, strategy = parts.settings, parts.strategy
    parent = parent_of(settings)
    folder = Path(settings.parent["run"])
    grow_to(strategy, settings, *sizes_of_parent(settings))
    made = FolderFiles(folder).read_json(IDENTITY_FILE)
    now = {key: settings_identity(parent)[key] for key in ("files", "code")}
    for change in changes(made, now | {"backbone": weights_hash(strategy.model.backbone)}):
        raise InputError(f"cannot continue the run in {folder}: {change}")
    assert isinstance(parts.data, JoinedDataSet)
    moved = fingerprint_change(made["data"], parts.data.before.fingerprint())
    if moved is not None:
        raise InputError(
            f"the images of the run in {folder}, which a continual run needs, changed: {moved}:"
            " restore them"
        )
    found, _ = Checkpoints(folder).load()
    assert found is not None  # its checksum matched
    for name, state in found.state["strategy"]["plugins"]:
        if name == type(parts.anytime).__name__:
            # The parent's feature cache is for its own test images.
            empty = parts.anytime.evaluator.state_dict(strategy.model)
            work = {key: state["evaluator"][key] for key in ("images", "macs")}
            state["evaluator"] = {**empty, **work}
    return found


def grow_beyond_parent(parts: Run) -> None:
    """Expand a strategy from the parent's size to that of the run."""
    classes, tasks = sizes_of_parent(parts.settings)
    parts.strategy.grow(len(parts.data.classes) - classes, parts.split.n_tasks - tasks)


def scores_before(parts: Run) -> dict[str, Any]:
    """Return the content of ``before.json``: scores of the parent's model on the final test images.

    Overall, by known class and by domain. Images of new classes count as wrong, or in multi-label
    data as images without a known class.
    """
    strategy, anytime = parts.strategy, parts.anytime
    evaluator = anytime.evaluator
    evaluator.device = strategy.device
    # Also count test images of later domains.
    begun = evaluator.shown
    if begun is not None:
        evaluator.shown = torch.ones(len(begun), dtype=torch.bool)
    # Also count later classes, so that before and after use the same images.
    seen = strategy.model.seen.cpu()
    coming = parts.split.visible[strategy.clock.train_exp_counter :].any(axis=0)
    found = evaluator.evaluate(strategy.model, seen, counting=seen | torch.from_numpy(coming))
    by_domain = {name: v for name, v in anytime.by_domain(found).items() if v == v}
    evaluator.shown = begun
    known = (found.by_class.isnan().logical_not() & seen).tolist()
    by_class = zip(known, found.by_class.tolist(), strict=True)
    return {
        "run": parts.settings.parent["run"],
        "n_tasks": sizes_of_parent(parts.settings)[1],
        "samples_seen": strategy.samples_seen,
        "score": found.accuracy,
        "by_class": [value if there else None for there, value in by_class],
        "images": [] if found.images is None else found.images.int().tolist(),
        **({"by_domain": by_domain} if by_domain else {}),
    }


def growth(parts: Run, *, verbose: bool = False) -> list[str]:
    """Describe the classes and images that a continual run adds.

    Args:
        parts: of the run; its strategy gets the parent's state.
        verbose: list the tensors that grow, with their shapes.

    Raises:
        InputError: see :func:`grow_to_parent`, or the state does not fit the run's settings.
    """
    data, strategy = parts.data, parts.strategy
    assert isinstance(data, JoinedDataSet)
    state = grow_to_parent(parts).state
    strategy.load_state_dict(state["strategy"], parts.benchmark.train_stream[: state["tasks_done"]])
    before = {name: list(value.shape) for name, value in strategy.model.learned_state().items()}
    grow_beyond_parent(parts)
    after = {name: list(value.shape) for name, value in strategy.model.learned_state().items()}
    new = f", new: {', '.join(data.new_classes)}" if data.new_classes else ""
    images = f"{len(data.later.train)} training and {len(data.later.test)} test images"
    tensors = [
        f"{name}: {before.get(name, [])} -> {shape}"
        for name, shape in after.items()
        if shape != before.get(name)
    ]
    return [
        f"{len(data.before.classes)} classes -> {len(data.classes)}{new}; {images}",
        *copies_across(data),
        *(tensors if verbose else ()),
    ]
