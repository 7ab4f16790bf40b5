"""Distillation from an earlier copy of the model (LwF, ECCV 2016)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cl_prompts.checks import NotNegative, Positive
from cl_prompts.losses.distillation import distillation_loss
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import ContinualModel, copy_of
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.state import State
from cl_prompts.strategies.base.head import head_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin


class Distillation(StrategyPlugin):
    """Distillation from an earlier copy of the model (LwF; Li and Hoiem, ECCV 2016).

    Source: arXiv 1606.09282. Adds ``weight * KD`` with
    ``KD = -(1 / batch) sum softmax(old / T) log softmax(new / T)`` over the classes that the
    teacher had seen. The teacher is copied at the end of each announced task, or else every
    ``period`` samples; before the first copy there is no term. On a frozen ViT without prompts only
    head and whitening are copied, which read the student's features without a second pass.
    Otherwise the whole model is copied, and an update costs one more forward pass. With several
    labels (our addition, since a softmax is for exclusive classes), ``KD`` is the binary
    cross-entropy of ``sigmoid(new / T)`` to ``sigmoid(old / T)``, mean over the teacher's classes.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LwF
        >>> lwf = LwF(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> lwf.plugin(Distillation).teacher is None  # until the first task ends
        True
    """

    needs = "head"
    copies = 1  # the teacher
    class_axes: ClassVar = {"known": 0}

    weight: NotNegative = 0.2
    """Weight of the term."""
    temperature: Positive = 2.0
    """Temperature T of both softmaxes."""
    teacher_from: Literal["task", "batch"] = "task"
    """Copy the teacher at the end of a ``"task"`` or period, or after every stream ``"batch"``."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Start without a teacher."""
        self.check_head(strategy)
        if strategy.model.patches is not None:
            raise self.refusal("compares passes over all patches, and tokens leaves some out")
        self.teacher: nn.Module | None = None
        """Copy of the head, or of the whole model if more than the head is trained."""
        self.known = torch.zeros_like(strategy.model.seen, device=strategy.device)
        """(classes,) boolean mask of the classes that the teacher had seen."""
        self._model: PromptedViT = strategy.model
        self.state.add("known")

    def before_backward(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Add the distance from the teacher, if there is one."""
        if self.teacher is None:
            return
        with torch.no_grad():
            # On a frozen ViT, the teacher's head reads the student's features.
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

    def end_of_stream_batch(self, strategy: OnlineStrategy, samples: int) -> None:
        """Copy the teacher, with ``teacher_from="batch"``."""
        if self.teacher_from == "batch":
            self.copy_teacher()

    def end_of_task(self, strategy: OnlineStrategy) -> None:
        """Copy the teacher, with ``teacher_from="task"``."""
        if self.teacher_from == "task":
            self.copy_teacher()

    def copy_teacher(self, state: dict[str, Tensor] | None = None) -> None:
        """Copy the current model, or a state of it, to the teacher."""
        source = self._student()
        if self.teacher is None:
            self.teacher = copy_of(source, self._model.backbone)
        # Not strict, since the learned state omits the frozen ViT.
        self.teacher.load_state_dict(_learned(source) if state is None else state, strict=False)
        self.known = self._model.seen.clone()

    def _student(self) -> nn.Module:
        """Return the part to copy: the model, or its head with whitening."""
        return self._model if self._model.reads_images else head_of(self._model).module

    def state_dict(self) -> State:
        """Return the registered state, and that of the teacher if there is one."""
        teacher = None
        if self.teacher is not None:
            teacher = {name: value.clone() for name, value in _learned(self.teacher).items()}
        return {**super().state_dict(), "teacher": teacher}

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`."""
        self.teacher = None
        if state["teacher"] is not None:
            self.copy_teacher(state["teacher"])
        super().load_state_dict({name: state[name] for name in state if name != "teacher"})


def _learned(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a head, or of a model without its frozen backbone."""
    return module.learned_state() if isinstance(module, ContinualModel) else module.state_dict()
