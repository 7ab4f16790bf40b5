"""LwF, learning without forgetting: an earlier model as teacher, no buffer (ECCV 2016)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from avalanche.benchmarks import CLExperience
from torch import Tensor, nn

from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.losses.distillation import distillation_loss
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.head import HeadStrategy


class LwF(HeadStrategy):
    """Learning without forgetting (Li and Hoiem, ECCV 2016, arXiv 1606.09282). No buffer.

    ``L = CE(batch) + distillation * KD`` with
    ``KD = -(1 / batch) sum softmax(old / T) log softmax(new / T)`` over the classes that the
    teacher had seen. The teacher is a copy taken at the end of each announced task or else every
    ``period`` samples; before the first one there is no second term. On a frozen ViT only the head
    is copied, with what its input passes through, and reads the student's features: no second pass.
    A fine-tuned ViT is copied whole, and an update costs one more forward pass. Multi-label (an
    addition, since KD by softmax is for exclusive classes): ``KD`` is the binary cross-entropy of
    ``sigmoid(new / T)`` to ``sigmoid(old / T)``, mean over the classes that the teacher had seen.

    Published settings (defaults): distillation 0.2, T 2, frozen ViT, head by Adam 5e-3, batch 64, 3
    updates a batch. Deviations from the published code: its teacher is the model of one batch ago
    (``teacher_from="batch"``), which preserves very little; it distils untrained rows, too.
    Avalanche's LwF plugin takes its teacher at the end of every experience, whether that is
    announced or not, and so is not used.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> lwf = LwF(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> lwf.teacher is None  # until the first task ends
        True
    """

    distillation: NotNegative = 0.2
    """Weight of the second term."""
    temperature: Positive = 2.0
    """Temperature T of both softmaxes."""
    teacher_from: Literal["task", "batch"] = "task"
    """When the teacher is copied: when a ``"task"`` ends or every ``period`` samples, or after
    every stream ``"batch"``."""
    period: Count | None = 1000
    """Stream samples between two copies where no boundary is announced; None for never."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.teacher: nn.Module | None = None
        """A copy of the head, or of the whole model where more than the head learns."""
        self.known = torch.zeros_like(self.model.seen)
        """Classes that the teacher had seen, (classes,) boolean."""

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross-entropy plus distillation from the teacher, if there is one."""
        loss = super().training_loss(output, batch)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            reads_images = self.model.reads_images
            old = self.teacher(batch.images if reads_images else output.cacheable["frozen"])
        return loss + self.distillation * self._distil(output.logits, old)

    def _distil(self, new: Tensor, old: Tensor) -> Tensor:
        if not self.model.multi_label:
            return distillation_loss(new, old, self.known, temperature=self.temperature)
        soft = (old / self.temperature).sigmoid()
        return multi_label_loss(new / self.temperature, soft, self.known)

    def observe_classes(self, labels: Tensor) -> None:
        """Observe classes; with ``teacher_from="batch"`` copy the teacher before."""
        if self.teacher_from == "batch" and self.updates:
            self.copy_teacher()
        super().observe_classes(labels)

    def finish_task(self) -> None:
        """Copy the teacher."""
        if self.teacher_from == "task":
            self.copy_teacher()

    def copy_teacher(self, state: dict[str, Tensor] | None = None) -> None:
        """Make the current model the teacher, or a state of it."""
        source = self.model if self.model.reads_images else self._head()
        if self.teacher is None:
            self.teacher = copy.deepcopy(source).requires_grad_(False).eval()
            if isinstance(self.teacher, PromptedViT):
                # Its passes count as a cost of the method.
                self.teacher.backbone.counter = self.model.backbone.counter
        self.teacher.load_state_dict(source.state_dict() if state is None else state)
        self.known = self.model.seen.clone()

    def _head(self) -> nn.Module:
        """Raw features -> logits, as the student's head sees it now."""
        head: nn.Module = self.model.head
        whitening: nn.Module | None = self.model.whitening
        return head if whitening is None else nn.Sequential(whitening, head)

    def state_dict(self) -> dict[str, Any]:
        """State of the base, and of the teacher if there is one."""
        teacher = None
        if self.teacher is not None:
            teacher = {k: v.clone() for k, v in self.teacher.state_dict().items()}
        return {**super().state_dict(), "teacher": teacher, "known": self.known.clone()}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self.teacher = None
        if state["teacher"] is not None:
            self.copy_teacher(state["teacher"])
        self.known = state["known"].to(self.device)
