"""Learning rates of prompts apart from that of the head, and rates that go with the batch size."""

from __future__ import annotations

from typing import Literal

import torch
from torch.optim import Optimizer

from cl_prompts.checks import Positive
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.online import OnlineStrategy

RateScaling = Literal["none", "batch/256"]

#: Stream samples of a batch that ``lr_scaling="batch/256"`` leaves rates as they are for.
UNIT_BATCH = 256


class PromptRates(OnlineStrategy):
    """Base of all methods that train prompts: rates of their own for prompts and head.

    Parameters that come while the stream runs, such as those of a new lane or task, enter the group
    of their kind. Schedules multiply each group's own rate.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, lr=0.001, prompt_lr=0.01, device="cpu")
        >>> [group["lr"] for group in one.optimizer.param_groups]
        [0.001, 0.01]
    """

    prompt_lr: Positive | None = None
    """Learning rate of prompts, keys, selectors and all else but the head; None: that of the head,
    ``lr``."""
    lr_scaling: RateScaling = "none"
    """``"none"``, rates are as given; ``"batch/256"``: all rates are multiplied by
    ``train_mb_size / 256``, as the published code of L2P, its descendants and MULTI-LANE does with
    the rates of their scripts."""

    def check_settings(self) -> None:
        """Refuse rates beside an optimizer that was given."""
        super().check_settings()
        if self.optimizer is None:
            return
        for name in ("prompt_lr", "lr_scaling"):
            if getattr(self, name) != PromptRates.settings()[name].default:
                raise InputError(
                    f"{name} sets rates of the optimizer that the strategy makes, and one was"
                    " given: leave one of the two out"
                )

    def is_head(self, name: str) -> bool:
        """Whether a parameter of the model, by its name, belongs to the head."""
        return name.startswith(("head.", "logit_mask."))

    def group_rates(self) -> list[float]:
        """Unscaled rates of the optimizer's groups: of all, or of head and prompts."""
        return [self.lr] if self.prompt_lr is None else [self.lr, self.prompt_lr]

    def group_of(self, name: str) -> int:
        """Number of the optimizer's group that a parameter belongs to."""
        return 0 if self.prompt_lr is None or self.is_head(name) else 1

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Adam without weight decay, with a group for each rate."""
        scale = 1.0 if self.lr_scaling == "none" else self.train_mb_size / UNIT_BATCH
        groups: list[dict[str, object]] = []
        for i, rate in enumerate(self.group_rates()):
            mine = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and self.group_of(name) == i
            ]
            groups.append({"params": mine, "lr": rate * scale})
        return torch.optim.Adam(groups, lr * scale)
