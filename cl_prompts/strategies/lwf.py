"""Learning without forgetting: the model is held to what it said a while ago, on the images of
today."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.losses.distillation import distillation_loss
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.fine_tuning import FineTuning


class LwF(FineTuning):
    """Learning without forgetting (Li and Hoiem, ECCV 2016, arXiv 1606.09282). No memory.

    ``L = CE(batch) + distillation * KD`` with
    ``KD = -(1 / batch) sum softmax(old / T) log softmax(new / T)`` over the classes that the
    teacher had seen. The teacher is a copy taken at the end of each announced task or else every
    ``period`` samples; before the first one there is no second term. On a frozen ViT only the head
    is copied and reads the student's features: no second pass. A fine-tuned ViT is copied whole,
    and an update costs one more forward pass. Multi-label (an addition, KD by softmax being for
    exclusive classes): ``KD`` is the binary cross-entropy of ``sigmoid(new / T)`` to
    ``sigmoid(old / T)``, mean over the classes that the teacher had seen.

    Published settings (defaults): distillation 0.2, T 2, frozen ViT, head by Adam 5e-3, batch 64, 3
    updates a batch. Deviations from the published code: its teacher is the model of one batch ago
    (``teacher="batch"``), which holds on to very little; it distils untrained rows too. Avalanche's
    LwF plugin takes its teacher at the end of every experience, whether that is announced or not,
    and so is not used.

    Args:
        distillation: weight of the second term.
        temperature: T.
        teacher: ``"task"``: copied when a task ends or every ``period`` samples; ``"batch"``: after
            every stream batch.
        period: stream samples between two copies where no boundary is announced; None for never.
        backbone_lr: learning rate of the backbone; 0 keeps it frozen.
        weight_decay: of AdamW, which without it is Adam.
        **common: see :class:`~cl_prompts.strategies.FineTuning`.

    Raises:
        InputError: a number out of range or an unknown teacher.
    """

    def __init__(
        self,
        *,
        distillation: float = 0.2,
        temperature: float = 2.0,
        teacher: str = "task",
        period: int | None = 1000,
        backbone_lr: float = 0.0,
        weight_decay: float = 0.0,
        **common: Any,
    ) -> None:
        if not distillation >= 0 or not temperature > 0:
            raise InputError(
                f"distillation is {distillation} and temperature is {temperature}: the first cannot"
                " be negative, the second must be positive"
            )
        if teacher not in ("task", "batch"):
            raise InputError(f"teacher {teacher!r} is not known: it is 'task' or 'batch'")
        super().__init__(
            period=period, backbone_lr=backbone_lr, weight_decay=weight_decay, **common
        )
        self.distillation, self.temperature, self.teacher_of = distillation, temperature, teacher
        self.teacher: nn.Module | None = None
        """A copy of the head, or of the whole model where more than the head learns."""
        self.known = torch.zeros_like(self.model.seen)
        """Classes that the teacher had seen, (classes,) boolean."""

    def training_loss(self) -> Tensor:
        """See the class."""
        loss = super().training_loss()
        if self.teacher is None:
            return loss
        assert self.output is not None
        new, old = self.output.logits, self._old_logits(self.teacher)
        if self.model.multi_label:
            soft = (old / self.temperature).sigmoid()
            return loss + self.distillation * multi_label_loss(
                new / self.temperature, soft, self.known
            )
        return loss + self.distillation * distillation_loss(
            new, old, self.known, temperature=self.temperature
        )

    @torch.no_grad()
    def _old_logits(self, teacher: nn.Module) -> Tensor:
        assert self.output is not None
        old: Tensor = teacher(self.mb_x if self.model.reads_images else self.output.features)
        return old

    def meet(self, labels: Tensor) -> None:
        """The model as the previous batch left it becomes the teacher, if ``teacher`` says so."""
        if self.teacher_of == "batch" and self.updates:
            self.copy_teacher()
        super().meet(labels)

    def finish_task(self) -> None:
        """The model as it is becomes the teacher."""
        if self.teacher_of == "task":
            self.copy_teacher()

    def copy_teacher(self) -> None:
        """Take the current model as the teacher."""
        source = self.model if self.model.reads_images else self.model.head
        if self.teacher is None:
            self.teacher = copy.deepcopy(source).requires_grad_(False).eval()
            if isinstance(self.teacher, PromptedViT):
                self.teacher.backbone.counter = (
                    self.model.backbone.counter
                )  # its passes are a cost of the method
        self.teacher.load_state_dict(source.state_dict())
        self.known = self.model.seen.clone()

    def state_dict(self) -> dict[str, Any]:
        """The base's, and the teacher's if there is one."""
        teacher = (
            None
            if self.teacher is None
            else {k: v.clone() for k, v in self.teacher.state_dict().items()}
        )
        return {**super().state_dict(), "teacher": teacher, "known": self.known.clone()}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        if state["teacher"] is None:
            self.teacher = None
        else:
            self.copy_teacher()
            assert self.teacher is not None
            self.teacher.load_state_dict(state["teacher"])
        self.known = state["known"].to(self.device)
