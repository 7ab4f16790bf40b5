"""Count the multiply-accumulates of PyTorch operations as they run, backward passes included."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


def _attention(query: Tensor, key: Tensor, *_: object, **__: object) -> float:
    """Q K' and its product with V, in floating-point operations."""
    return 4 * query.numel() * key.shape[-2]


def _attention_backward(_: Tensor, query: Tensor, key: Tensor, *__: object, **___: object) -> float:
    """The gradients of Q, K, V and of the weights; a kernel that computes scores again is not
    charged for it, so that a budget is the same on every device."""
    return 8 * query.numel() * key.shape[-2]


def _factorised(order: float) -> Callable[..., float]:
    """Operations of a factorisation of (..., n, n), 2 ``order`` n^3."""

    def formula(matrix: Tensor, *_: object, **__: object) -> float:
        return 2 * order * prod(matrix.shape[:-2]) * min(matrix.shape[-2:]) ** 3

    return formula


def _triangular(matrix: Tensor, right: Tensor, *_: object, **__: object) -> float:
    return right.numel() * matrix.shape[-1]


def _cholesky_solve(right: Tensor, factor: Tensor, *_: object, **__: object) -> float:
    return 2 * right.numel() * factor.shape[-1]


#: kernels of attention on the CPU and on GPUs
_KERNELS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
#: order of factorisations (Golub and Van Loan, Matrix Computations; an eigendecomposition with
#: vectors by the QR algorithm), and of solutions with a factor
_SOLUTIONS = {
    "linalg_cholesky_ex": _factorised(1 / 3),
    "_linalg_eigh": _factorised(4.5),
    "_linalg_svd": _factorised(10),
    "cholesky_inverse": _factorised(2 / 3),
    "linalg_pinv": _factorised(5.5),
    "linalg_qr": _factorised(1),
    "linalg_solve_triangular": _triangular,
    "cholesky_solve": _cholesky_solve,
}
#: operation -> its floating-point operations, two for a multiply-accumulate
FORMULAS: Mapping[object, Callable[..., float]] = {
    **flop_registry,
    **{getattr(aten, f"_scaled_dot_product_{kernel}"): _attention for kernel in _KERNELS},
    **{
        getattr(aten, f"_scaled_dot_product_{kernel}_backward"): _attention_backward
        for kernel in _KERNELS
    },
    **{getattr(aten, name): formula for name, formula in _SOLUTIONS.items()},
}


class MACCounter(TorchDispatchMode):
    """Context that counts the multiply-accumulates of all operations, backward passes included.

    Products of matrices, convolutions, attention and factorisations count; all else is free, also
    recurrent layers. The formulas are those of torch's ``FlopCounterMode``, which attributes each
    operation to a module and so takes three times as long.

    Attributes:
        macs: multiply-accumulates so far.

    Example:
        >>> weight = torch.ones(3, 4, requires_grad=True)
        >>> with MACCounter() as counter:
        ...     (torch.ones(2, 3) @ weight).sum().backward()
        >>> counter.macs  # forward, and the gradient of the weight
        48.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0.0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.macs += formula(*args, **kwargs, out_val=out) / 2
        return out
