"""SLCA and SLCA++: scales of means, draws and rows by the age of a class, normed logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Width of the uniform distribution of a draw's rate about ``feature_scale``.
SPREAD = 0.02


def mean_scales(first: Tensor, task: Tensor) -> Tensor:
    """Return SLCA's factors of class means, which shorten those of earlier tasks.

    Source: ICCV 2023, arXiv 2303.05118.

    Args:
        first: (classes,) first task of each class, as floats.
        task: number of the current one, from 0.

    Returns:
        (classes,)

    Example:
        >>> mean_scales(torch.tensor([0.0, 3.0]), task=torch.tensor(3))
        tensor([0.9250, 1.0000])
    """
    # s_c = 0.9 + 0.1 (t_c + 1) / (t + 1)
    return 0.9 + 0.1 * (first + 1) / (task + 1)


def draw_scales(ages: Tensor, rate: float, uniform: Tensor) -> Tensor:
    """Return the factors of draws of SLCA++ (arXiv 2408.08295): ``1 / (1 + r age)``, r near rate.

    Args:
        ages: (n,) tasks since the first one of each draw's class.
        rate: published: 0.02.
        uniform: (n,) in [0, 1).

    Returns:
        (n,)
    """
    # r = mu_s + 0.02 (U - 1/2)
    return 1 / (1 + (rate + SPREAD * (uniform - 0.5)) * ages)


def normed_by_task(logits: Tensor, first: Tensor, seen: Tensor, temperature: float) -> Tensor:
    """Divide logits by a temperature and by the mean over tasks of their norm in a task.

    This lets tasks with different norms of rows compete. Gradients pass through the norms.

    Args:
        first: (classes,) task of each class.
        seen: (classes,) boolean, the classes that compete.
        temperature: published: 0.1.

    Returns:
        (batch, classes); columns of the others are divided alike.
    """
    # nu = mean over tasks j of (|o over the classes of j| + 1e-7);  o / (nu temperature)
    norms = [
        logits[:, seen & (first == task)].norm(dim=1) + 1e-7
        for task in first[seen].unique().tolist()
    ]
    return logits / (torch.stack(norms).mean(dim=0)[:, None] * temperature)


@torch.no_grad()
def scale_rows(head: nn.Linear, ages: Tensor, rate: float) -> None:
    """Scale the rows of earlier tasks by ``1 + rate * age``, in place (SLCA++).

    Args:
        head: whose weight is scaled.
        ages: (classes,) tasks since the first one of each class.
        rate: as of :func:`draw_scales`.
    """
    head.weight.mul_(1 + rate * ages.to(head.weight.dtype)[:, None])
