"""Train a model on all images of a folder or table, in one pass."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import computes_bf16, cores, pick_device
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import file_hash
from cl_prompts.datasets.survey import Survey, survey
from cl_prompts.experiments.executors.launching import Job, Launching
from cl_prompts.experiments.executors.signals import stop_requests
from cl_prompts.experiments.executors.submissions import Display, queue_of
from cl_prompts.experiments.recipes.parameters import strategy_options
from cl_prompts.experiments.trained import MODELS
from cl_prompts.experiments.trained.arithmetic import Progress
from cl_prompts.experiments.trained.card import (
    Backbone,
    Card,
    Event,
    Images,
    of_model,
    strategy_of,
)
from cl_prompts.experiments.trained.ledger import Ledger, digest
from cl_prompts.experiments.trained.model import Model

#: the method that needs no tuning
METHOD = "recommended"
_SMALL = 48  # pixels; larger images have details that the embedded backbone does not see
# DINOv3 is newer, but its licence has terms of its own.
PHOTOS = "vit_small_patch14_reg4_dinov2.lvd142m"


def backbone_for(found: Survey, name: str | None) -> tuple[str, int]:
    """Return backbone and image size: the embedded ViT for small grey images, else a small ViT.

    Args:
        found: the images.
        name: the backbone that the user wants; None for a proposal.
    """
    letters = found.shorter_side <= _SMALL and not found.colourful
    name = name or (EMBEDDED if letters else PHOTOS)
    if name == EMBEDDED:
        return name, 32
    patch = re.search(r"patch(\d+)", name)
    step = int(patch[1]) if patch else 16
    # Both are multiples of 14, the patch size of PHOTOS.
    wanted = 224 if found.shorter_side >= 160 else 98
    return name, round(wanted / step) * step


@dataclass
class Plan:
    """What a model is going to be trained on.

    Attributes:
        place: folder or table.
        blank: the model before it has learned an image.
        images: files to learn, without copies.
        labels: classes of each.
        tested: whether ``place`` has a test part.
        lines: sentences on the images.
    """

    place: Path
    blank: Model
    images: list[ImageFile]
    labels: list[list[str]]
    tested: bool
    lines: list[str]


def planned(
    place: Path,
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    keep_features: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Plan:
    """Survey images, and build an untrained model for them.

    Args:
        place: images, laid out as for ``cl-prompts init``.
        backbone, weights: as for ``init``.
        precision: "fp32" or "bf16"; None: bf16 where the device computes it natively.
        keep_features: store the features of all images, not only of a sample.
        device: where to compute.
        progress: called with the number of files opened so far, and of all.

    Raises:
        InputError: there are no such images, or a backbone that does not fit.
    """
    found = survey(place, progress=progress, whole=True)
    name, size = backbone_for(found, backbone)
    chosen = precision or ("bf16" if computes_bf16(pick_device(device)) else "fp32")
    file = "default" if weights is None else str(weights.resolve())
    vit = create_backbone(name, weights=file, image_size=size, precision=chosen)
    n = len(found.classes)
    card = Card(
        method=METHOD,
        settings=of_model(strategy_options(METHOD, {})),
        seed=0,
        backbone=Backbone.of(name, file, vit),
        images=Images(dataset=found.settings["name"], crop=None),
        classes=list(found.classes),
        multi_label=found.multi_label,
        n_tasks=1,
        first=[n, 1],
        announced=False,
        keep_features=keep_features,
    )
    strategy = strategy_of(card, vit, device)
    dim = strategy.model.backbone.feature_dim
    blank = Model(strategy, card, Ledger.empty(dim, n if found.multi_label else None))
    images, labels = _distinct(found)
    lines = found.lines()
    if len(images) < len(found.train):
        copies = len(found.train) - len(images)
        lines.append(f"warning: {copies} copies of other images are left out")
    lines.append(f"{name} at {size} px, {chosen}")
    return Plan(place, blank, images, labels, bool(len(found.test)), lines)


def _distinct(found: Survey) -> tuple[list[ImageFile], list[list[str]]]:
    """Return the first of equal files, and the classes of each."""
    first: dict[str, tuple[ImageFile, list[str]]] = {}
    for look, target in zip(found.train, found.train_targets, strict=True):
        columns = target.nonzero()[0] if found.multi_label else [target]
        names = [found.classes[column] for column in columns]
        first.setdefault(file_hash(look.path), (look.path, names))
    images, labels = zip(*first.values(), strict=True)
    return list(images), list(labels)


def trained(
    plan: Plan,
    *,
    shards: int = 1,
    how: Launching | None = None,
    console: Console | None = None,
    progress: Progress | None = None,
) -> Model:
    """Learn the images of a plan, and evaluate.

    Accuracy comes from the test part, or from predictions in five parts of the images.

    Args:
        plan: of :func:`planned`; its blank model learns.
        shards: number of parts, each learned by a worker.
        how: executor of the workers.
        console: console for their ends.
        progress: called with the number of images so far, and of all.

    Raises:
        RunError: a file that cannot be read, or a fault in a shard.
    """
    model, n = plan.blank, len(plan.images)
    if shards == 1:
        model.learn(plan.images, plan.labels, progress=progress)
    else:
        lines = _Lines(console or Console(quiet=True))
        _learn_in_shards(plan, min(shards, n), how or Launching(), lines)
    assert model.ledger is not None
    learned = digest(model.ledger.hashes)
    event = Event(what=f"trained on {n} images of {plan.place}", images=n, digest=learned)
    model.card = model.card.model_copy(update={"history": [event]})
    if plan.tested:
        model.take_accuracy(model.evaluate(plan.place))
    return model


# ---------------------------------------------------------------------------------- shards


@dataclass(frozen=True)
class ShardJob(Job):
    """A part of the images of a model, for an executor.

    Attributes:
        blank: folder of the untrained model.
        images, labels: the part.
        out: folder of the trained part.
    """

    blank: Path
    images: Sequence[ImageFile]
    labels: Sequence[Sequence[str]]
    out: Path

    @property
    def finished(self) -> bool:
        """Whether the part is learned and saved."""
        return self.out.is_dir()

    def execute(self) -> None:
        """Learn the part, in a worker."""
        Model.load(self.blank).learn(self.images, self.labels).save(self.out)


@dataclass
class _Lines(Display):
    """A line for each shard that ends."""

    console: Console

    def end(self, number: int, how: str) -> None:
        self.console.print(f"shard {number} {how}", highlight=False)


def _learn_in_shards(plan: Plan, shards: int, how: Launching, lines: Display) -> None:
    """Learn the images in parts, and add the sums of the parts; all machines see ``MODELS``."""
    place = MODELS / f".{plan.place.name}.shards"
    shutil.rmtree(place, ignore_errors=True)  # of a killed command
    place.mkdir(parents=True)
    try:
        blank, home = plan.blank.save(place / "blank"), str(Path.cwd())
        jobs = []
        for k in range(1, shards + 1):
            images, labels = plan.images[k - 1 :: shards], plan.labels[k - 1 :: shards]
            jobs.append(ShardJob(k, f"shard {k}", home, blank, images, labels, place / str(k)))
        if how.kind == "local" and how.jobs is None:
            how = replace(how, jobs=min(shards, cores()))
        device, threads = str(plan.blank.network.seen.device), torch.get_num_threads()
        queued = queue_of(jobs, how, lines, device=device, out=MODELS, threads=threads)
        with queued as queue, stop_requests() as request:
            for _, fault in queue.ends(request):
                if fault is not None:
                    raise fault
            request.obey()
        for job in jobs:
            plan.blank.merge(Model.load(job.out, device=device))
    finally:
        shutil.rmtree(place, ignore_errors=True)
