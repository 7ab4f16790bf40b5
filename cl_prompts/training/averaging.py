"""Gaussian averages of prompts over the course of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cl_prompts.checks import positive, whole_number
from cl_prompts.errors import InputError


def gaussian_weights(n: int, mean: float, std: float) -> list[float]:
    """Weights of the checkpoints 1 .. n: ``exp(-(i - mean)^2 / (2 std^2))``, of sum 1.

    Args:
        n: checkpoints.
        mean: where the weight is greatest, counted from 1.
        std: width.

    Raises:
        InputError: a number out of range.

    Example:
        >>> [round(w, 2) for w in gaussian_weights(5, 3, 1)]
        [0.05, 0.24, 0.4, 0.24, 0.05]
    """
    whole_number("n", n)
    positive(std=std)
    raw = [math.exp(-((i - mean) ** 2) / (2 * std**2)) for i in range(1, n + 1)]
    total = sum(raw)
    if total == 0:
        raise InputError(
            f"a Gaussian around {mean:g} with std {std:g} reaches none of {n} checkpoints: give a"
            " larger std or another mean"
        )
    return [weight / total for weight in raw]


class GaussianAverage:
    """Average of a state over n checkpoints with :func:`gaussian_weights` (PromptSRC's prompt
    averaging, Khattak et al., ICCV 2023, arXiv 2307.06948).

    Published: 20 epochs, mean 15, std 1, and the average replaces the weights at the end. On a
    stream: n checkpoints at equal distances of a task (or of a period), the average used in
    evaluation, while training goes on from the last state. Until all have been added, the weights
    of those that have are scaled to sum 1.

    Deviation: integer entries are left out; the published code sums them, too.

    Args:
        n: checkpoints.
        mean: from 1; None: three quarters of n.
        std: None: a tenth of n.

    Raises:
        InputError: as :func:`gaussian_weights`.

    Example:
        >>> average = GaussianAverage(3, mean=2, std=1)
        >>> for value in (1.0, 2.0, 3.0):
        ...     average.add({"prompt": torch.tensor([value])})
        >>> average.state()["prompt"]
        tensor([2.])
    """

    def __init__(self, n: int = 10, mean: float | None = None, std: float | None = None) -> None:
        whole_number("n", n)
        self.weights = gaussian_weights(
            n, 0.75 * n if mean is None else mean, n / 10 if std is None else std
        )
        self.restart()

    def restart(self) -> None:
        """Forget all checkpoints."""
        self.added = 0
        self.weight = 0.0
        self.sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, state: Mapping[str, Tensor]) -> None:
        """Add a checkpoint: tensors by name, the same names each time.

        Raises:
            InputError: all n were added already.
        """
        if self.added == len(self.weights):
            raise InputError(
                f"the average is of {self.added} checkpoints, which are all there: restart it first"
            )
        weight = self.weights[self.added]
        for name, values in state.items():
            if not values.is_floating_point():
                continue
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(values)
            self.sums[name].add_(values, alpha=weight)
        self.added += 1
        self.weight += weight

    def state(self) -> dict[str, Tensor]:
        """The average so far, by name.

        Raises:
            InputError: nothing of any weight was added yet.
        """
        if self.weight == 0:
            raise InputError("there is no average before a checkpoint of any weight was added")
        return {name: values / self.weight for name, values in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Sums and counters."""
        sums = {name: values.clone() for name, values in self.sums.items()}
        return {"added": self.added, "weight": self.weight, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.added = int(state["added"])
        self.weight = float(state["weight"])
        self.sums = {name: values.clone() for name, values in state["sums"].items()}
