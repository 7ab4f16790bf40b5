"""Selectors that name an expert by a classifier of queries instead of learned keys."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_prompts.checks import whole_number
from cl_prompts.models.ridge import Expansion, RidgeStatistics, check_ridge
from cl_prompts.prompts.selectors import Selection, count_choices
from cl_prompts.prompts.task_aware import TaskAware

EXPERTS = "experts"


class AnalyticRouter(TaskAware):
    """FlyPrompt's router (ICLR 2026, arXiv 2602.01976): ridge regression from randomly expanded
    queries to the expert that was being trained when they came.

    With phi(q) = relu(q R): ``U = (G + ridge I)^-1 Q``, an image gets the expert argmax phi(q) U.
    Training uses the current expert, which moves on by
    :func:`~cl_prompts.prompts.task_aware.start_task`: at announced boundaries or by a clock that
    counts samples (:class:`~cl_prompts.training.clock.SampleClock`). U is solved for when an
    evaluation asks for it after new queries came in.

    Deviation: only experts that have started compete. In the published code the others score
    exactly 0 and win where all started ones are negative. Published settings are 10,000 random
    features and a ridge of 1e4; G takes width^2 numbers.

    Args:
        n_experts: experts in all.
        dim: width of a query.
        width: random features.
        ridge: positive; its right size grows with the square of the queries' norm.
        expansion: distribution of R, see :class:`~cl_prompts.models.ridge.RandomExpansion`.
        seed: of R.
        dtype: of sums and solution.

    Raises:
        InputError: a number out of range.

    Example:
        >>> router = AnalyticRouter(2, 4, width=50, ridge=0.1)
        >>> here, there = torch.randn(30, 4) + 3, torch.randn(30, 4) - 3
        >>> router.take_in(here)
        >>> router.start_task(1)
        >>> router.take_in(there)
        >>> router.eval()(there).index.float().mean().item()
        1.0
    """

    count: Tensor
    weight: Tensor | None

    def __init__(
        self,
        n_experts: int,
        dim: int,
        *,
        width: int = 2000,
        ridge: float = 1e4,
        expansion: Expansion = "normal",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        whole_number("n_experts", n_experts)
        check_ridge("the router", ridge)
        self.n_experts = n_experts
        self.ridge = ridge
        self.statistics = RidgeStatistics(
            dim, {EXPERTS: n_experts}, expansion=expansion, width=width, seed=seed, dtype=dtype
        )
        self.register_buffer("count", torch.zeros(n_experts))
        self.register_buffer("weight", None, persistent=False)

    @property
    def current(self) -> int:
        """The expert in training."""
        return max(self.task, 0)

    def begin(self, task: int) -> None:
        """Check that there is such an expert."""
        whole_number("expert", task, 0, self.n_experts - 1, "n_experts - 1")

    @torch.no_grad()
    def take_in(self, query: Tensor) -> None:
        """Take in the queries (batch, dim) of a stream batch, of images as evaluation sees them,
        once: their target is the current expert."""
        target = torch.zeros(len(query), self.n_experts, device=query.device)
        target[:, self.current] = 1
        with torch.autocast(query.device.type, enabled=False):
            self.statistics.add(self.statistics.inputs(query), {EXPERTS: target})
        self.weight = None

    @torch.no_grad()
    def scores(self, query: Tensor) -> Tensor:
        """Queries (batch, dim) -> (batch, experts) in the statistics' precision; -inf for experts
        that have not started."""
        with torch.autocast(query.device.type, enabled=False):
            if self.weight is None:
                self.weight = self.statistics.solve(self.ridge, "the router")[EXPERTS]
            scores = self.statistics.inputs(query) @ self.weight
        scores[:, self.current + 1 :] = float("-inf")
        return scores

    def forward(self, query: Tensor) -> Selection:
        """Query (batch, dim) -> Selection of one expert an image; distance is 1 - score in
        evaluation and carries no gradient."""
        scale = torch.ones_like(self.count)
        if self.training:
            index = torch.full((len(query), 1), self.current, device=query.device)
            return Selection(index, query.new_zeros(len(query), self.n_experts), scale)
        scores = self.scores(query)
        return Selection(scores.argmax(dim=1, keepdim=True), (1 - scores).to(query.dtype), scale)

    @torch.no_grad()
    def observe(self, selection: Selection) -> None:
        """Count a training batch's choices."""
        self.count += count_choices(selection.index, self.n_experts)

    def set_extra_state(self, state: Tensor) -> None:
        """The expert; a solution from before is thrown away."""
        super().set_extra_state(state)
        self.weight = None
