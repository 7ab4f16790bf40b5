"""Selectors that choose an expert by a classifier of queries, not by keys."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.ridge import Expansion, RandomExpansion, RidgeStatistics
from cl_prompts.models.heads import LinearHead
from cl_prompts.prompts.selectors import Selection, count_choices
from cl_prompts.prompts.task_aware import TaskAware, need_task


class ExpertRouter(TaskAware):
    """Base of routers: the current expert in training, the one of best score else.

    Args:
        n_experts: number of experts, one per task.

    Example:
        >>> ExpertRouter(3)(torch.randn(2, 4)).index.tolist()  # in training
        [[0], [0]]
    """

    task_axes: ClassVar = {"count": 0}
    count: Tensor

    def __init__(self, n_experts: int) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.register_buffer("count", torch.zeros(n_experts))

    def grown(self) -> None:
        """Update the number of experts."""
        self.n_experts = len(self.count)

    @property
    def current(self) -> int:
        """The expert in training."""
        return max(self.task, 0)

    def begin(self, task: int) -> None:
        """Check that the expert exists."""
        need_task(task, self.n_experts, "prompts")

    def scores(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> (batch, experts), -inf for experts without data."""
        raise NotImplementedError

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim) -> Selection of one expert per image.

        ``distance`` is 1 - score in evaluation, 0 in training.
        """
        scale = torch.ones_like(self.count)
        if self.training:
            index = torch.full((len(query), 1), self.current, device=query.device)
            return Selection(index, query.new_zeros(len(query), self.n_experts), scale)
        scores = self.scores(query)
        return Selection(scores.argmax(dim=1, keepdim=True), (1 - scores).to(query.dtype), scale)

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Count a training batch's choices."""
        count_choices(selection.index, self.count)


class AnalyticRouter(ExpertRouter):
    """FlyPrompt's router: ridge regression of experts on queries (ICLR 2026).

    arXiv 2602.01976. With random features phi(q) = relu(q R) and the expert in training as target:
    ``U = (G + ridge I)^-1 Q``, and an image gets the expert argmax phi(q) U. Training uses the
    current expert, which changes with :func:`~cl_prompts.prompts.task_aware.start_task` at
    announced boundaries or at regular intervals.

    Deviation: only experts with queries compete. In the published code the others score exactly 0
    and win if all scores are negative. Published: 10,000 random features and a ridge of 1e4; G
    takes width^2 numbers.

    Args:
        n_experts: number of experts.
        dim: query width.
        width: number of random features.
        ridge: positive; its scale grows with the square of the queries' norm.
        expansion: distribution of R, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`.
        seed: of R.

    Example:
        >>> router = AnalyticRouter(2, 4, width=50, ridge=0.1)
        >>> here, there = torch.randn(30, 4) + 3, torch.randn(30, 4) - 3
        >>> router.update(here)
        >>> router.start_task(1)
        >>> router.update(there)
        >>> router.eval()(there).index.float().mean().item()
        1.0
    """

    weight: Tensor | None

    task_axes: ClassVar = {"count": 0, "weight": 1}
    trains_unasked: ClassVar[bool] = True
    """Training does not read the query."""

    def __init__(
        self,
        n_experts: int,
        dim: int,
        *,
        width: int = 2000,
        ridge: float = 1e4,
        expansion: Expansion = "normal",
        seed: int = 0,
    ) -> None:
        super().__init__(n_experts)
        self.ridge = ridge
        random = RandomExpansion(dim, width, expansion, seed=seed)
        self.statistics = RidgeStatistics(dim, n_experts, expansion=random)
        # Columns are experts, one per task.
        self.statistics.class_axes, self.statistics.task_axes = {}, {"cross": 1}
        self.register_buffer("weight", None, persistent=False)

    @torch.no_grad()
    def update(self, query: Tensor) -> None:
        """Add a stream batch's queries (batch, dim) once, with the current expert as target."""
        target = torch.zeros(len(query), self.n_experts, device=query.device)
        target[:, self.current] = 1
        with torch.autocast(query.device.type, enabled=False):
            self.statistics.add(self.statistics.inputs(query), target)
        self.weight = None

    @torch.no_grad()
    def scores(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> (batch, experts), -inf for experts without queries."""
        with torch.autocast(query.device.type, enabled=False):
            if self.weight is None:
                # U = (G + ridge I)^-1 Q
                self.weight = self.statistics.solve(self.ridge, "the router")
            scores = self.statistics.inputs(query) @ self.weight
        # Random features are not negative: a sum of 0 means no queries.
        known = (self.statistics.cross > 0).any(dim=0)
        return scores.masked_fill(~known, float("-inf"))

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the expert and discard the solution."""
        super().set_extra_state(state)
        self.weight = None


class TaskIdentity(nn.Module):
    """HiDe-Prompt's classifier of queries (NeurIPS 2023, arXiv 2310.07234).

    A residual mapping ``m(q) = LN(q + W2 gelu(W1 q + b1) + b2)``, with a hidden layer twice as wide
    as the query, and a linear head over the classes of the data set. Published training: Adam, 20
    epochs a task on the current classes, then alignment with samples of the queries' class
    statistics (:class:`~cl_prompts.training.gaussian_alignment.GaussianHeadAlignment`).

    Args:
        dim: query width.
        n_classes: columns of the logits.

    Example:
        >>> TaskIdentity(16, 5)(torch.randn(3, 16)).shape
        torch.Size([3, 5])
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.head = LinearHead(dim, n_classes, "uniform")

    def mapped(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> m(q), (batch, dim)."""
        return self.norm(query + self.mapping(query))

    def forward(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> logits (batch, classes)."""
        return self.head(self.mapped(query))


class HeadRouter(ExpertRouter):
    """Router to the task of an image's most likely class (HiDe-Prompt, NeurIPS 2023).

    arXiv 2310.07234. Training uses the current task's prompts and ignores the classifier (the
    published code runs it and discards the result). A class belongs to the task in which
    :meth:`own` first met it.

    Args:
        classifier: queries (batch, dim) -> logits (batch, classes), such as :class:`TaskIdentity`.
        n_classes: columns of its logits.
        n_tasks: entries of the pool.

    Example:
        >>> router = HeadRouter(nn.Linear(4, 6), 6, n_tasks=3)
        >>> for task in range(3):
        ...     router.start_task(task)
        ...     router.own(torch.tensor([2 * task, 2 * task + 1]))
        >>> router.eval()(torch.randn(5, 4)).index.shape
        torch.Size([5, 1])
    """

    class_axes: ClassVar = {"task_of": 0}
    task_of: Tensor

    def __init__(self, classifier: nn.Module, n_classes: int, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self.classifier = classifier
        self.register_buffer("task_of", torch.full((n_classes,), -1))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Assign new classes to no task."""
        rows.fill_(-1 if name == "task_of" else 0)

    @property
    def seen(self) -> Tensor:
        """(classes,) boolean: classes that belong to a task."""
        return self.task_of >= 0

    @torch.no_grad()
    def own(self, labels: Tensor) -> None:
        """Assign the new classes among ``labels`` (any shape) to the current task."""
        present = torch.zeros_like(self.task_of, dtype=torch.bool)
        present.index_fill_(0, labels.flatten(), True)
        self.task_of.masked_fill_(present & ~self.seen, self.current)

    def scores(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> (batch, tasks) logit of each task's best class."""
        logits = self.classifier(query).masked_fill(~self.seen, float("-inf"))
        own = self.task_of[:, None] == torch.arange(self.n_experts, device=query.device)
        return torch.where(own, logits[:, :, None], float("-inf")).amax(dim=1)
