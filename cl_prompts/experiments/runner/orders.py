"""Class orders from easy to hard, by the distances of frozen class means."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.runner.building import Resources

#: training images in the mean of a class
IMAGES = 50


def in_order(plan: Sequence[RunConfig], resources: Resources) -> list[RunConfig]:
    """Fill in the class orders of runs whose ``order`` is "easy" or "hard".

    Random orders hide the range of results (EDGE, ICLR 2026); these two are found without a text
    tower. The mean of a class is that of the frozen features, each scaled to length 1, of its first
    50 training images without augmentation. Its distance is the Euclidean one to the nearest other
    mean. "easy" begins with the classes of the largest distance, so the two classes that are most
    easily confused come last and next to each other; "hard" is the reverse.

    Args:
        plan: settings of runs; others, and those with an order, are returned unchanged.
        resources: data sets and backbones.

    Raises:
        InputError: several labels per image.
    """
    known: dict[str, list[int]] = {}
    found = []
    for run in plan:
        if run.order in ("easy", "hard") and run.scenario["class_order"] is None:
            key = json.dumps([run.dataset, run.backbone, run.seed], default=str)
            if key not in known:
                data = resources.data(run)
                if data.multi_label:
                    raise InputError(
                        f"data set {data.name!r} has several labels per image: use orders=random:5"
                    )
                backbone = resources.backbone(run, data).to(pick_device(run.device))
                known[key] = easy_order(class_means(backbone, data.train.plain()))
            order = known[key] if run.order == "easy" else known[key][::-1]
            run = replace(run, scenario={**run.scenario, "class_order": order})
        found.append(run)
    return found


def easy_order(means: Tensor) -> list[int]:
    """Sort classes by the distance of their mean (classes, dim) to the nearest other, descending.

    >>> easy_order(torch.tensor([[0.0], [1.0], [5.0], [3.0]]))  # distances 1, 1, 2, 2
    [2, 3, 0, 1]
    """
    between = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = between.fill_diagonal_(float("inf")).amin(dim=1)
    return nearest.sort(descending=True, stable=True).indices.tolist()


@torch.no_grad()
def class_means(backbone: FrozenViT, images: ImageSet) -> Tensor:
    """Means (classes, dim) float64 of the unit features of each class's first training images."""
    means = []
    for label in range(images.targets.max() + 1):
        rows = np.flatnonzero(images.targets == label)[:IMAGES].tolist()
        features = backbone(torch.stack([images[row][0] for row in rows]).to(backbone.mean.device))
        means.append(F.normalize(features.cpu().double(), dim=1).mean(dim=0))
    return torch.stack(means)
