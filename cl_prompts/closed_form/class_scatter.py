"""One exact covariance per class, and a limit of its memory."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.sums import Limits
from cl_prompts.errors import InputError

GIB = 2**30


class ClassScatter(nn.Module):
    """Means and scatter matrices of each class, exact for any order and batches.

    Scatters are about the final means (pairwise update of Chan, Golub and LeVeque, 1979).

    Args:
        dim: feature width.
        n_classes: classes.
        moving: use the scatter about the just updated means instead, as released code does, which
            counts batches too little.

    Example:
        >>> classes = ClassScatter(2, n_classes=3)
        >>> x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 5.0]]).double()
        >>> classes.update(x, torch.tensor([0, 0, 2]))
        >>> classes.scatters[0].tolist(), classes.count.tolist()
        ([[2.0, 0.0], [0.0, 0.0]], [2.0, 0.0, 1.0])
    """

    class_axes: ClassVar = {"count": 0, "mean": 0, "scatters": 0}
    summed = ("count",)
    count: Tensor
    mean: Tensor
    scatters: Tensor

    def __init__(self, dim: int, n_classes: int, *, moving: bool = False) -> None:
        super().__init__()
        self.moving = moving
        self.register_buffer("count", torch.zeros(n_classes, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(n_classes, dim, dtype=torch.float64))
        self.register_buffer("scatters", torch.zeros(n_classes, dim, dim, dtype=torch.float64))

    def limits(self) -> Limits:
        """Scatters about moving means are not sums."""
        return Limits("released code takes scatters about moving means" if self.moving else None)

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Add features (batch, dim) of the statistics' type with classes (batch,)."""
        for c, mine in rows_by_class(x, labels):
            before = self.count[c].clone()
            total = before + len(mine)
            batch_mean = mine.mean(dim=0)
            shift = batch_mean - self.mean[c]
            inside = mine - batch_mean
            # Chan et al.: scatter within the batch, plus n N / (n + N) (shift shift^T)
            between = before * len(mine) / total
            self.scatters[c].addmm_(inside.T, inside)
            self.scatters[c] += torch.outer(shift, shift) * (
                between * (before / total) if self.moving else between
            )
            self.mean[c] += shift * (len(mine) / total)
            self.count[c] = total


def rows_by_class(x: Tensor, labels: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield class and rows of a batch (batch, ...), in ascending order of classes.

    Labels on the CPU avoid a GPU synchronisation.
    """
    labels = labels.cpu()
    classes, counts = labels.unique(return_counts=True)
    rows = x[labels.argsort(stable=True).to(x.device)].split(counts.tolist())
    return zip(classes.tolist(), rows, strict=True)


def check_class_matrices(
    of: str, n_classes: int, size: int, memory_gib: float, *, matrices: int = 1
) -> None:
    """Raise ``InputError`` if the class matrices need more memory than allowed.

    Args:
        of: name of the method, for the error.
        n_classes: classes.
        size: rows of a matrix of float64 numbers.
        memory_gib: limit in GiB.
        matrices: for each class.
    """
    needed = n_classes * size**2 * matrices * 8 / GIB
    if needed > memory_gib:
        raise InputError(
            f"{of} needs {needed:.3g} GiB for matrices of {n_classes} classes at width {size}:"
            f" reduce the width, or raise memory_gib (now {memory_gib:g})"
        )
