"""Distillation: logits held to those of an earlier copy of the model (LwF, ECCV 2016)."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cl_prompts.checks import NotNegative, Positive
from cl_prompts.losses.distillation import distillation_loss
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.task_pass import head_of


class Distillation(StrategyPlugin):
    """Distillation from an earlier copy of the model (LwF, Li and Hoiem, ECCV 2016, arXiv
    1606.09282).

    Adds ``weight * KD`` with ``KD = -(1 / batch) sum softmax(old / T) log softmax(new / T)`` over
    the classes that the teacher had seen. The teacher is a copy taken at the end of each announced
    task or else every ``period`` samples; before the first one there is no term. On a frozen ViT
    without prompts only the head is copied, with its input, and reads the student's features: no
    second pass. Otherwise the model is copied whole, and an update costs one more forward pass.
    Multi-label (an addition, since KD by softmax is for exclusive classes): ``KD`` is the binary
    cross-entropy of ``sigmoid(new / T)`` to ``sigmoid(old / T)``, mean over the classes that the
    teacher had seen.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LwF
        >>> lwf = LwF(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> lwf.plugin(Distillation).teacher is None  # until the first task ends
        True
    """

    needs = "head"
    class_axes: ClassVar = {"known": 0}

    weight: NotNegative = 0.2
    """Weight of the term."""
    temperature: Positive = 2.0
    """Temperature T of both softmaxes."""
    teacher_from: Literal["task", "batch"] = "task"
    """When the teacher is copied: when a ``"task"`` ends or every ``period`` samples, or after
    every stream ``"batch"``."""

    def attach(self, strategy: Any) -> None:
        """Begin without a teacher."""
        self.check_head(strategy)
        self.teacher: nn.Module | None = None
        """A copy of the head, or of the whole model where more than the head learns."""
        self.known = torch.zeros_like(strategy.model.seen, device=strategy.device)
        """Classes that the teacher had seen, (classes,) boolean."""
        self._model: PromptedViT = strategy.model
        self.state.add("known")

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the distance from the teacher, if there is one."""
        if self.teacher is None:
            return
        with torch.no_grad():
            # A head on a frozen ViT needs no second pass: its features are those of the student.
            if self._model.reads_images:
                old = self.teacher(strategy.batch.images)
            else:
                old = self.teacher(strategy.output.cacheable["frozen"])
        strategy.loss = strategy.loss + self.weight * self._distance(strategy.output.logits, old)

    def _distance(self, new: Tensor, old: Tensor) -> Tensor:
        if not self._model.multi_label:
            return distillation_loss(new, old, self.known, temperature=self.temperature)
        soft = (old / self.temperature).sigmoid()
        return multi_label_loss(new / self.temperature, soft, self.known)

    def end_of_stream_batch(self, strategy: Any, samples: int) -> None:
        """Copy the teacher, with ``teacher_from="batch"``."""
        if self.teacher_from == "batch":
            self.copy_teacher()

    def end_of_task(self, strategy: Any) -> None:
        """Copy the teacher, with ``teacher_from="task"``."""
        if self.teacher_from == "task":
            self.copy_teacher()

    def copy_teacher(self, state: dict[str, Tensor] | None = None) -> None:
        """Make the current model the teacher, or a state of it."""
        source = self._student()
        if self.teacher is None:
            vit = self._model.backbone
            # A frozen ViT serves both; the teacher's passes count as a cost of the method.
            shared = {id(vit.counter): vit.counter} if vit.trainable else {id(vit): vit}
            self.teacher = copy.deepcopy(source, shared).requires_grad_(False).eval()
        # Not strict, since what is learned leaves the frozen ViT out.
        self.teacher.load_state_dict(_learned(source) if state is None else state, strict=False)
        self.known = self._model.seen.clone()

    def _student(self) -> nn.Module:
        """Part that the teacher copies: the model, or its head with what it reads."""
        return self._model if self._model.reads_images else head_of(self._model).module

    def state_dict(self) -> dict[str, Any]:
        """The registered state, and that of the teacher if there is one."""
        teacher = None
        if self.teacher is not None:
            teacher = {name: value.clone() for name, value in _learned(self.teacher).items()}
        return {**super().state_dict(), "teacher": teacher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.teacher = None
        if state["teacher"] is not None:
            self.copy_teacher(state["teacher"])
        super().load_state_dict({name: state[name] for name in state if name != "teacher"})


def _learned(module: nn.Module) -> dict[str, Tensor]:
    """State of a head, or of a model without its frozen backbone."""
    return module.learned_state() if isinstance(module, ContinualModel) else module.state_dict()
