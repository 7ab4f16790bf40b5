"""APER: adapters trained in the first task, then nearest class means (IJCV 2024)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Positive
from cl_prompts.losses.classification import masked_mean
from cl_prompts.models.adapted import AperViT
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.adapted import AdapterStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import task_outputs


class APER(AdapterStrategy):
    """APER, adapt and merge, with adapters (IJCV 2024). One class per image.

    Source: "Revisiting Class-Incremental Learning with Pre-Trained Models: Generalizability and
    Adaptivity are All You Need", Zhou et al., arXiv 2303.07338.

    The first task trains adapters beside every block and a cosine head with a learned factor, then
    both are frozen. From then on a class is the mean of its images' features, those of the frozen
    and of the adapted ViT concatenated, and an image belongs to the class of greatest cosine.
    Without adapters it is SimpleCIL, our ``ncm``. Later tasks are one pass over the samples, as in
    a prototype strategy; their reported loss is that of the batch before the update, over its
    samples of known classes.

    Deviations from the published code: see
    :class:`~cl_prompts.strategies.base.adapted.AdapterStrategy`; during the first task, when there
    are no means, the head scores.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> aper = APER(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(aper.model.means.mean.shape)
        (10, 256)
    """

    lr: Positive = 0.01

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Later tasks overwrite both settings.
        self.first_pace = self.train_epochs, self.online_iter
        """Epochs and updates per batch in the first task."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> AperViT:
        """Build one set of adapters, and means of two subspaces."""
        # Later tasks train no adapters.
        return AperViT(backbone, n_classes, self.make_adapters(backbone, 1, spare=True))

    def start_task(self, classes: Tensor) -> None:
        """Freeze adapters and head at the second task."""
        super().start_task(classes)
        self.model.fix_head()
        self._set_pace()

    def _set_pace(self) -> None:
        adapts = self.model.adapts
        # After the first task only prototypes learn, in one pass over the images.
        self.train_epochs, self.online_iter = self.first_pace if adapts else (1, 1)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the cross-entropy; after the first task, over samples of known classes."""
        if self.model.adapts:
            return super().training_loss(output, batch)
        # Only reported: over classes that have a prototype.
        losses = F.cross_entropy(self.mb_output, batch.labels, reduction="none")
        return masked_mean(losses, self.model.learned[batch.labels])

    def backward(self) -> None:
        """Compute gradients in the first task."""
        if self.model.adapts:
            super().backward()

    def optimizer_step(self) -> None:
        """Make a step in the first task."""
        if self.model.adapts:
            super().optimizer_step()

    def after_step(self, output: Output, batch: Batch) -> None:
        """Add a batch of a later task to the means."""
        if not self.model.adapts:
            self.model.learn(output.features.detach(), batch.labels)

    def finish_task(self) -> None:
        """Compute the means of the first task's classes."""
        if self.model.adapts:
            # With the trained adapters, hence in a second pass.
            for output, labels in task_outputs(self):
                self.model.learn(output.features, labels)

    def state_loaded(self) -> None:
        """Restore epochs and updates of the task."""
        self._set_pace()
