"""L3A: weighted ridge regression with pseudo-labels, multi-label (ICML 2025)."""

import torch
from torch import Tensor

from cl_prompts.checks import Count, Positive, Share
from cl_prompts.closed_form.multi_label_ridge import SampleWeights
from cl_prompts.closed_form.ridge import Expansion
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.multi_label_ridge import MultiLabelRidgeProbe


class L3A(MultiLabelRidgeProbe):
    """L3A, label-augmented analytic adaptation (ICML 2025, arXiv 2506.00816), on the frozen ViT.

    The multi-label ridge on random features ``relu(f R)``, with two additions: a class of an
    earlier task, not annotated now, counts as present if the solution at the last task's end
    predicts it with probability above ``pseudo``; and the weight of an image is the mean weight of
    its positive classes, proportional to count^-1/2. All formulas:
    :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`.

    With announced boundaries, the labels of a task are counted before its first image, as
    published; otherwise they are counted batch by batch, and the earlier solution is that of the
    last ``period``. Published settings (ViT-B/16 on COCO) are the defaults; VOC with a TResNet:
    ``width=8192 ridge=1000``.

    Deviations: the backbone is always frozen (published: trained on the first task for an epoch);
    sums are float64 instead of float32.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> l3a = L3A(backbone=vit, n_classes=10, width=50, evaluator=None, device="cpu")
        >>> l3a.model.head.pseudo
        0.7
    """

    expansion: Expansion = "uniform"
    """Distribution of R, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`."""
    width: Count = 4096
    """Random features."""
    ridge: Positive = 1.0
    # Published: sigmoid(score) > 0.7, which is score > ln(7 / 3).
    pseudo: Share | None = 0.7
    """Probability above which an earlier class counts as present; None for no pseudo-labels."""
    weights: SampleWeights = "sqrt"
    """``"sqrt"`` weighs images by the counts of their classes, ``"none"`` weighs all equally."""

    def start_task(self, classes: Tensor) -> None:
        """Count the labels of an announced task."""
        labels = [torch.as_tensor(label) for label in whole_of(self.experience).dataset.targets]
        if not labels:  # an empty task
            return
        head = self.model.head
        targets = torch.stack(labels)
        head.count_labels(head.multi_hot(targets.to(self.device)), self._annotated(classes))

    def after_step(self, output: Output, batch: Batch) -> None:
        """Add the batch to the statistics; labels of announced tasks are counted already."""
        self.model.head.update(
            output.features, batch.labels, self._annotated(batch.annotated), counted=self.announced
        )

    def _annotated(self, classes: Tensor) -> Tensor | None:
        """Return the annotated classes; None for one class per image."""
        return classes if self.model.multi_label else None
