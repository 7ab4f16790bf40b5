"""EASE's classifier: class prototypes in the subspaces of all tasks' adapters."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SubspacePrototypes(nn.Module):
    """Cosine classifier over the subspaces of several feature extractors, one per task.

    EASE (Zhou et al., CVPR 2024, arXiv 2403.12030). A class o of task i has a prototype ``p[o,
    j]``, its mean feature, in every subspace j <= i. For later subspaces :meth:`complete`
    synthesises it from classes c of tasks >= j, by their similarity to o in subspace i::

        S[o, c] = softmax over c of cos(p[o, i], p[c, i]),   p[o, j] = sum over c of S[o, c] p[c, j]

    A class scores ``cos(f_i, p[c, i]) + alpha / t * sum over j != i of cos(f_j, p[c, j])`` with t
    the number of the newest task from 0; in task 0 only the first term. The published factor sigma
    does not change the order of classes.

    Args:
        dim: feature width in one subspace.
        n_classes: columns of the logits.
        n_tasks: subspaces.
        alpha: weight of the other subspaces.

    Example:
        >>> head = SubspacePrototypes(4, 3, n_tasks=2)
        >>> head.observe(torch.randn(8, 1, 4), torch.tensor([0, 1] * 4), task=0)
        >>> head(torch.randn(5, 1, 4)).shape
        torch.Size([5, 3])
    """

    class_axes: ClassVar = {"prototypes": 0, "count": 0, "task_of": 0}
    task_axes: ClassVar = {"prototypes": 1}
    prototypes: Tensor
    count: Tensor
    task_of: Tensor

    def __init__(self, dim: int, n_classes: int, n_tasks: int, *, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("prototypes", torch.zeros(n_classes, n_tasks, dim))
        self.register_buffer("count", torch.zeros(n_classes))
        self.register_buffer("task_of", torch.full((n_classes,), -1))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Assign new classes to no task."""
        rows.fill_(-1 if name == "task_of" else 0)

    @property
    def seen(self) -> Tensor:
        """(classes,) boolean: classes with prototypes."""
        return self.task_of >= 0

    @torch.no_grad()
    def observe(self, features: Tensor, labels: Tensor, task: int) -> None:
        """Add images of a task's classes, in one or several calls.

        Args:
            features: (batch, ``task`` + 1, dim), in every subspace so far.
            labels: (batch,) class ids.
            task: of these classes, from 0.
        """
        classes = torch.arange(len(self.count), device=labels.device)
        onehot = (labels[:, None] == classes).to(self.count.dtype)
        n = onehot.sum(dim=0)
        new = n > 0
        self.count += n
        total = torch.einsum("bc,bjd->cjd", onehot, features.to(onehot.dtype))
        # p[c, j] += (sum of the batch's f_j - n_c p[c, j]) / N_c
        known = self.prototypes[:, : task + 1]
        step = (total - n[:, None, None] * known) / self.count.clamp(min=1)[:, None, None]
        self.prototypes[:, : task + 1] = known + step
        self.task_of[new] = task

    @torch.no_grad()
    def complete(self) -> None:
        """Synthesise the prototypes of classes in later subspaces, at a task's end."""
        newest = int(self.task_of.max())
        for own in range(newest):
            old = (self.task_of == own).nonzero()[:, 0]
            for j in range(own + 1, newest + 1):
                known = (self.task_of >= j).nonzero()[:, 0]
                # S[o, c] = softmax over c of cos(p[o, i], p[c, i]); p[o, j] = sum S[o, c] p[c, j]
                likeness = cosine(self.prototypes[old, own], self.prototypes[known, own])
                self.prototypes[old, j] = likeness.softmax(dim=1) @ self.prototypes[known, j]

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, subspaces so far, dim) -> scores (batch, classes), unseen -inf."""
        n = features.shape[1]
        cosines = torch.stack(
            [cosine(features[:, j], self.prototypes[:, j]) for j in range(n)], dim=2
        )
        # 1 for a class's own subspace, alpha / t for the others
        own = F.one_hot(self.task_of.clamp(min=0), n).to(cosines.dtype)
        weight = own + (1 - own) * (self.alpha / max(n - 1, 1))
        return (cosines * weight).sum(dim=2).masked_fill(~self.seen, -torch.inf)


def cosine(rows: Tensor, others: Tensor) -> Tensor:
    """Cosines (n, m) between rows (n, dim) and (m, dim)."""
    return F.normalize(rows, dim=-1) @ F.normalize(others, dim=-1).T
