"""Train a model on all images of a folder or table, in one pass."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from cl_prompts.backbones.catalog import BACKBONES, EMBEDDED
from cl_prompts.backbones.devices import computes_bf16, cores, pick_device
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import file_hash
from cl_prompts.datasets.survey import Survey, survey
from cl_prompts.experiments.executors.launching import Job, Launching
from cl_prompts.experiments.executors.submissions import job_ends
from cl_prompts.experiments.recipes.parameters import strategy_options
from cl_prompts.experiments.trained.arithmetic import Progress
from cl_prompts.experiments.trained.card import (
    Backbone,
    Card,
    Images,
    Sizes,
    make_strategy,
    of_model,
)
from cl_prompts.experiments.trained.evaluating import Assessment
from cl_prompts.experiments.trained.ledger import Ledger
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


def warnings_on(found: Survey, asked: str | None = None) -> list[str]:
    """Return a warning if the backbone does not suit the images."""
    if not found.colourful or backbone_for(found, asked)[0] != EMBEDDED:
        return []
    return [
        f"warning: most images are in colour, and {EMBEDDED} was trained on rendered letters only."
        f" Use --backbone {PHOTOS} ({BACKBONES[PHOTOS]})"
    ]


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
    precision: str | None = None,
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
    where = pick_device(device)
    chosen = precision or ("bf16" if computes_bf16(where) else "fp32")
    vit = create_backbone(
        name,
        weights="default" if weights is None else str(weights.resolve()),
        image_size=size,
        precision="bf16" if chosen == "bf16" else "fp32",
    )
    card = Card(
        method=METHOD,
        settings=of_model(strategy_options(METHOD, {})),
        seed=0,
        backbone=Backbone.of(name, "default" if weights is None else str(weights.resolve()), vit),
        images=Images(dataset=found.settings["name"], crop=None),
        classes=list(found.classes),
        multi_label=found.multi_label,
        n_tasks=1,
        first=[len(found.classes), 1],
        announced=False,
        keep_features=keep_features,
    )
    sizes = Sizes(len(found.classes), found.multi_label, 1, announced=False)
    strategy = make_strategy(METHOD, card.settings, vit, sizes, device=device, seed=0)
    n_labels = len(found.classes) if found.multi_label else None
    blank = Model(strategy, card, Ledger.empty(strategy.model.backbone.feature_dim, n_labels))
    images, labels, left_out = _distinct(found)
    lines = [*found.lines(), *warnings_on(found, backbone)]
    if left_out:
        lines.append(f"warning: {left_out} copies of other images are left out")
    lines.append(f"{name} at {size} px, {chosen}")
    return Plan(place, blank, images, labels, bool(len(found.test)), lines)


def _distinct(found: Survey) -> tuple[list[ImageFile], list[list[str]], int]:
    """Return the first of equal files, their classes, and the number of further copies."""
    first: dict[str, tuple[ImageFile, list[str]]] = {}
    for look, target in zip(found.train, found.train_targets, strict=True):
        columns = target.nonzero()[0] if found.multi_label else [target]
        names = [found.classes[column] for column in columns]
        first.setdefault(file_hash(look.path), (look.path, names))
    images, labels = zip(*first.values(), strict=True)
    return list(images), list(labels), len(found.train) - len(images)


def trained(
    plan: Plan,
    *,
    shards: int = 1,
    how: Launching | None = None,
    console: Console | None = None,
    folder: Path = Path("models"),
    progress: Progress | None = None,
) -> tuple[Model, Assessment | None]:
    """Learn the images of a plan, and evaluate.

    Accuracy comes from the test part, or from predictions in five parts of the images.

    Args:
        plan: of :func:`planned`; its blank model learns.
        shards: number of parts, each learned by a worker.
        how: executor of the workers.
        console: console for their ends.
        folder: parent of the shards, which all machines see.
        progress: called with the number of images so far, and of all.

    Returns:
        The model, and its scores on the test part.

    Raises:
        RunError: a file that cannot be read, or a fault in a shard.
    """
    model = plan.blank
    if shards == 1:
        model.learn(plan.images, plan.labels, progress=progress)
    else:
        _learn_in_shards(plan, shards, how or Launching(), console or Console(quiet=True), folder)
    n = len(plan.images)
    event = model.card.history[-1].model_copy(
        update={"what": f"trained on {n} images of {plan.place}"}
    )
    model.card = model.card.model_copy(update={"history": [event]})
    if not plan.tested:
        return model, None
    found = model.evaluate(plan.place)
    model.take_accuracy(found)
    return model, found


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
        model = Model.load(self.blank)
        model.learn(self.images, self.labels).save(self.out)


class _Lines:
    """A line for each shard that ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def begin(self, number: int, label: str) -> None:
        pass

    def end(self, number: int, how: str) -> None:
        self.console.print(f"shard {number} {how}", highlight=False)


def _learn_in_shards(
    plan: Plan, shards: int, how: Launching, console: Console, folder: Path
) -> None:
    """Learn the images in parts, and add the sums of the parts."""
    place = folder / f".{plan.place.name}.shards"
    shutil.rmtree(place, ignore_errors=True)  # of a killed command
    place.mkdir(parents=True)
    try:
        blank = plan.blank.save(place / "blank")
        parts = [slice(k, None, shards) for k in range(shards)]
        jobs = [
            ShardJob(k, f"shard {k}", blank, plan.images[part], plan.labels[part], place / str(k))
            for k, part in enumerate(parts, 1)
            if plan.images[part]
        ]
        if how.kind == "local" and how.jobs is None:
            how = replace(how, jobs=min(len(jobs), cores()))
        device = str(plan.blank.network.seen.device)
        threads = torch.get_num_threads()
        how_ended = job_ends(jobs, how, _Lines(console), device=device, out=folder, threads=threads)
        with closing(how_ended) as ends:
            for _, fault in ends:
                if fault is not None:
                    raise fault
        for job in jobs:
            plan.blank.merge(Model.load(job.out, device=device))
    finally:
        shutil.rmtree(place, ignore_errors=True)
