"""Head alignment: the head trained at task ends on draws from Gaussian statistics of features."""

from __future__ import annotations

from typing import Any

import torch

from cl_prompts.checks import Count, Positive, Size
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.task_pass import task_outputs
from cl_prompts.training.gaussian_alignment import (
    AlignmentOptimizer,
    GaussianHeadAlignment,
    GaussianStatistics,
)


class HeadAlignment(StrategyPlugin):
    """Alignment of the head at task ends (HiDe-Prompt's task-adaptive prediction, NeurIPS 2023, see
    :class:`~cl_prompts.training.gaussian_alignment.GaussianHeadAlignment`). One class per image.

    At the end of an announced task its training images pass once more, as test images do and with
    the task's own prompts; statistics of their features are taken, and from the second task on the
    head alone is trained on draws from the statistics of all classes. Where no boundary is
    announced, statistics stream from the features of training, and the head is aligned every
    ``period`` samples; centroids, which need all features of a class at once, are replaced by
    variances there. Statistics are of raw features. Other classifiers that a method has
    (``aligned_classifiers``) are aligned alike.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> alignment = HeadAlignment(epochs=30)
        >>> one = OnePrompt(**given, plugins=[alignment], device="cpu")
        >>> alignment.current(announced=True)[0].statistics
        'centroids'
    """

    needs = "head"

    epochs: Size = 30
    """Epochs on draws from Gaussian statistics of classes, at a task's end or every ``period``
    samples; 0 for none. An epoch has as many batches as there are classes."""
    lr: Positive = 0.005
    """Learning rate at the start of an alignment."""
    samples: Count = 120
    """Draws of a class in the pool that an alignment shuffles (with centroids: of each of them),
    and size of its batches."""
    statistics: GaussianStatistics = "centroids"
    """Statistics of a class: ten ``"centroids"`` with variances, one ``"covariance"``, or its
    diagonal, the ``"variance"``."""
    optimizer: AlignmentOptimizer = "sgd"
    """``"sgd"`` with momentum and a cosine over epochs (HiDe-Prompt), or ``"adamw"`` with a cosine
    over batches (VQ-Prompt, SMoPE)."""

    def attach(self, strategy: Any) -> None:
        """Make the statistics of each classifier, for announced tasks and for streams without."""
        self.alignments: Any = torch.nn.ModuleList()
        """For each classifier: of announced tasks, and of streams without boundaries if it is
        another one."""
        kinds: list[GaussianStatistics] = [self.statistics]
        if self.statistics == "centroids":
            kinds.append("variance")
        self.state.add("alignments")
        if not self.epochs:
            return
        self.check_head(strategy)
        self.check_stream_samples(strategy)
        if strategy.model.multi_label:
            raise self.refusal(
                "trains the head on draws from single classes, and images of several"
                " are no such draws"
            )
        for classifier in strategy.aligned_classifiers():
            of_kinds = [
                GaussianHeadAlignment(
                    classifier.dim or strategy.model.backbone.feature_dim,
                    strategy.model.n_classes,
                    statistics=kind,
                    samples=classifier.samples or self.samples,
                    epochs=self.epochs,
                    lr=self.lr,
                    optimizer=self.optimizer,
                    seed=strategy.seed,
                )
                for kind in kinds
            ]
            self.alignments.append(torch.nn.ModuleList(of_kinds).to(strategy.device))

    def current(self, *, announced: bool) -> list[GaussianHeadAlignment]:
        """The alignment of each classifier, where boundaries are announced or not; none with
        ``epochs=0``."""
        return [of_kinds[0 if announced else -1] for of_kinds in self.alignments]

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Update the streaming statistics, where no boundary is announced."""
        if not self.alignments or strategy.announced:
            return
        # Replayed samples were counted when they came.
        batch, n = strategy.batch, strategy.batch.n_stream
        pairs = zip(self.current(announced=False), strategy.aligned_classifiers(), strict=True)
        for alignment, classifier in pairs:
            alignment.observe(
                classifier.features(strategy.output).detach()[:n],
                batch.labels[:n],
                rows=None if classifier.rows is None else classifier.rows(batch)[:n],
                classes=batch.classes_on_host(),
            )

    def end_of_task(self, strategy: Any) -> None:
        """Take statistics of an announced task's images, and align."""
        if not self.alignments:
            return
        alignments = self.current(announced=strategy.announced)
        classifiers = strategy.aligned_classifiers()
        if strategy.announced:
            outputs = list(task_outputs(strategy))
            labels = torch.cat([labels for _, labels in outputs])
            for alignment, classifier in zip(alignments, classifiers, strict=True):
                features = [classifier.features(output) for output, _ in outputs]
                alignment.observe(torch.cat(features), labels)
            # With one task its own images say more than draws from their Gaussians.
            if strategy.tasks_started < 2:
                return
        if not bool(alignments[0].observed.any()):
            return
        for alignment, classifier in zip(alignments, classifiers, strict=True):
            alignment.align(classifier.module)
            classifier.module.zero_grad()
