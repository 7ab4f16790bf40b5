"""Mean and standard deviation by which images in [0, 1] are normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from cl_prompts.checks import fits
from cl_prompts.errors import InputError

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


def normalisation_of(name: str | Sequence[Sequence[float]], vit: nn.Module) -> Normalisation:
    """Resolve a normalisation setting to mean and std.

    Args:
        name: ``"checkpoint"`` (what the weights were trained with), ``"none"`` (as the images come:
            for weights that were trained on [0, 1], and for data sets that normalise),
            ``"imagenet"``, or a pair (mean, std) of three numbers each.
        vit: the model, for its checkpoint's values.

    Raises:
        InputError: any other value.
    """
    fits("normalisation", name, str | Sequence[Sequence[float]])
    fixed: dict[str, Normalisation] = {
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
    if name == "checkpoint":
        config = getattr(vit, "pretrained_cfg", None) or {}
        mean, std = config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3)
    elif isinstance(name, str):
        if name not in fixed:
            raise InputError(
                f"normalisation {name!r} is not known: it is checkpoint, none, imagenet or [[mean x"
                " 3], [std x 3]]"
            )
        mean, std = fixed[name]
    else:
        mean, std = name if len(name) == 2 else ((), ())
    with np.errstate(over="ignore", under="ignore"):
        as_used = np.array((*mean, *std), np.float32)  # a part of torch's numbers becomes 0 there
    if not (len(mean) == len(std) == 3 and np.isfinite(as_used).all() and min(as_used[3:]) > 0):
        raise InputError(
            f"normalisation {name!r} is not a pair of three means and three positive standard"
            " deviations"
        )
    red, green, blue, *spread = map(float, (*mean, *std))
    return (red, green, blue), (spread[0], spread[1], spread[2])
