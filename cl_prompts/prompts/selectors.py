"""Selectors, which choose the prompts of an image by its query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cl_prompts.backbones.injection import Entry
from cl_prompts.backbones.vit import FrozenViT

Distribution = Literal["normal", "uniform", "small"]

#: Initial values by name. L2P's and DualPrompt's JAX code uses "small"; their PyTorch ports, which
#: gave the ports' published numbers, use "uniform".
INITIAL: dict[Distribution, Callable[[Sequence[int]], Tensor]] = {
    "normal": lambda shape: torch.randn(*shape),
    "uniform": lambda shape: torch.rand(*shape) * 2 - 1,
    "small": lambda shape: torch.rand(*shape) * 0.01,
}


def drawn(shape: Sequence[int], initial: Distribution) -> nn.Parameter:
    """Draw a parameter from N(0, 1) ("normal"), U(-1, 1) ("uniform") or U[0, 0.01) ("small")."""
    return nn.Parameter(INITIAL[initial](shape))


class _UnitRows(torch.autograd.Function):
    """Unit rows with a derivative of 4 kernels instead of autograd's 17."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        # clamped as in F.normalize
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
        unit = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # (g - u (u . g)) / |x|
        unit, length = ctx.saved_tensors
        along = (gradient * unit).sum(dim=-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1) / length


def unit_rows(rows: Tensor) -> Tensor:
    """Normalise rows (..., dim) as ``F.normalize`` does; differentiable once.

    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    learns = rows.requires_grad and torch.is_grad_enabled()
    return _UnitRows.apply(rows) if learns else F.normalize(rows, dim=-1)


@dataclass(frozen=True)
class ClassTokenQuery:
    """Query function: the class token of the unprompted frozen ViT, or what it reads instead.

    Args:
        skip_last: leave out the last block (MVP).
        norm: apply the final norms (L2P, DualPrompt, CODA-Prompt; not MVP).
        blocks: run this many blocks instead; None for all but what ``skip_last`` leaves out.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> query = ClassTokenQuery(skip_last=True, norm=False)  # MVP's
        >>> tuple(query(vit, vit.embed(torch.rand(2, 3, 32, 32))).shape)
        (2, 128)
    """

    skip_last: bool = False
    norm: bool = True
    blocks: int | None = None

    def stop(self, backbone: FrozenViT) -> int:
        """Number of blocks that the query passes."""
        return self.blocks or backbone.depth - self.skip_last

    @torch.no_grad()
    def __call__(
        self,
        backbone: FrozenViT,
        tokens: Tensor,
        entry: Entry | None = None,
        scores: list[Tensor] | None = None,
    ) -> Tensor:
        """Embedded tokens (batch, n, dim) -> query (batch, dim) in fp32, without gradient.

        ``scores`` gets the :func:`~cl_prompts.backbones.attention.token_scores`.
        """
        read = replace(backbone.own, normed=self.norm)
        stop = self.stop(backbone)
        return backbone.class_features(tokens, stop=stop, entry=entry, read=read, scores=scores)


@dataclass(frozen=True)
class Selection:
    """The prompts that a selector chose for a batch.

    Attributes:
        index: (batch, k) chosen rows of the pool.
        distance: (batch, pool) cosine distance 1 - cos(query, key), with gradient to the keys; the
            mean over blocks where keys differ by block.
        scale: (pool,) constant factor on the distances in the choice.
        weights: (blocks, batch, k) weight of each chosen row in each block, of any sign, or None.
        unit: (pool, dim) unit keys with gradient; None where keys differ by block.

    Example:
        >>> index, distance = torch.tensor([[2]]), torch.tensor([[1.0, 1.0, 0.25]])
        >>> Selection(index, distance, scale=torch.ones(3)).match
        tensor(0.7500)
    """

    index: Tensor
    distance: Tensor
    scale: Tensor
    weights: Tensor | None = None
    unit: Tensor | None = None

    @property
    def match(self) -> Tensor:
        """Scalar S to maximise: cos(query, key) of chosen rows, summed, mean over the batch.

        L2P and DualPrompt subtract lambda * S from the loss, the only term that trains their keys.
        The CODA-Prompt repository adds the sum of ``distance`` over batch and chosen rows instead,
        which is batch * (k - S).
        """
        return (1 - self.distance).gather(1, self.index).sum(dim=1).mean()


def weights_of(selection: Selection | None) -> Tensor:
    """Return the weights (blocks, batch, k) of a selection that has some."""
    assert selection is not None
    assert selection.weights is not None
    return selection.weights


class Selector(Protocol):
    """Interface of selectors.

    ``index`` may differ between training and evaluation mode, but does not depend on a task id.

    Example:
        >>> class FirstPrompt:
        ...     def __call__(self, query: Tensor) -> Selection:
        ...         index = torch.zeros(len(query), 1, dtype=torch.int64)
        ...         return Selection(index, torch.ones(len(query), 4), torch.ones(4))
        ...     def observe(self, selection: Selection) -> None:
        ...         pass
        >>> selector: Selector = FirstPrompt()
        >>> selector(torch.randn(2, 16)).index.tolist()
        [[0], [0]]
    """

    def __call__(self, query: Tensor) -> Selection:
        """Query (batch, dim), without gradient -> Selection."""
        ...

    def observe(self, selection: Selection) -> None:
        """Count a training batch's choices in ``count`` (prompts,) of the innermost selector."""
        ...


