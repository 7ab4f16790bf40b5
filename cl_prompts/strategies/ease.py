"""EASE: adapters and prototypes in a subspace for each task (CVPR 2024)."""

import torch
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.losses.classification import partial_cross_entropy
from cl_prompts.models.adapted import EaseViT
from cl_prompts.models.base import Output
from cl_prompts.seeds import derived_seed, seeded
from cl_prompts.strategies.base.adapted import AdapterStrategy
from cl_prompts.strategies.base.prompt import slots_for
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import task_outputs


class EASE(AdapterStrategy):
    """EASE, expandable subspace ensemble (CVPR 2024). One class per image.

    Source: "Expandable Subspace Ensemble for Pre-Trained Model-Based Class-Incremental Learning",
    Zhou et al., arXiv 2403.12030.

    Each task trains its own adapters beside every block, with a new cosine head over its classes.
    Then they are frozen, and the task's classes get prototypes in the subspaces of all tasks so
    far. Prototypes of earlier classes in the new subspace are synthesised from their similarity to
    the new classes (:class:`~cl_prompts.models.adapted.SubspacePrototypes`). A test
    image passes through the adapters of every task, so no task id is used; features of finished
    tasks are cached, so the next evaluation costs one pass.

    A class belongs to the task in which it first appears; its images in later tasks (blurry
    streams) are ignored.

    Deviations from the published code: see
    :class:`~cl_prompts.strategies.base.adapted.AdapterStrategy`; the feature dimension is not fixed
    at 768; during its task a class is scored by the cosine with its row of the head.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> ease = EASE(backbone=create_backbone(), n_classes=10, n_tasks=5, evaluator=None)
        >>> len(ease.model.adapters.sets)
        5
    """

    n_tasks: Count | None = None
    """Number of tasks; None for room for 10."""
    alpha: NotNegative = 0.1
    """Weight of the other tasks' subspaces in a score."""
    lr: Positive = 0.025

    def build_model(self, backbone: FrozenViT, n_classes: int) -> EaseViT:
        """Build the adapters of all tasks, and prototypes in as many subspaces."""
        adapters = self.make_adapters(backbone, slots_for(None, self.n_tasks))
        return EaseViT(backbone, n_classes, adapters, alpha=self.alpha)

    @torch.no_grad()
    def start_task(self, classes: Tensor) -> None:
        """Start the task's adapters, and a fresh head."""
        super().start_task(classes)
        head = self.model.head
        # U(-1 / sqrt(dim), 1 / sqrt(dim)) as torch's linear layers, and a new scale sigma.
        bound = self.model.backbone.feature_dim**-0.5
        with seeded(derived_seed(self.seed, self.tasks_started)):
            nn.init.uniform_(head.weight, -bound, bound)
        head.sigma.fill_(1)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the cross-entropy over the task's new classes, for samples of these classes."""
        known = ~self.model.earlier()[batch.labels]
        competing = batch.annotated & ~self.model.earlier()
        if self.class_mask == "batch":
            competing = competing & self.competing_classes(batch.labels)
        competing = torch.where(competing.any(), competing, torch.ones_like(competing))
        return partial_cross_entropy(output.logits, batch.labels, competing, known)

    def finish_task(self) -> None:
        """Compute the prototypes of the task's classes, and synthesise those of earlier ones."""
        prototypes = self.model.prototypes
        width = self.model.backbone.feature_dim
        for output, labels in task_outputs(self):
            features = output.features.unflatten(1, (-1, width))  # of each subspace
            own = ~self.model.earlier()[labels]
            prototypes.observe(features[own], labels[own], self.model.adapters.task)
        prototypes.complete()
