"""Train a model on all images of a folder or table, in one pass."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from rich.console import Console

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import computes_bf16, cores, pick_device
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import file_hash
from cl_prompts.datasets.survey import Survey
from cl_prompts.experiments.executors.launching import Job, Launching
from cl_prompts.experiments.executors.submissions import job_ends
from cl_prompts.experiments.recipes.parameters import strategy_options
from cl_prompts.experiments.tracking.progress import Display, print_line
from cl_prompts.experiments.trained import MODELS, card
from cl_prompts.experiments.trained.arithmetic import Progress
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
    # Both are multiples of 14, the patch size of PHOTOS.
    wanted = 224 if found.shorter_side >= 160 else 98
    return name, round(wanted / patch_of(name)) * patch_of(name)


def patch_of(name: str) -> int:
    """Return the side of a patch in pixels, which the names of timm tell."""
    patch = re.search(r"patch(\d+)", name)
    return int(patch[1]) if patch else 16


def untrained(
    found: Survey,
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    keep_features: bool = False,
    device: str = "auto",
) -> Model:
    """Build an untrained model for images.

    Args:
        found: the images.
        backbone, weights: as for ``cl-prompts init``.
        precision: None: bf16 where the device computes it natively.
        keep_features: store the features of all images, not only of a sample.
        device: where to compute.

    Raises:
        InputError: a backbone that does not fit.
    """
    name, size = backbone_for(found, backbone)
    chosen = precision or ("bf16" if computes_bf16(pick_device(device)) else "fp32")
    file = "default" if weights is None else str(weights.resolve())
    vit = create_backbone(name, weights=file, image_size=size, precision=chosen)
    n = len(found.classes)
    made = card.Card(
        method=METHOD,
        settings=card.of_model(strategy_options(METHOD, {})),
        seed=0,
        backbone=card.Backbone.of(name, file, vit),
        images=card.Images(dataset=found.settings["name"], crop=None),
        classes=list(found.classes),
        multi_label=found.multi_label,
        n_tasks=1,
        first=[n, 1],
        announced=False,
        keep_features=keep_features,
    )
    strategy = card.strategy_of(made, vit, device)
    dim = strategy.model.backbone.feature_dim
    return Model(strategy, made, Ledger.empty(dim, n if found.multi_label else None))


def _distinct(found: Survey, console: Console) -> tuple[list[ImageFile], list[list[str]]]:
    """Return the first of equal files, and the classes of each; say what is left out."""
    first: dict[str, tuple[ImageFile, list[str]]] = {}
    for look, target in zip(found.train, found.train_targets, strict=True):
        columns = target.nonzero()[0] if found.multi_label else [target]
        names = [found.classes[column] for column in columns]
        kept, others = first.setdefault(file_hash(look.path), (look.path, names))
        if names != others:
            line = f"{look.path} is a copy of {kept} in another class, and is left out"
            print_line(console, f"warning: {line}")
    if len(first) < len(found.train):
        n = len(found.train) - len(first)
        print_line(console, f"warning: copies of other images that are left out: {n}")
    images, labels = zip(*first.values(), strict=True)
    return list(images), list(labels)


def trained(
    model: Model,
    place: Path,
    found: Survey,
    *,
    shards: int = 1,
    how: Launching | None = None,
    console: Console | None = None,
    progress: Progress | None = None,
) -> Model:
    """Learn the images of a folder or table, and evaluate.

    Accuracy comes from the test part, or from predictions in five parts of the images.

    Args:
        model: an untrained model, which learns.
        place: folder or table.
        found: its images, of which copies are left out.
        shards: number of parts, each learned by a worker.
        how: executor of the workers.
        console: console for warnings and the ends of the workers.
        progress: called with the number of images so far, and of all.

    Raises:
        RunError: a file that cannot be read, or a fault in a shard.
    """
    console = console or Console(quiet=True)
    images, labels = _distinct(found, console)
    n = len(images)
    if shards == 1:
        model.learn(images, labels, progress=progress)
    else:
        _learn_in_shards(model, images, labels, min(shards, n), how or Launching(), console)
    assert model.ledger is not None
    learned = digest(model.ledger.hashes)
    event = card.Event(what=f"trained on {n} images of {place}", images=n, digest=learned)
    model.card = model.card.model_copy(update={"history": [event]})
    if len(found.test):
        model.take_accuracy(model.evaluate(place))
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


def _learn_in_shards(
    model: Model,
    images: Sequence[ImageFile],
    labels: Sequence[Sequence[str]],
    shards: int,
    how: Launching,
    console: Console,
) -> None:
    """Learn the images in parts, and add the sums of the parts; all machines see ``MODELS``."""
    MODELS.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix=".shards", dir=MODELS, ignore_cleanup_errors=True) as folder:
        place = Path(folder).absolute()
        blank = model.save(place / "blank")
        jobs = []
        for k in range(1, shards + 1):
            part = images[k - 1 :: shards], labels[k - 1 :: shards]
            jobs.append(ShardJob(k, f"{len(part[0])} images", blank, *part, place / str(k)))
        if how.kind == "local" and how.jobs is None:
            how = replace(how, jobs=min(shards, cores()))
        device, threads = str(model.network.seen.device), torch.get_num_threads()
        with Display(console, shards, what="shard") as display:
            ended = job_ends(jobs, how, display, device=device, out=MODELS, threads=threads)
            with closing(ended) as ends:
                for _, fault in ends:
                    if fault is not None:
                        raise fault
        for job in jobs:
            model.merge(Model.load(job.out, device=device))
