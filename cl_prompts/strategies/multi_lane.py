"""MULTI-LANE: one lane of selectors and prompts per task, all read side by side at test time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.strategies.base.online import OnlineStrategy, need_backbone


class MultiLane(OnlineStrategy):
    """MULTI-LANE (De Min et al., CoLLAs 2024, arXiv 2405.15633): summarised patch tokens, one
    pathway per task.

    Every task opens a lane beside the frozen ViT: S selectors that summarise the patch tokens, P
    prompts per prompted block, and the head rows of the task's classes. Training runs the newest
    lane on its own classes alone; lanes of finished tasks never change again. A test image is read
    by all lanes at once, each class takes its logit from its own lane, and nobody tells which task
    the image belongs to.

    Loss: multi-label, binary cross-entropy over the lane's annotated classes; single label, softmax
    over the lane's classes. In single-label data, samples of classes that belong to an earlier lane
    (blurry streams bring them back) have no say.

    **Which samples open a lane.** Where boundaries are announced, each task with new classes does.
    Otherwise a lane takes up the classes that appear, until it has been trained on ``lane_samples``
    samples of the stream; the first class that appears after that opens the next one. A class stays
    with the lane in which it appeared first.

    Published settings (COCO; VOC: lr 0.05, 10 selectors, 10 prompts) are the defaults: Adam, cosine
    schedule per epoch, fresh optimizer for each task. Deviations from the published code: see
    :class:`~cl_prompts.models.multi_lane.MultiLaneViT`.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.multi_lane.MultiLaneViT`.
        multi_label: an image may show several classes.
        n_selectors: summarised tokens S per lane.
        prompt_length: prompts P per lane and prompted block.
        prompted_blocks: blocks with prompts, 0-based.
        drop_and_replace: see :class:`~cl_prompts.models.multi_lane.MultiLaneViT`, like the
            following four.
        slot_update: ``"released"`` or ``"reset"``.
        pre_head_norm: L2-normalise features before the head.
        init: ``"orthogonal"`` or ``"uniform"``.
        impl: ``"fused"`` (exact and fast) or ``"literal"`` (the formulas as written).
        n_tasks: expected number of tasks, for the scale of the first prompts; None if unknown.
        lane_samples: see above; without meaning where boundaries are announced.
        lr, train_epochs, online_iter, schedule, new_optimizer, loss_norm: see
            :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **common: likewise.
    """

    model: MultiLaneViT

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: MultiLaneViT | None = None,
        multi_label: bool = True,
        n_selectors: int = 20,
        prompt_length: int = 20,
        prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
        drop_and_replace: bool = True,
        slot_update: str = "released",
        pre_head_norm: bool = True,
        init: str = "orthogonal",
        impl: str = "fused",
        n_tasks: int | None = None,
        lane_samples: int = 1000,
        lr: float = 0.015,
        train_epochs: int = 30,
        online_iter: int = 1,
        schedule: str = "cosine",
        new_optimizer: bool = True,
        loss_norm: str = "all",
        **common: Any,
    ) -> None:
        if lane_samples < 1:
            raise InputError(f"lane_samples is {lane_samples}: it must be at least 1")
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = MultiLaneViT(
                backbone,
                n_classes,
                multi_label=multi_label,
                n_selectors=n_selectors,
                prompt_length=prompt_length,
                prompted_blocks=prompted_blocks,
                drop_and_replace=drop_and_replace,
                slot_update=slot_update,
                pre_head_norm=pre_head_norm,
                init=init,
                n_tasks=n_tasks,
                impl=impl,
            )
        self.lane_samples, self.lane_start = lane_samples, 0
        super().__init__(
            model=model,
            lr=lr,
            train_epochs=train_epochs,
            online_iter=online_iter,
            schedule=schedule,
            new_optimizer=new_optimizer,
            loss_norm=loss_norm,
            **common,
        )

    def start_task(self, classes: Tensor) -> None:
        """An announced task opens a lane for those of its classes that have none."""
        if new := self._without_lane(classes):
            self._open_classes(new, in_new_lane=True)

    def meet(self, labels: Tensor) -> None:
        """Classes that have no lane join the current one, or open the next."""
        present = torch.zeros_like(self.model.seen)
        if self.model.multi_label:
            present |= (labels > 0).any(dim=0)
        else:
            present[labels] = True
        if new := self._without_lane(present):
            full = (
                self.model.n_lanes == 0 or self.samples_seen - self.lane_start >= self.lane_samples
            )
            self._open_classes(new, in_new_lane=full)
            if full:
                self.lane_start = self.samples_seen
            self.make_optimizer()

    def _open_classes(self, classes: list[int], *, in_new_lane: bool) -> None:
        # Drawn from the run's seed and what was opened before alone, so that a resumed run draws
        # the same.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed + 1_000_003 * (1 + int(self.model.seen.sum())))
            if in_new_lane:
                self.model.open_lane(classes)
            else:
                self.model.add_classes(classes)

    def _without_lane(self, classes: Tensor) -> list[int]:
        return torch.nonzero(classes & ~self.model.seen).flatten().tolist()

    def training_loss(self) -> Tensor:
        """See the class."""
        assert self.output is not None
        mine, logits = self.model.columns(), self.output.logits
        if self.model.multi_label:
            return multi_label_loss(logits, self.mb_y, self.columns & mine, norm=self.loss_norm)
        known = mine[self.mb_y]
        # A class of another lane has the logit -inf here, so its samples get some label of the lane
        # and the weight 0.
        labels = torch.where(known, self.mb_y, mine.int().argmax())
        losses = F.cross_entropy(logits, labels, reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)

    def state_dict(self) -> dict[str, Any]:
        """The base's, and where the current lane began."""
        return {**super().state_dict(), "lane_start": self.lane_start}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self.lane_start = int(state["lane_start"])
