"""Symmetric packing: checkpoints hold the lower triangle of symmetric sums."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class SymmetricSums(nn.Module):
    """Base of modules whose state holds the lower triangles of some buffers.

    Solutions use the lower triangle, so they are the same to the bit after loading; the upper
    triangle may differ by rounding.

    Example:
        >>> class Products(SymmetricSums):
        ...     symmetric = ("sums",)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("sums", torch.eye(4))
        >>> tuple(Products().state_dict()["sums"].shape)
        (5, 2)
    """

    symmetric: ClassVar[tuple[str, ...]]
    """Names of buffers (..., n, n)."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self.symmetric:
            destination[prefix + name] = folded(destination[prefix + name])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: object) -> None:
        for name in self.symmetric:
            given = state_dict.get(prefix + name)
            n = getattr(self, name).shape[-1]
            # Loading refuses other shapes.
            if given is not None and given.shape[-2:] == _folded_shape(n):
                state_dict[prefix + name] = unfolded(given)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _folded_shape(n: int) -> tuple[int, int]:
    return n + 1 - n % 2, (n + 1) // 2


def folded(matrix: Tensor) -> Tensor:
    """Pack the lower triangle of a matrix (..., n, n) without gaps.

    LAPACK's rectangular full packed format: (..., n + 1, n / 2), or (..., n, (n + 1) / 2) for odd
    n.

    >>> matrix = torch.tensor([[1, 2, 4], [2, 3, 5], [4, 5, 6]])
    >>> folded(matrix)
    tensor([[1, 6],
            [2, 3],
            [4, 5]])
    >>> unfolded(folded(matrix)).equal(matrix)
    True
    """
    n = matrix.shape[-1]
    rows, columns = _folded_shape(n)
    result = matrix.new_empty(*matrix.shape[:-2], rows, columns)
    result[..., rows - n :, :] = matrix[..., :columns]
    # The right part of the triangle is stored transposed above the left one.
    above = result[..., : n - columns, 2 * columns - n :]
    turned = matrix[..., columns:, columns:].mT
    above.copy_(torch.where(torch.ones_like(turned, dtype=torch.bool).triu(), turned, above))
    return result


def unfolded(triangle: Tensor) -> Tensor:
    """Unpack a matrix of :func:`folded` to (..., n, n), mirroring the lower triangle."""
    rows, columns = triangle.shape[-2:]
    n = rows - (rows > 2 * columns)
    result = triangle.new_zeros(*triangle.shape[:-2], n, n)
    # The left columns, and the transposed right part.
    result[..., :columns] = triangle[..., rows - n :, :]
    result[..., columns:, columns:] = triangle[..., : n - columns, 2 * columns - n :].mT
    return result.tril() + result.tril(-1).mT
