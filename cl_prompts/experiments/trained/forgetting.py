"""Images or a class taken out of a finished run whose model is sums."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console

from cl_prompts.checks import sha256
from cl_prompts.closed_form.sums import condition_numbers, sums_of
from cl_prompts.datasets.bad_images import look_at
from cl_prompts.datasets.combined import contents
from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.folders import scan_images
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder.checksums import SUMS_FILE, learned_images
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.execution import written
from cl_prompts.experiments.runner.lineage import finished_run, one_task, parent_entry
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.runner.running import run_all
from cl_prompts.experiments.trained.combining import state_for, summed_run
from cl_prompts.experiments.trained.loading import TrainedRun, load_run


@dataclass(frozen=True)
class Difference:
    """Largest differences between a run that forgot and one trained on the remaining images.

    Attributes:
        sums: of an entry of the sums, relative to the largest entry of its sum.
        scores: of the score of a class for a test image.
        predictions: test images with other predictions.
        images: test images.
    """

    sums: float
    scores: float
    predictions: int
    images: int

    def __str__(self) -> str:
        return (
            f"largest difference to training on the remaining images: {self.sums:.1e} of the sums,"
            f" {self.scores:.1e} of the scores; {self.predictions} of {self.images} test images"
            " have another prediction"
        )


def forget(
    run: TrainedRun | str | Path,
    images: str | Path | None = None,
    *,
    class_name: str | None = None,
    out: str | Path = "runs",
    trust_code: bool = False,
    command: str | None = None,
) -> TrainedRun:
    """Take images, or all images of a class, out of a finished run: a new run without them.

    Args:
        run: a finished run of a closed-form method, or its folder.
        images: folder of image files, or table of ``path,label``; labels do not matter.
        class_name: the class to forget, instead of images.
        out: parent of the run folders.
        trust_code: as for :func:`~cl_prompts.experiments.trained.loading.load_run`.
        command: command line, for the record.

    Returns:
        The new run. Its folder has a ``forgotten.json``; the given run does not change.

    Raises:
        InputError: a run of another method, an image that the run has not learned, an unknown
            class, or sums that cannot be subtracted.
        RunError: a fault during the evaluation.
    """
    if (images is None) == (class_name is None):
        raise InputError("give either a folder or table of images, or a class with --class NAME")
    folder = run.run.folder if isinstance(run, TrainedRun) else Path(run)
    record = finished_run(folder)
    trained = summed_run(record, -1, trust_code)
    if record.multi_label and record.summary["n_tasks"] > 1:
        raise InputError(
            f"{folder} cannot forget images: each of its {record.summary['n_tasks']} tasks"
            " annotated other classes. Train it on the remaining images"
        )
    learned = set(learned_images(folder))
    data = Resources().data(trained.settings)
    known = contents(data.train)
    if images is not None:
        forgotten = _among(Path(images), learned, folder)
    else:
        if record.multi_label:
            raise InputError("images have several classes each: give the images to forget")
        if class_name not in trained.classes:
            raise unknown("class", str(class_name), trained.classes)
        column = trained.classes.index(class_name)
        rows = np.flatnonzero(data.train.targets == column).tolist()
        forgotten = {known[row] for row in rows} & learned
    rows = [row for row, content in enumerate(known) if content in forgotten]
    if forgotten - {known[row] for row in rows}:
        raise InputError(
            f"{len(forgotten)} images to forget are not in the data of {folder} any more: bring"
            " them back, since their features are computed again"
        )
    remaining = [row for row, content in enumerate(known) if content in learned - forgotten]
    labels = data.train.targets[remaining]
    n_classes = int(labels.any(axis=0).sum()) if data.multi_label else len({*labels.tolist()})
    child = build_run(_settings(trained, sorted(forgotten), n_classes))
    before = condition_numbers(trained.strategy.model.head)
    plain = data.train.plain()
    images_of_rows = (plain[row][0] for row in rows)
    factor = trained.strategy.unlearn(images_of_rows, torch.as_tensor(data.train.targets[rows]))
    about = {
        "run": str(folder.resolve()),
        "sha256": sha256(folder / SUMS_FILE),
        "images": sorted(forgotten),
        "classes": [name for name in trained.classes if name not in child.data.classes],
        "largest_reduction_of_a_sum": factor,
        "condition_before": before,
        "condition_after": condition_numbers(trained.strategy.model.head),
    }
    samples = record.summary["samples_seen"] - len(rows)
    adopted = {"state": state_for(trained, child.data.classes), "samples": samples}
    what = repr(str(images)) if images is not None else f"class_name={class_name!r}"
    command = command or f"forget({str(folder)!r}, {what})"
    made = written(child, adopted, Path(out), command, about)
    return load_run(made, device=trained.settings.device, trust_code=trust_code)


def _among(place: Path, learned: set[str], folder: Path) -> set[str]:
    """Hashes of image files, all of which the run has learned."""
    if not place.exists():
        raise InputError(f"there is no folder or table {place}")
    if place.is_dir():
        files = [str(file) for file in scan_images([place]).files]
    else:
        files = [str(place.parent / row.path) for row in csv_rows(place)]
    found = set()
    foreign = []
    for file, look in zip(files, look_at(files), strict=True):
        if look.problem:
            raise InputError(look.problem)
        own = {sha256(file), look.pixels} & learned
        found |= own
        if not own:
            foreign.append(file)
    if foreign:
        raise InputError(
            f"{len(foreign)} of {len(files)} images were never learned by {folder}, the first is"
            f" {foreign[0]}: give files with the content that it learned"
        )
    return found


def _settings(trained: TrainedRun, forgotten: list[str], n_classes: int) -> RunConfig:
    run, settings = trained.run, deepcopy(trained.settings)
    announced = bool(run.stream.get("boundaries"))
    settings.scenario = one_task(n_classes, multi_label=run.multi_label, boundaries=announced)
    settings = settings.checked()
    settings.recipe = f"{settings.recipe}-forgot"
    settings.parent = parent_entry(run, settings, forgotten=forgotten)
    return settings


def verify(run: TrainedRun) -> Difference:
    """Train on what a run has not forgotten, and compare with it.

    Args:
        run: of :func:`forget`; the images are where they were.

    Raises:
        RunError: a fault during the training.
    """
    with TemporaryDirectory() as place:
        settings = deepcopy(run.settings)
        (folder,) = run_all(
            [settings], out=Path(place), console=Console(quiet=True), command="verify"
        )
        trained = load_run(folder, device=str(run.settings.device), trust_code=True)
    return differences(run, trained, build_run(settings))


def differences(one: TrainedRun, other: TrainedRun, built: Run) -> Difference:
    """Compare the sums of two runs, and their scores for the test images of a third."""
    models = [run.strategy.model.eval() for run in (one, other)]
    sums, gap, changed = 0.0, 0.0, 0
    for ours, theirs in zip(*(model.head.modules() for model in models), strict=True):
        for name, (tensor, _) in sums_of(ours).items():
            known = getattr(theirs, name)
            scale = float(known.abs().max()) or 1.0
            sums = max(sums, float((tensor - known).abs().max()) / scale)
    test = built.data.test
    for rows in torch.arange(len(test)).split(64):
        images = torch.stack([test[row][0] for row in rows.tolist()]).to(one.strategy.device)
        features = models[0].features(images)
        scores = [model.head.scores(features) for model in models]
        known = torch.isfinite(scores[1])
        gap = max(gap, float((scores[0] - scores[1])[known].abs().max()))
        labels = [one.scored(found.cpu(), 1.0)[1] for found in scores]
        changed += sum(a != b for a, b in zip(*labels, strict=True))
    return Difference(sums, gap, changed, len(test))
