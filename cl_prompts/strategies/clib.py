"""CLIB: train on a memory of the most useful samples, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.head import HeadStrategy
from cl_prompts.training.buffers import ClassBalancedBuffer
from cl_prompts.training.rates import AdaptiveRate
from cl_prompts.training.schedules import learning_rate_factor


class CLIB(HeadStrategy):
    """Continual learning for i-Blurry (CLIB; Koh et al., ICLR 2022, arXiv 2110.10031). One class
    per image.

    A stream batch first enters the memory; every update then trains on ``buffer_batch_size``
    samples drawn from the memory alone, ``L = CE(memory batch)``. The fullest class makes room,
    with its sample of least importance: a sample's importance is how much the memory's mean loss
    fell when it was trained on, as a running mean
    (:class:`~cl_prompts.training.buffers.ClassBalancedBuffer`). Two neighbouring learning rates
    take turns and a test on those falls moves the pair
    (:class:`~cl_prompts.training.rates.AdaptiveRate`); all parameter groups move together, on top
    of ``schedule``.

    The memory's loss is observed every ``importance_every`` updates. On a frozen ViT this costs a
    head on features that are kept beside the slots, computed when a sample enters (one forward pass
    per stream sample, of that sample's first view); a fine-tuned ViT passes over the whole memory
    each time.

    Published settings (defaults): observed after every update, EMA 0.9, rates 1 and 0.95 times
    5e-3, 10 updates a phase, 10 observations a test, significance 0.05; frozen ViT, head by Adam,
    memory batch 32, 3 updates a batch. The script's memory is that of the other replay baselines,
    2000. Deviations from the published code, whose importances stay 0 and whose memory losses
          compare different numberings of the classes: see the two parts. No CutMix.

    Args:
        buffer_size: samples in the memory, at least 1.
        importance_every: updates between two observations of the memory's loss.
        importance_ema: share of the old importance that an observation keeps.
        lr_step: ratio of the lower to the higher rate.
        lr_period: updates for which a rate is in effect.
        lr_length: observations of each rate that a test compares.
        significance: of that test.
        **common: see :class:`~cl_prompts.strategies.base.head.HeadStrategy`.

    Raises:
        InputError: a number out of range, or no memory.
    """

    needs_buffer = True
    remember_first = True

    def __init__(
        self,
        *,
        buffer_size: int = 2000,
        importance_every: int = 1,
        importance_ema: float = 0.9,
        lr_step: float = 0.95,
        lr_period: int = 10,
        lr_length: int = 10,
        significance: float = 0.05,
        **common: Any,
    ) -> None:
        if importance_every < 1:
            raise InputError(f"importance_every is {importance_every}: it must be at least 1")
        # In units of each group's own rate.
        self.rate = AdaptiveRate(
            1.0, step=lr_step, period=lr_period, length=lr_length, significance=significance
        )
        self.importance_every, self.importance_ema = importance_every, importance_ema
        super().__init__(buffer_size=buffer_size, **common)
        keeps = not self.model.reads_images
        self.features = (
            torch.zeros(buffer_size, self.model.backbone.dim, device=self.device) if keeps else None
        )
        """(slots, dim) features of what the slots hold, on a frozen ViT."""

    def make_buffer(self, size: int, seed: int) -> ClassBalancedBuffer:
        """Equal numbers of each class, the least important sample of the fullest making room."""
        return ClassBalancedBuffer(
            size, width=2, policy="importance", ema=self.importance_ema, seed=seed
        )

    @torch.no_grad()
    def remember(self, rows: Tensor, labels: Tensor) -> None:
        """Into the memory, with features if these last; the mini-batch is the stream's at this
        moment."""
        slots = self.replay.add(rows, labels)
        if self.features is not None:
            stay = (slots >= 0).nonzero()[:, 0].to(self.device)
            self.features[slots.to(self.device)[stay]] = self.model.run(self.mb_x[stay]).features

    def _with_buffer(self, stream: list[Tensor]) -> list[Tensor]:
        """The memory batch alone."""
        joined, n = super()._with_buffer(stream), len(stream[0])
        self.columns = self.columns[n:]
        return [column[n:] for column in joined]

    def after_step(self) -> None:
        """Credit the samples just trained on with the fall of the memory's loss, and adapt the rate
        to it."""
        self.buffer.mark_trained(self.replayed)
        if (self.updates + 1) % self.importance_every:
            return
        self.rate.update(self.buffer.observe_losses(self.buffer_losses()), self.importance_every)
        self._set_learning_rate()

    def _set_learning_rate(self) -> None:
        """Each group's own rate, times the schedule's factor, times the adaptive one."""
        factor = (
            learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)
            * self.rate.lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    @torch.no_grad()
    def buffer_losses(self) -> Tensor:
        """(held samples,) cross-entropy of each under the current model."""
        held = len(self.buffer)
        if self.features is not None:
            logits = self.model.run(None, {"frozen": self.features[:held]}).logits
        else:
            slots = torch.arange(held).split(self.eval_mb_size)
            logits = torch.cat(
                [self.model(self.replay.read(some)[0][0].to(self.device)) for some in slots]
            )
        return F.cross_entropy(logits, self.buffer.labels[:held].to(self.device), reduction="none")

    def state_dict(self) -> dict[str, Any]:
        """The base's, the adaptive rate's and the kept features."""
        features = None if self.features is None else self.features.clone()
        return {**super().state_dict(), "rate": self.rate.state_dict(), "features": features}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self.rate.load_state_dict(state["rate"])
        if self.features is not None:
            self.features = state["features"].to(self.device)
