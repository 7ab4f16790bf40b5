"""Avalanche's own evaluation of a strategy, ``strategy.eval(stream)``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.utils.data import DataLoader

from cl_prompts.backbones.pixels import check_pixels, check_targets
from cl_prompts.datasets.collate import HeldOutItems
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.metrics.evaluator import check_finite
from cl_prompts.models.heads import finite
from cl_prompts.strategies.base.experience import classes_of, highest_class


class AvalancheEvaluation(SupervisedTemplate):
    """The part of a strategy that Avalanche's evaluation calls."""

    growing: bool
    _evaluated = 0  # test images of the experience
    _beyond = 0  # classes of its tests behind those of a growing head

    def _before_eval_exp(self, **kwargs: Any) -> None:
        # A growing head has no columns yet for the classes of tasks to come.
        own = highest_class([self.experience]) if self.growing else 0
        self._beyond = max(0, own + 1 - self.model.n_classes)
        self._evaluated = 0
        super()._before_eval_exp(**kwargs)

    def make_eval_dataloader(
        self, num_workers: int = 0, pin_memory: bool | None = None, **kwargs: Any
    ) -> None:
        """Make the loader of test images, of which each has one view."""
        data: Any = self.adapted_dataset
        self.dataloader = DataLoader(
            HeldOutItems(data, data.targets),
            self.eval_mb_size,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            # A private one, so that evaluations do not change training.
            generator=torch.Generator(),
        )

    def forward(self) -> Tensor:
        """Logits for Avalanche, with a large finite negative for masked classes, so that any loss
        or metric stays finite."""
        model, images = self.model, self.mb_x
        if not self._evaluated:
            vit, n_classes = model.backbone, model.n_classes + self._beyond
            check_pixels(images, vit.image_size, normalised=not vit.normalises)
            check_targets(self.mb_y, n_classes, multi_label=model.multi_label)
        logits = model.run(images).logits
        check_finite(torch.arange(self._evaluated, self._evaluated + len(logits)), logits)
        self._evaluated += len(logits)
        return finite(F.pad(logits, (0, self._beyond), value=-torch.inf))

    def criterion(self) -> Tensor:
        """Loss in evaluation: plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)
