"""Frequent Directions: low-rank sketches of scatter matrices that stream and merge."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.sums import Limits


class ClassSketches(nn.Module):
    """One sketch per class of the rows added to it (Frequent Directions: Liberty, KDD 2013).

    The sketch V (rank, dim) of rows X (n, dim) underestimates their scatter: ``0 <= X'X - V'V <=
    |X|_F^2 / rank`` in spectral norm, for any order and division of the rows. It is exact for at
    most ``rank`` rows. Sketches merge by adding the rows of one to the other, with the same bound
    (Ghashami, Liberty, Phillips and Woodruff, SIAM J. Comput. 2016).

    Args:
        rank: rows of a sketch.
        dim: length of a row.
        n_classes: sketches.

    Example:
        >>> sketches = ClassSketches(2, dim=3, n_classes=1)
        >>> sketches.add(0, torch.tensor([[0.0, 4.0, 0.0], [3.0, 0.0, 0.0]]).double())
        >>> v = sketches.rows[0]
        >>> (v.T @ v).diagonal().tolist()
        [9.0, 16.0, 0.0]
    """

    class_axes: ClassVar = {"rows": 0}
    rows: Tensor

    def __init__(self, rank: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(n_classes, rank, dim, dtype=torch.float64))

    def limits(self) -> Limits:
        """Rows cannot be taken out."""
        return Limits(
            subtract="images cannot be taken out of sketches of covariances",
            order="sketches of covariances depend on the order of their rows",
        )

    @torch.no_grad()
    def add(self, c: int, rows: Tensor) -> None:
        """Add rows (n, dim) to the sketch of class c."""
        if len(rows):
            self.rows[c] = compressed(torch.cat([self.rows[c], rows]), self.rows.shape[1])


def compressed(rows: Tensor, rank: int) -> Tensor:
    """Sketch (rank, dim) of more than ``rank`` rows (n, dim): the leading singular directions, each
    squared singular value reduced by the largest of those left out."""
    # Singular values of X by the Gram matrix X X', which is small: X = U s W', so U' X = s W'.
    # Rows that are not finite stay so, where eigh would fail.
    values, vectors = torch.linalg.eigh((rows @ rows.T).nan_to_num())
    left_out, kept = values[-rank - 1].clamp(min=0), values[-rank:]
    # sqrt(s^2 - delta) W' = sqrt(1 - delta / s^2) U' X
    scale = 1 - left_out / kept.clamp(min=torch.finfo(rows.dtype).tiny)
    return scale.clamp(min=0).sqrt()[:, None] * (vectors[:, -rank:].T @ rows)
