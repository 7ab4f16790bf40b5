"""Continual runs: train the model of a finished run on images of known and new classes.

The settings of a continual run name its ``parent``. It resumes the parent's last checkpoint in its
own folder, as if both streams were one. Its data set joins the images of its ancestors and its own,
so the images of the ancestors must stay in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import torch

from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.checks import sha256
from cl_prompts.datasets.combined import JoinedDataSet
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.registry import DATASETS, crop_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import Parent, RunConfig
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.results.comparable import conditions_of, options_of
from cl_prompts.experiments.run_folder import checkpoint, files
from cl_prompts.experiments.run_folder.checkpoint import CHECKPOINT_FILE
from cl_prompts.experiments.run_folder.checksums import READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, settings_identity
from cl_prompts.experiments.run_folder.plans import settings_of
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.experiments.trained.card import of_model
from cl_prompts.strategies.base.online import OnlineStrategy

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.run import Run


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


def differences_of_model(one: RunConfig, other: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings of the model and of the crop of its images in which two runs differ.

    Weights and normalisation are compared by content.
    """
    first, second = _of_model(one), _of_model(other)
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            yield key, first.get(key), second.get(key)


def _of_model(settings: RunConfig) -> dict[str, Any]:
    name, arguments = settings.section("dataset")
    crop = crop_of(name, arguments.get("crop")) if name in DATASETS else name
    found = {"strategy": settings.strategy, "dataset.crop": crop}
    for key, value in settings.backbone.items():
        if key not in ("weights", "normalisation"):
            found[f"backbone.{key}"] = value
    return {**found, **dict(flat(of_model(settings.options)))}


def one_task(n_classes: int, *, multi_label: bool, boundaries: bool) -> dict[str, Any]:
    """Return the scenario of a single task, announced or not."""
    if multi_label and boundaries:
        return {"name": "mlcil", "protocol": f"B{n_classes}-C1"}
    names = {(False, False): "si_blurry", (True, False): "si_blurry_multi_label"}
    return {"name": names.get((multi_label, boundaries), "class_incremental"), "n_tasks": 1}


def parent_entry(run: RunRecord, settings: RunConfig) -> Parent:
    """Return the entry ``parent`` in the settings of a run that continues a finished one.

    Args:
        run: the finished run.
        settings: its settings.
    """
    made = json.dumps([conditions_of(run), options_of(run)], sort_keys=True)
    sizes = [run.summary["n_classes"], run.summary["n_tasks"]]
    return Parent(
        str(run.folder.resolve()),
        sha256(run.folder / SUMS_FILE),
        sizes if settings.parent is None else settings.parent.first,
        settings.user_code(),
        hashlib.sha256(made.encode()).hexdigest(),
    )


def parent_of(parent: Parent) -> RunConfig:
    """Settings of the run that another one continues.

    Raises:
        InputError: it is gone, or was changed.
    """
    folder = Path(parent.run)
    if not (folder / SUMS_FILE).is_file():
        raise InputError(f"the parent of this run is missing from {folder}: restore that folder")
    if sha256(folder / SUMS_FILE) != parent.sha256:
        raise InputError(f"{folder} is not the parent of this run, or was changed")
    check_sums(folder, [*READ, CHECKPOINT_FILE])
    return settings_of(folder, parent.code)


def first_size(settings: RunConfig, n_classes: int, n_tasks: int) -> tuple[int, int]:
    """Return the numbers of classes and tasks of the first ancestor, from which a model grows."""
    if settings.parent is not None:
        n_classes, n_tasks = settings.parent.first
    return n_classes, n_tasks


def grow_to(strategy: OnlineStrategy, settings: RunConfig, n_classes: int, n_tasks: int) -> None:
    """Expand an untrained strategy from :func:`first_size` to these sizes."""
    first_classes, first_tasks = first_size(settings, n_classes, n_tasks)
    strategy.grow(n_classes - first_classes, n_tasks - first_tasks)


def sizes_of_parent(parent: Parent) -> tuple[int, int]:
    """Classes and tasks of the run that another one continues."""
    summary = files.read_json(Path(parent.run) / "summary.json")
    return summary["n_classes"], summary["n_tasks"]


def grow_to_parent(parts: Run, parent: Parent) -> dict[str, Any]:
    """Expand an untrained strategy to the parent's size; return the state of the parent.

    Raises:
        InputError: the parent's images or code changed.
    """
    settings, strategy = parts.settings, parts.strategy
    before = parent_of(parent)
    folder = Path(parent.run)
    grow_to(strategy, settings, *sizes_of_parent(parent))
    made = files.read_json(folder / IDENTITY_FILE)
    now = {key: settings_identity(before)[key] for key in ("files", "code")}
    for change in changes(made, now | {"backbone": weights_hash(strategy.model.backbone)}):
        raise InputError(f"cannot continue the run in {folder}: {change}")
    assert isinstance(parts.data, JoinedDataSet)
    moved = fingerprint_change(made["data"], parts.data.before.fingerprint())
    if moved is not None:
        raise InputError(
            f"the images of the run in {folder}, which a continual run needs, changed: {moved}:"
            " restore them"
        )
    found, _ = checkpoint.load(folder)
    assert found is not None  # its checksum matched
    for name, state in found["strategy"]["plugins"]:
        if name == type(parts.anytime).__name__:
            # The parent's feature cache is for its own test images.
            empty = parts.anytime.evaluator.state_dict(strategy.model)
            work = {key: state["evaluator"][key] for key in ("images", "macs")}
            state["evaluator"] = {**empty, **work}
    return found


def scores_before(parts: Run, parent: Parent) -> dict[str, Any]:
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
        "run": parent.run,
        "n_tasks": sizes_of_parent(parent)[1],
        "samples_seen": strategy.samples_seen,
        "score": found.accuracy,
        "by_class": [value if there else None for there, value in by_class],
        "images": [] if found.images is None else found.images.int().tolist(),
        **({"by_domain": by_domain} if by_domain else {}),
    }
