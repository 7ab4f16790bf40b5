"""MULTI-LANE: summarised patch tokens, one pathway per task (CoLLAs 2024)."""

from typing import Any

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.losses.classification import ClassMask, batch_classes, partial_cross_entropy
from cl_prompts.losses.multi_label import LossNorm, multi_label_loss
from cl_prompts.models.base import Output
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.prompts.pools import Blocks
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.rates import Schedule


class MultiLane(PromptStrategy):
    """MULTI-LANE: summarised patch tokens, one pathway per task (CoLLAs 2024).

    Source: De Min et al., arXiv 2405.15633. Each task opens a lane parallel to the frozen ViT: S
    selectors that summarise the patch tokens, P prompts per prompted block, and the head rows of
    the task's classes. Training runs only the newest lane, on its own classes; lanes of finished
    tasks are frozen. A test image passes through all lanes at once, the logit of a class comes from
    its lane, and no task id is used.

    Loss: with several labels, binary cross-entropy over the lane's annotated classes; with one
    label, softmax over the lane's classes, where samples of classes of earlier lanes (blurry
    streams) are ignored.

    **Opening of lanes.** With announced boundaries, each task with new classes opens a lane.
    Otherwise new classes join the current lane until it was trained on ``lane_samples`` stream
    samples; the next new class opens the next lane. A class stays in its first lane.

    Published settings (COCO; VOC: lr 0.05, 10 selectors, 10 prompts) are the defaults: Adam, cosine
    schedule per epoch, new optimizer state for each task. Each lane has its own head on features of
    unit norm, and finished lanes are cached by their logits, so there are no settings of head and
    features. Deviations from the published code: see
    :class:`~cl_prompts.models.multi_lane.MultiLaneViT`.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> lanes = MultiLane(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> lanes.model.n_lanes  # the first task opens the first one
        0
    """

    excluded = (
        *("head", "features", "prompt_form", "pull_weight"),
        *("tokens", "token_temperature", "tokens_test", "dense_epochs", "query_block"),
    )

    class_mask: ClassMask = "seen"
    """Classes of the lane that compete with one class per image: ``"seen"``, all of them, or
    ``"batch"``, those that occur in the mini-batch."""
    multi_label: bool = True
    n_selectors: Count = 20
    """Selectors S per lane, each with a summary token."""
    prompt_length: Size = 20
    """Prompts P per lane and prompted block."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    pre_head_norm: bool = True
    """L2-normalise features before the head."""
    n_tasks: Count | None = None
    """Expected number of tasks, for the scale of the first prompts; None if unknown."""
    lane_samples: Count = 1000
    """See above; ignored where boundaries are announced."""
    lr: Positive = 0.015
    train_epochs: Count = 30
    online_iter: Count = 1
    schedule: Schedule = "cosine"
    new_optimizer: bool = True
    loss_norm: LossNorm = "all"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lane_start = 0
        """Value of ``samples_seen`` when the current lane was opened."""
        self.state.add("lane_start")

    def build_model(self, backbone: FrozenViT, n_classes: int) -> MultiLaneViT:
        """Build a model without lanes."""
        of_lanes = ("n_selectors", "prompt_length", "prompted_blocks", "pre_head_norm")
        shared = self.values_of("multi_label", "n_tasks", *of_lanes)
        return MultiLaneViT(backbone, n_classes, **shared)

    def is_head(self, name: str) -> bool:
        """Return whether a parameter belongs to a lane's head."""
        return not name.endswith((".selectors", ".prompts"))

    def start_task(self, classes: Tensor) -> None:
        """Open a lane for the new classes of an announced task."""
        if new := self._without_lane(classes):
            self._open_classes(new, in_new_lane=True)

    def observe_classes(self, labels: Tensor) -> None:
        """Add new classes to the current lane, or open the next lane."""
        # On the CPU, to avoid a synchronisation with a GPU.
        known = None if self.batch is None else self.batch.host_labels
        labels = labels.cpu() if known is None else known
        new = self._without_lane(batch_classes(labels, self.model.n_classes))
        if not new:
            return
        # Without boundaries a lane takes all new classes of lane_samples samples.
        in_lane = self.samples_seen - self.lane_start
        full = self.model.n_lanes == 0 or in_lane >= self.lane_samples
        self._open_classes(new, in_new_lane=full)
        if full:
            self.lane_start = self.samples_seen
        self.make_optimizer()  # with the parameters of the new lane

    def _open_classes(self, classes: list[int], *, in_new_lane: bool) -> None:
        # A resumed run draws the same, from the seed and the number of classes with a lane.
        with seeded(derived_seed(self.seed, 1 + len(self.model.lane_of))):
            if in_new_lane:
                self.model.open_lane(classes)
            else:
                self.model.add_classes(classes)

    def _without_lane(self, classes: Tensor) -> list[int]:
        lane_of = self.model.lane_of
        return [c for c in classes.nonzero()[:, 0].tolist() if c not in lane_of]

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the binary or softmax cross-entropy over the newest lane's classes."""
        mine = self.model.columns()
        if self.model.multi_label:
            return multi_label_loss(
                output.logits, batch.labels, batch.annotated & mine, norm=self.loss_norm
            )
        known = mine[batch.labels]
        competing = mine
        if self.class_mask == "batch":
            present = mine & batch_classes(batch.labels, len(mine))
            competing = torch.where(present.any(), present, mine)
        return partial_cross_entropy(output.logits, batch.labels, competing, known)
