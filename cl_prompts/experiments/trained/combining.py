"""Runs whose models are sums: several merged into one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from cl_prompts.checks import is_one_name, shown
from cl_prompts.datasets.combined import contents
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder.checksums import (
    LEARNED_IMAGES,
    learned_images,
)
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.experiments.runner.building import build_run
from cl_prompts.experiments.runner.execution import written
from cl_prompts.experiments.runner.lineage import (
    differences_of_model,
    finished_run,
    parent_entry,
)
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.trained.loading import TrainedRun, load_run
from cl_prompts.models.prototype_classifiers import PrototypeClassifier
from cl_prompts.models.sums import not_sums, order_matters, rearranged
from cl_prompts.strategies.base.prototype import PrototypeStrategy


def merge(
    runs: Sequence[TrainedRun | str | Path],
    *,
    name: str = "merged",
    test: str | Path | None = None,
    allow_duplicates: bool = False,
    out: str | Path = "runs",
    trust_code: bool = False,
    command: str | None = None,
) -> TrainedRun:
    """Add the sums of finished runs on different images: one run as if it had learned them all.

    Args:
        runs: finished runs of one method, backbone, read-out and transform, or their folders.
        name: of the new run.
        test: folder of test images, ``<class>/*``; None: those of all runs.
        allow_duplicates: count images that several runs have learned several times.
        out: parent of the run folders.
        trust_code: as for :func:`~cl_prompts.experiments.trained.loading.load_run`.
        command: command line, for the record.

    Returns:
        The new run.

    Raises:
        InputError: unfinished or different runs, models that are not sums, or images that several
            runs have learned.
        RunError: a fault during the evaluation.

    Example::

        merge([load_run("runs/north"), load_run("runs/south")]).predict(["new.jpg"])
    """
    folders = [run.run.folder if isinstance(run, TrainedRun) else Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise InputError("merge needs two or more different runs: name each folder once")
    if not is_one_name(name):
        raise InputError(f"name is {shown(name)}: give a name without folders")
    records = [finished_run(folder) for folder in folders]
    parents = [summed_run(record, 1, trust_code) for record in records]
    for other in parents[1:]:
        check_alike(parents[0], other)
    learned = {record.folder: learned_images(record.folder) for record in records}
    _check_disjoint(parents, learned, allow_duplicates)
    settings = _settings(parents, name, None if test is None else Path(test))
    run = build_run(settings)
    _check_tests(run, learned)
    model = run.strategy.model
    states = [state_for(parent, run.data.classes) for parent in parents]
    model.load_learned_state(states[0])
    for state in states[1:]:
        model.head.add(_head(model, state))
        model.seen |= state["seen"]
    samples = sum(record.summary["samples_seen"] for record in records)
    command = command or f"merge({[str(folder) for folder in folders]!r})"
    adopted = {"state": model.learned_state(), "samples": samples}
    folder = written(run, adopted, Path(out), command)
    return load_run(folder, device=parents[0].settings.device, trust_code=trust_code)


def state_for(parent: TrainedRun, classes: Sequence[str]) -> dict[str, Any]:
    """Return the learned state of a run with the classes of another one."""
    places = [parent.classes.index(c) if c in parent.classes else -1 for c in classes]
    model = parent.strategy.model
    return rearranged(model, model.learned_state(), places)


def _head(model: Any, state: Mapping[str, Any]) -> PrototypeClassifier:
    """Return a copy of the model's head with another state."""
    head: PrototypeClassifier = deepcopy(model.head)
    own = {key: value for key, value in state.items() if key.startswith("head.")}
    head.load_state_dict({key.removeprefix("head."): value for key, value in own.items()})
    return head


def summed_run(record: RunRecord, sign: int, trust_code: bool = False) -> TrainedRun:
    """Load a finished run whose model is a sum over plain images.

    Args:
        record: the run.
        sign: 1: to add it, -1: to subtract a part.
        trust_code: as for :func:`~cl_prompts.experiments.trained.loading.load_run`.

    Raises:
        InputError: another run.
    """
    trained = load_run(record.folder, trust_code=trust_code)
    strategy, model = trained.settings.strategy, trained.strategy.model
    cannot = f"{record.folder} cannot {'be merged' if sign > 0 else 'forget images'}"
    if not isinstance(trained.strategy, PrototypeStrategy):
        raise InputError(f"{cannot}: {strategy} learns by gradients, so train it on all the images")
    # A kernel width that images of the first batch set would still tell of them.
    reason = not_sums(model, sign) or (order_matters(model) if sign < 0 else None)
    if reason:
        raise InputError(f"{cannot}: {reason}")
    if not (record.folder / LEARNED_IMAGES).is_file():
        raise InputError(
            f"{cannot}: it has no {LEARNED_IMAGES}, since its images were augmented, stored as"
            " features or read by own code. Train it on image files with augment=false"
        )
    return trained


def check_alike(one: TrainedRun, other: TrainedRun) -> None:
    """Refuse runs of different methods, backbones or transforms.

    Raises:
        InputError: names the first difference.
    """
    found = list(differences_of_model(one.settings, other.settings))
    hashes = [run.run.identity["backbone"] for run in (one, other)]
    if hashes[0] != hashes[1]:
        found.append(("weights or normalisation of the backbone", *hashes))
    for key, value, known in found:
        raise InputError(
            f"{key} is {shown(value)} in {one.run.folder} and {shown(known)} in"
            f" {other.run.folder}: merge runs of one method, backbone and transform"
        )


def _check_disjoint(
    parents: Sequence[TrainedRun], learned: Mapping[Path, Sequence[str]], allowed: bool
) -> None:
    met: dict[str, Path] = {}
    for folder, hashes in learned.items():
        again = [content for content in hashes if content in met]
        if again and not allowed:
            files = [_file_of(parent, again[0]) for parent in parents]
            named = next(filter(None, files), f"SHA-256 {again[0][:12]}")
            raise InputError(
                f"{len(again)} images of {folder} were learned by {met[again[0]]} too, the first is"
                f" {named}: merge runs on different images, or count them twice with"
                " --allow-duplicates"
            )
        met |= dict.fromkeys(hashes, folder)


def _file_of(parent: TrainedRun, content: str) -> str | None:
    """The file of an image, if the run's data are still there."""
    try:
        train = parent.data().train
        found = dict(zip(contents(train), train.files, strict=False))
    except InputError:
        return None
    return str(found[content]) if content in found else None


def _check_tests(run: Run, learned: Mapping[Path, Sequence[str]]) -> None:
    """Refuse test images that one of the runs has learned."""
    where = {content: folder for folder, hashes in learned.items() for content in hashes}
    test = run.data.test
    for row, content in enumerate(contents(test)):
        if content in where:
            named = test.files[row] if test.files else f"{row}"
            raise InputError(
                f"test image {named} was learned by {where[content]}: remove it on one side, or"
                " give other test images with --test"
            )


def _settings(parents: Sequence[TrainedRun], name: str, test: Path | None) -> RunConfig:
    settings = deepcopy(parents[0].settings)
    if test is not None and not test.is_dir():
        raise InputError(f"there is no test folder {test}")
    made = [parent_entry(parent.run, parent.settings) for parent in parents]
    settings.recipe = name
    settings.parent = {
        **{key: [entry[key] for entry in made] for key in ("run", "sha256")},
        "code": list(dict.fromkeys(code for entry in made for code in entry["code"])),
        "settings": hashlib.sha256("".join(e["settings"] for e in made).encode()).hexdigest(),
        "test": "" if test is None else str(test.resolve()),
    }
    return settings