class NearestKeys(nn.Module):
    """Top-k of a pool by cosine distance between query and learned keys.

    With ``count_scaled`` the distance to a key is multiplied by 1 + its selections in training,
    which favours rarely used prompts (MVP, section 2.2 of its published code; also at test time).
    Counts grow without bound and are saved with the model.

    Args:
        size: prompts in the pool.
        dim: query width.
        k: prompts per image; ties go to the lowest row.
        count_scaled: see above.
        initial: distribution of the initial keys, see :func:`drawn`.

    Example:
        >>> keys = NearestKeys(3, 2, count_scaled=True)
        >>> keys.key.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> selection = keys(torch.tensor([[2.0, 1.0]]))
        >>> keys.observe(selection)
        >>> selection.index.tolist(), keys.count.tolist()
        ([[0]], [1.0, 0.0, 0.0])
    """

    task_axes: ClassVar = {"key": 0, "count": 0}
    count: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        k: int = 1,
        count_scaled: bool = False,
        initial: Distribution = "normal",
    ) -> None:
        super().__init__()
        self.k = k
        self.count_scaled = count_scaled
        self.initial = initial
        self.key = drawn((size, dim), initial)
        self.register_buffer("count", torch.zeros(size))

    @property
    def size(self) -> int:
        """Prompts in the pool."""
        return len(self.key)

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the keys of further prompts."""
        if name == "key":
            rows.copy_(INITIAL[self.initial](rows.shape))

    def forward(self, query: Tensor, *, rows: int | None = None) -> Selection:
        """Select the k nearest prompts.

        Args:
            query: (batch, dim), without gradient.
            rows: choose among the first ``rows`` rows, at least k; None: all.
        """
        unit = unit_rows(self.key)
        distance = 1 - unit_rows(query) @ unit.T
        # A copy, since counts change later.
        scale = self.count + 1 if self.count_scaled else torch.ones_like(self.count)
        # A stable sort gives ties to the lowest row.
        scaled = (distance.detach() * scale)[:, :rows]
        index = torch.sort(scaled, dim=1, stable=True).indices[:, : self.k]
        return Selection(index, distance, scale, unit=unit)

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Count a training batch's choices."""
        count_choices(selection.index, self.count)


def count_choices(index: Tensor, count: Tensor) -> Tensor:
    """Add the occurrences of each row in ``index`` (batch, k) to ``count`` (size,)."""
    # Unlike bincount it never synchronises with a GPU.
    return count.scatter_(0, index.flatten(), 1.0, reduce="add")
