"""Accuracy and time that a proposed recipe may be expected to reach, measured on a sample."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cl_prompts.backbones.catalog import BACKBONES, EMBEDDED
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import at_hand, create_backbone, where_from
from cl_prompts.datasets.bad_images import Look
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.registry import fixed_transform
from cl_prompts.experiments.cli.proposal import (
    PHOTOS,
    SEEDS,
    backbone_for,
    batch_for,
    every_for,
    strategies_for,
)
from cl_prompts.experiments.runner.findings import Survey
from cl_prompts.models.prototype_classifiers import NearestClassMean

_SAMPLE = 200  # images of either part
#: forward passes of the backbone for a stream image and for a test image, with three updates
_PASSES = {
    "linear_probe": (2.6, 0.1),
    "mvp": (4.7, 0.9),
    "s_prompt": (5.1, 0.9),
    "ncm": (0.9, 0.1),
}


def expectations(found: Survey, asked: str | None = None) -> list[str]:
    """Sentences on what to expect of the proposed recipe: a reason for low accuracy, the accuracy
    of nearest class means on a sample, and the duration by a measured forward pass.

    Args:
        found: the images.
        asked: name of the backbone, where one was asked for.
    """
    lines: list[str] = []
    backbone, image_size = backbone_for(found, asked)
    if found.colourful and backbone == EMBEDDED:
        lines.append(
            f"warning: most images are in colour, as photographs are, and {EMBEDDED} has seen"
            f" rendered letters alone, so accuracy will be low: use --backbone {PHOTOS}"
            f" ({BACKBONES[PHOTOS]}), whose weights are {where_from(PHOTOS)}"
        )
    if not at_hand(backbone):
        lines.append(
            f"the weights of {backbone} are not on this machine, so nothing is measured:"
            f" they are {where_from(backbone)}"
        )
        return lines
    vit = create_backbone(backbone, image_size=image_size)
    train, labels = _sample(found, found.train, found.train_targets, image_size)
    features, seconds = _features(vit, train, batch_for(len(found.train)))
    if not found.multi_label:
        test, wanted = _sample(found, found.test, found.test_targets, image_size)
        means = NearestClassMean(features.shape[1], len(found.classes))
        means.update(features, labels)
        right = means(_features(vit, test, len(test))[0]).argmax(dim=1) == wanted
        lines.append(
            f"nearest class means of frozen features, of {len(train)} training images, are right on"
            f" {100 * right.float().mean():.0f} % of {len(right)} test images: a run should reach"
            " that at least"
        )
    return [*lines, _duration(found, seconds)]


def _duration(found: Survey, seconds: float) -> str:
    strategies = strategies_for(found)
    measured = f"a forward pass takes {1000 * seconds:.1f} ms an image on this processor"
    if not set(strategies) <= set(_PASSES):
        return measured
    points = len(found.train) // every_for(len(found.train))
    passes = sum(
        # The classes seen, and so the test images, grow along the stream.
        _PASSES[name][0] * len(found.train) + _PASSES[name][1] * len(found.test) * points / 2
        for name in strategies
    )
    whole = seconds * passes * len(SEEDS)
    words = f"{whole:.0f} s" if whole < 100 else f"{whole / 60:.0f} min"
    if whole > 6000:
        words = f"{whole / 3600:.1f} h"
    n_runs = len(SEEDS) * len(strategies)
    return (
        f"{measured}: at least {words} for all {n_runs} runs, and more where images are large to"
        " read or the backbone is small"
    )


def _sample(
    found: Survey, looks: Sequence[Look], targets: np.ndarray, image_size: int
) -> tuple[Tensor, Tensor]:
    """Images and labels of a sample in which classes are as even as they can be."""
    order = np.random.default_rng(0).permutation(len(targets))
    rows = order[:_SAMPLE]
    if not found.multi_label:
        each = max(1, _SAMPLE // len(found.classes))
        of_class = [order[targets[order] == label][:each] for label in range(len(found.classes))]
        rows = np.concatenate(of_class)
    transform = fixed_transform(found.settings["name"], image_size)
    images = [transform(decode(looks[row].path)) for row in rows.tolist()]
    return torch.stack(images), torch.as_tensor(targets[rows])


@torch.no_grad()
def _features(vit: FrozenViT, images: Tensor, batch: int) -> tuple[Tensor, float]:
    """Features (n, dim) of images, and the seconds that one takes in batches of such a size, after
    a first one."""
    vit(images[:batch])
    begin = time.perf_counter()
    features = torch.cat([vit(some) for some in images.split(batch)])
    return features, (time.perf_counter() - begin) / len(images)
