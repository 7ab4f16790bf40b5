"""CODA-Prompt's parts: weighted sums of prompt components that grow task by task.

Smith et al., "CODA-Prompt: COntinual Decomposed Attention-based Prompting for Rehearsal-Free
Continual Learning", CVPR 2023, https://arxiv.org/abs/2211.13218.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.errors import InputError
from cl_prompts.prompts.prefixes import prefix_plan
from cl_prompts.prompts.selectors import Selection, unit_rows, weights_of
from cl_prompts.prompts.task_aware import TaskAware, fix_before, need_task


def orthogonal_rows(past: Tensor, draws: Tensor) -> Tensor:
    """Draw orthonormal rows orthogonal to ``past``, by two QR decompositions.

    The rows of ``past`` need not be orthogonal; if they are, the result is that of the published
    sequential Gram-Schmidt, which otherwise is not orthogonal to them.

    Args:
        past: (blocks, p, dim).
        draws: (blocks, m, dim) random directions, p + m <= dim.

    Returns:
        (blocks, m, dim)
    """
    old = past.double().transpose(1, 2)
    new = draws.double().transpose(1, 2)
    if old.shape[2]:
        basis = torch.linalg.qr(old).Q
        new = new - basis @ (basis.transpose(1, 2) @ new)
    basis, triangle = torch.linalg.qr(new)
    # QR does not fix signs; a Gram-Schmidt vector points towards its draw.
    return (
        (basis * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]).transpose(1, 2).to(draws.dtype)
    )


def orthogonality(rows: Tensor) -> Tensor:
    """Penalty of rows (blocks, n, dim): mean of (X X^T - I)^2, summed over blocks."""
    gram = rows @ rows.transpose(1, 2)
    return (gram - torch.eye(rows.shape[1], device=rows.device)).square().mean(dim=(1, 2)).sum()


class GrowingRows(TaskAware):
    """Rows divided among tasks: earlier ones are frozen, later ones unused.

    With T tasks each has floor(size / T) rows; the remainder is unused. A task's rows are one
    Parameter, so that neither weight decay nor momentum changes them after the task. They are zero
    until the task starts, then drawn orthogonal to all earlier rows from torch's global generator.
    Task 0 starts at construction.

    Args:
        blocks: prompted blocks; each has its own rows.
        size: number of rows.
        width: of a row.
        n_tasks: number of tasks; None without task boundaries: all rows start orthogonal and train
            from the start.

    Raises:
        InputError: fewer rows than tasks, or more rows than can be orthogonal.

    Example:
        >>> rows = GrowingRows(blocks=1, size=10, width=16, n_tasks=5)
        >>> tuple(rows().shape)
        (1, 2, 16)
        >>> rows.start_task(1)
        >>> tuple(rows().shape), [p.requires_grad for p in rows.rows]
        ((1, 4, 16), [False, True, True, True, True])
    """

    def __init__(
        self,
        blocks: int,
        size: int,
        width: int,
        *,
        n_tasks: int | None = None,
    ) -> None:
        super().__init__()
        tasks = 1 if n_tasks is None else n_tasks
        if not 1 <= tasks <= size:
            raise InputError(
                f"{size} components cannot be divided among {tasks} tasks: each needs at least one"
            )
        if size // tasks * tasks > width:
            raise InputError(
                f"{size} components of width {width} cannot be orthogonal: give at most {width}"
            )
        self.n_tasks = n_tasks
        # One Parameter per task, since optimizers update whole Parameters.
        self.rows = nn.ParameterList(
            torch.zeros(blocks, size // tasks, width) for _ in range(tasks)
        )
        self._fill(0)
        self.task = 0

    def forward(self) -> Tensor:
        """(blocks, n, width) rows of all tasks up to the current one."""
        return torch.cat(list(self.rows)[: self.task + 1], dim=1)

    def start_task(self, task: int) -> None:
        """Freeze the rows so far and draw those of ``task``; do nothing without ``n_tasks``."""
        if self.n_tasks is not None:
            super().start_task(task)

    def add_task(self) -> None:
        """Append the rows of a further task."""
        assert self.n_tasks is not None
        self.n_tasks += 1
        self.rows.append(torch.zeros_like(self.rows[0]))

    def begin(self, task: int) -> None:
        """Draw the rows of ``task``."""
        need_task(task, len(self.rows), "components")
        self._fill(task)

    def fix_earlier(self) -> None:
        """Freeze the rows of earlier tasks."""
        fix_before(self.rows, self.task)

    @torch.no_grad()
    def _fill(self, task: int) -> None:
        mine = self.rows[task]
        # On the CPU, so that rows are the same on any device.
        past = torch.cat([mine[:, :0], *list(self.rows)[:task]], dim=1).cpu()
        mine.copy_(orthogonal_rows(past, torch.randn(mine.shape)))


class AttentionWeights(nn.Module):
    """Component weights by attention, w_bj = cos(q_b o A_j, K_j) per block.

    The query is not normalised before the product with the attention vectors A. Computed as ``q (A
    o K/|K|)^T / sqrt(q^2 (A^2)^T)``, two matrix products for all blocks.

    Args:
        blocks: number of prompted blocks; each has its own keys and attention vectors.
        size: components.
        dim: query width.
        n_tasks: see :class:`GrowingRows`.

    Example:
        >>> attention = AttentionWeights(blocks=5, size=10, dim=16)
        >>> tuple(attention(torch.randn(2, 16)).weights.shape)  # blocks, images, components
        (5, 2, 10)
    """

    count: Tensor

    def __init__(
        self,
        blocks: int,
        size: int,
        dim: int,
        *,
        n_tasks: int | None = None,
    ) -> None:
        super().__init__()
        self.key = GrowingRows(blocks, size, dim, n_tasks=n_tasks)
        self.attention = GrowingRows(blocks, size, dim, n_tasks=n_tasks)
        self.register_buffer("count", torch.zeros(sum(part.shape[1] for part in self.key.rows)))

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim), without gradient -> Selection of all rows so far, with weights."""
        key, attention = self.key(), self.attention()
        # numerators <q o A_j, K_j / |K_j|> of all blocks at once
        product = query @ (attention * unit_rows(key)).flatten(0, 1).T
        # |q o A_j|^2
        squared = query.square() @ attention.square().flatten(0, 1).T
        weights = (
            # 1e-24 under the root is the 1e-12 of F.normalize.
            (product / squared.clamp_min(1e-24).sqrt()).unflatten(1, key.shape[:2]).transpose(0, 1)
        )
        n = key.shape[1]
        return Selection(
            index=torch.arange(n, device=query.device).expand(query.shape[0], -1),
            distance=1 - weights.mean(dim=0),
            scale=torch.ones(n, device=query.device),
            weights=weights,
        )

    def add_task(self) -> None:
        """Add counts for a further task."""
        self.count = F.pad(self.count, (0, self.key.rows[0].shape[1]))

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Add absolute weights (means over blocks) to ``count``."""
        used = weights_of(selection).abs().mean(dim=0).sum(dim=0)
        self.count[: len(used)] += used

    def penalty(self) -> Tensor:
        """:func:`orthogonality` of keys plus attention vectors; earlier tasks get no gradient."""
        return orthogonality(self.key()) + orthogonality(self.attention())


class ComponentPool(nn.Module):
    """Prefixes that are weighted sums of components.

    Each component has ``length`` rows per block, half keys and half values, as published ("length
    8" is 4 keys and 4 values).

    Args:
        size: components.
        blocks: prompted blocks, 0-based.
        length: rows of a component, even.
        dim: token width.
        heads: attention heads of the ViT.
        n_tasks: see :class:`GrowingRows`; the same as the selector's.

    Example:
        >>> pool = ComponentPool(10, (0, 1), length=8, dim=16, heads=4)
        >>> weights = AttentionWeights(blocks=2, size=10, dim=16)
        >>> keys, values = pool.build(weights(torch.randn(3, 16))).prefix[1]
        >>> tuple(keys.shape)  # images, heads, keys, width of a head
        (3, 4, 4, 4)
    """

    def __init__(
        self,
        size: int,
        blocks: Sequence[int],
        length: int,
        dim: int,
        heads: int,
        *,
        n_tasks: int | None = None,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.length = length
        self.heads = heads
        self.values = GrowingRows(len(self.blocks), size, length * dim, n_tasks=n_tasks)

    def build(self, selection: Selection | None) -> PromptPlan:
        """Block -> keys and values, each (batch, heads, length / 2, dim / heads)."""
        # p = sum_j w_bj P_j
        mixed = weights_of(selection) @ self.values()  # (blocks, batch, length * dim)
        rows = mixed.unflatten(-1, (2, self.length // 2, -1))
        return prefix_plan(self.blocks, rows, self.heads)

    def penalty(self) -> Tensor:
        """:func:`orthogonality` of the flattened components; earlier tasks get no gradient."""
        return orthogonality(self.values())
