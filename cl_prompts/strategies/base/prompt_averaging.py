"""Gaussian averages of prompts over the course of a task, for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.benchmarks import CLExperience
from torch import nn

from cl_prompts.checks import Positive, Size
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.prompts.wrapped import AveragedPrompts
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.prompt_writing import ENTRIES, slots_of
from cl_prompts.strategies.base.self_regulation import SelfRegulation


class PromptAveraging(SelfRegulation):
    """Base of the methods whose prompts can be averaged for evaluation (see
    :class:`~cl_prompts.prompts.wrapped.AveragedPrompts`).

    Checkpoints are taken at equal distances, in stream samples, of an announced task with all its
    epochs, or of ``period`` samples. The published average is of 20 epochs and replaces the weights
    at the end; here training goes on from the weights as they are.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, average_checkpoints=10, period=300, device="cpu")
        >>> type(one.model.pools[0]).__name__
        'AveragedPrompts'
    """

    average_checkpoints: Size = 0
    """Checkpoints of a task, or of ``period`` samples, whose Gaussian average evaluation uses
    (PromptSRC); 0: evaluation uses the prompts as they are."""
    average_mean: Positive | None = None
    """Number of the checkpoint with the greatest weight, from 1; None: three quarters of all.
    PromptSRC: 15 of 20."""
    average_std: Positive | None = None
    """Width of the average, in checkpoints; None: a tenth of all. PromptSRC: 1 of 20."""

    def fit_head(self, model: ContinualModel) -> None:
        """Give a model that was just built head and head input, and its prompts the form of the
        settings."""
        if self.average_checkpoints and self.prompt_encoder != "none":
            raise InputError(
                "average_checkpoints averages the values of prompts, and prompt_encoder makes"
                " prompts of them: give one of the two"
            )
        super().fit_head(model)
        if not self.average_checkpoints:
            return
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        selector: nn.Module | None = model.selector  # type: ignore[assignment]
        for i, pool in enumerate(pools):
            if hasattr(pool, "values") and hasattr(pool, "build_from"):
                pools[i] = AveragedPrompts(
                    pool,
                    self.average_checkpoints,
                    mean=self.average_mean,
                    std=self.average_std,
                    slots=slots_of(selector) if isinstance(pool, ENTRIES) else 0,
                )
        if not any(isinstance(pool, AveragedPrompts) for pool in pools):
            raise InputError(
                f"average_checkpoints averages entries of pools, and {type(self).__name__} has"
                " none of that kind: leave it out"
            )

    def forms(self) -> dict[str, str | int]:
        """Those of the base, and the average."""
        return {**super().forms(), "average_checkpoints": self.average_checkpoints}

    @property
    def averaged(self) -> list[AveragedPrompts]:
        """Pools of which evaluation uses averages."""
        pools = getattr(self.model, "pools", ())
        return [pool for pool in pools if isinstance(pool, AveragedPrompts)]

    _in_span: int = 0
    """Samples of the current task or period that are done, of all epochs."""
    _taken: int = 0
    """Checkpoints of it that were taken."""

    def after_batch(self, samples: int) -> None:
        """Take the checkpoints that are due."""
        super().after_batch(samples)
        pools = self.averaged
        length = self.period or 0
        if self.announced:
            length = len(whole_of(self.experience).dataset) * self.train_epochs
        if not pools or not length:
            return
        self._in_span += samples
        due = min(self._in_span * self.average_checkpoints // length, self.average_checkpoints)
        for pool in pools:
            if due and not self._taken:  # until now evaluation used the average of the span before
                pool.restart()
            for _ in range(self._taken, due):
                pool.take_checkpoint()
        self._taken = due

    def finish_task(self) -> None:
        """Let the next checkpoint be the first of an average."""
        super().finish_task()
        self._in_span = 0
        self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """State of the base, and the place between checkpoints."""
        return {**super().state_dict(), "average": [self._in_span, self._taken]}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self._in_span, self._taken = state["average"]
