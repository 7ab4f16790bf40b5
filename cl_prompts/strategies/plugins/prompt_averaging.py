"""Prompt averaging: evaluation by a Gaussian average of prompts over the course of a task."""

from __future__ import annotations

from typing import Any

from cl_prompts.checks import Positive, Size
from cl_prompts.prompts.parameterisations import Reparameterised
from cl_prompts.prompts.wrapped import AveragedPrompts
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.prompt_form import slots_of, value_pools


class PromptAveraging(StrategyPlugin):
    """Gaussian average of a task's prompts for evaluation (PromptSRC, ICCV 2023, arXiv 2307.06948;
    :class:`~cl_prompts.prompts.wrapped.AveragedPrompts`).

    Checkpoints are taken at equal distances, in stream samples, of an announced task with all its
    epochs, or of ``period`` samples. The published average is of 20 epochs and replaces the weights
    at the end; here training goes on from the weights as they are.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> averaging = PromptAveraging(checkpoints=10)
        >>> one = OnePrompt(**given, plugins=[averaging], period=300, device="cpu")
        >>> type(one.model.pools[0]).__name__
        'AveragedPrompts'
    """

    needs = "prompt_form"

    checkpoints: Size = 20
    """Checkpoints of a task, or of ``period`` samples; 0: evaluation uses the prompts as they
    are."""
    mean: Positive | None = None
    """Number of the checkpoint with the greatest weight, from 1; None: three quarters of all.
    PromptSRC: 15 of 20."""
    std: Positive | None = None
    """Width of the average, in checkpoints; None: a tenth of all. PromptSRC: 1 of 20."""

    def attach(self, strategy: Any) -> None:
        """Wrap the pools of the strategy's model."""
        self.n_samples = 0
        """Samples of the current task or period that are done, of all epochs."""
        self.taken = 0
        """Checkpoints of it that were taken."""
        self.state.add("n_samples", "taken")
        if not self.checkpoints:
            return
        pools: Any = getattr(strategy.model, "pools", ())
        if any(isinstance(pool, Reparameterised) for pool in pools):
            raise self.refusal(
                "averages the values of prompts, and an encoder makes prompts of them",
                "give one of the two",
            )
        wrapped = value_pools(strategy.model)
        if not wrapped:
            raise self.refusal(
                f"averages entries of pools, and {type(strategy).__name__} has none of that kind"
            )
        for i in wrapped:
            pools[i] = AveragedPrompts(
                pools[i],
                self.checkpoints,
                mean=self.mean,
                std=self.std,
                slots=slots_of(strategy.model, pools[i]),
            )

    def end_of_stream_batch(self, strategy: Any, samples: int) -> None:
        """Take the checkpoints that are due."""
        length = strategy.period or 0
        if strategy.announced:
            length = len(whole_of(strategy.experience).dataset) * strategy.train_epochs
        if not self.checkpoints or not length:
            return
        self.n_samples += samples
        # Checkpoints are spread evenly over samples, whatever the size of a batch; several may fall
        # due at once.
        due = min(self.n_samples * self.checkpoints // length, self.checkpoints)
        for pool in strategy.model.pools:
            if not isinstance(pool, AveragedPrompts):
                continue
            if due and not self.taken:  # until now evaluation used the average of the span before
                pool.restart()
            for _ in range(self.taken, due):
                pool.take_checkpoint()
        self.taken = due

    def end_of_task(self, strategy: Any) -> None:
        """Let the next checkpoint be the first of an average."""
        self.n_samples = 0
        self.taken = 0
