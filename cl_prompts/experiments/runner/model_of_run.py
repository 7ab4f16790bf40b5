"""The model of a finished run, in its folder ``model``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cl_prompts.closed_form.sums import not_sums
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.experiments.run_folder.files import MODEL
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.trained import card
from cl_prompts.experiments.trained.ledger import Ledger, digest, hashes_of
from cl_prompts.experiments.trained.model import Model
from cl_prompts.metrics.confidence import confidence
from cl_prompts.metrics.intervals import wilson
from cl_prompts.user_code import is_dotted


def write_model(run: Run, folder: Path) -> None:
    """Write the model of a trained run."""
    ledger = ledger_of(run)
    Model(run.strategy, card_of(run, folder, ledger), ledger).write(folder / MODEL)


def card_of(run: Run, folder: Path, ledger: Ledger | None) -> card.Card:
    """Return the card of a trained run."""
    settings, model = run.settings, run.strategy.model
    own, images = settings.backbone, settings.dataset
    crop = None if is_dotted(images["name"]) else images["crop"]
    n_classes, n_tasks = len(run.data.classes), run.split.n_tasks
    samples = run.strategy.samples_seen
    hashes = "" if ledger is None else digest(ledger.hashes)
    event = card.Event(what=f"trained by run {folder}", images=samples, digest=hashes)
    return card.Card(
        method=settings.strategy,
        settings=plain(card.of_model(settings.options)),
        seed=settings.seed,
        backbone=card.Backbone.of(own["name"], own["weights"], model.backbone),
        images=card.Images(dataset=images["name"], crop=crop),
        classes=list(run.data.classes),
        multi_label=run.data.multi_label,
        n_tasks=n_tasks,
        first=list(run.first),
        announced=run.announced,
        per_class=[] if ledger is None else ledger.per_class(n_classes),
        calibration=_calibration(run),
        accuracy=_accuracy(run),
        history=[event],
    )


def ledger_of(run: Run) -> Ledger | None:
    """Return the learned images of a trained closed-form method; None for another method, and for
    images that were augmented or read by own code."""
    sample, data = run.sample, run.data
    if sample is None or not_sums(run.strategy.model.head) is not None:
        return None
    train = data.train.plain() if run.strategy.plain_images else data.train
    if not train.is_plain:
        return None
    tasks: Sequence[np.ndarray] = [np.asarray(task) for task in run.split.tasks]
    rows = np.concatenate(tasks)
    labels: np.ndarray = train.targets[rows].astype(np.int8 if data.multi_label else np.int64)
    if data.multi_label:
        number = np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])
        labels[~run.split.visible[number]] = -1
    features, places, _ = sample.samples
    begins = np.cumsum([0, *(len(task) for task in tasks)])
    task_of, row = places.numpy().T
    sampled = begins[task_of] + row
    order = np.argsort(sampled)
    values = features.cpu().numpy()[order]
    hashes = hashes_of([train.content(row) for row in rows.tolist()])
    return Ledger(hashes, labels, sampled[order], values)


def _calibration(run: Run) -> card.Calibration:
    # No test image was trained on, so the last evaluation measured held-out images.
    evaluator, model = run.anytime.evaluator, run.strategy.model
    found, temperature = evaluator.confidence, None
    if run.sample is not None and not run.data.multi_label:
        temperature = run.sample.temperature(model.head)
    if temperature is not None:
        parts = [logits.cpu() for _, logits in evaluator.logits(model, model.seen)]
        # From cached features, and not counted in the cost of an evaluation.
        evaluator.images -= sum(map(len, parts))
        found = confidence(torch.cat(parts) / temperature)
    sure = found[found.isfinite()].sort().values.tolist()
    return card.Calibration(temperature=temperature, confidence=sure)


def _accuracy(run: Run) -> card.Accuracy | None:
    several = run.data.multi_label
    value = run.anytime.results.get("map_last" if several else "a_last")
    if value is None:
        return None
    end = run.anytime.curve.task_ends[-1]
    n = len(run.data.test) if end.images is None else int(end.images.sum())
    low, high = (None, None) if several else wilson(value, n)
    return card.Accuracy(
        measure="mAP" if several else "accuracy",
        value=value,
        low=low,
        high=high,
        images=n,
        how="test images",
    )
