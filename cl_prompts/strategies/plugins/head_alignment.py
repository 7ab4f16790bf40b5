"""Head alignment: train the head at task ends on draws from Gaussian statistics of features."""

import copy
from typing import Any

import torch
from torch import nn

from cl_prompts.checks import Count, NotNegative, Positive, Size
from cl_prompts.strategies.base.experience import unannounced
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.task_pass import task_outputs
from cl_prompts.training.gaussian_alignment import (
    AlignmentOptimizer,
    GaussianHeadAlignment,
    GaussianStatistics,
    MeanScale,
)


class HeadAlignment(StrategyPlugin):
    """Alignment of the head at task ends. One class per image.

    HiDe-Prompt's task-adaptive prediction (NeurIPS 2023), see
    :class:`~cl_prompts.training.gaussian_alignment.GaussianHeadAlignment`. At the end of an
    announced task, a second pass over its training images, augmented as in training and with the
    task's own prompts, computes statistics of their features. From the second task on, the head
    alone is trained on draws from the statistics of all classes. If no boundary is announced,
    statistics stream from the features of training, and the head is aligned every ``period``
    samples, with variances instead of centroids, which need all features of a class at once.
    Statistics are of features before whitening. Other classifiers of a method
    (``aligned_classifiers``) are aligned in the same way.

    SLCA (ICCV 2023, arXiv 2303.05118) is ``statistics="covariance"``, ``unbiased=True``,
    ``mean_scale="task"``, ``logit_norm=0.1``, ``restore=True``, 5 epochs at 0.01 with 256 samples,
    and rates of the ViT or of prompts far below the head's. SLCA++ (arXiv 2408.08295) has
    ``feature_scale=0.02`` instead of ``mean_scale``. "Task" is an announced one, or a period.

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
    one_label = "is defined for one class per image"

    epochs: Size = 30
    """Epochs of an alignment, each with as many batches as classes; 0 for no alignment."""
    lr: Positive = 0.005
    """Learning rate at the start of an alignment."""
    samples: Count = 120
    """Draws per class (or per centroid) in the pool of an alignment, and its batch size."""
    statistics: GaussianStatistics = "centroids"
    """Statistics of a class: ten ``"centroids"`` with variances, one ``"covariance"``, or its
    diagonal, the ``"variance"``. The last two work for ten images or fewer as well."""
    optimizer: AlignmentOptimizer = "sgd"
    """``"sgd"`` with momentum and a cosine over epochs (HiDe-Prompt), or ``"adamw"`` with a cosine
    over batches (VQ-Prompt, SMoPE)."""
    unbiased: bool = False
    """Divide covariances and variances by the number of features less one (SLCA)."""
    mean_scale: MeanScale | None = None
    """``"task"`` scales the means of earlier tasks' classes by 0.9 to 1 (SLCA); None does not."""
    feature_scale: NotNegative | None = None
    """Share per task of age by which draws of a class are shortened, and its rows lengthened
    afterwards (SLCA++: 0.02); implies ``restore``, and needs a linear head on raw features."""
    logit_norm: Positive | None = None
    """Temperature of logits divided by the mean norm of a task's logits (SLCA: 0.1); None for
    plain logits."""
    restore: bool = False
    """Restore the unaligned head when the next announced task starts, so that only evaluation
    uses the aligned one (SLCA)."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Make the statistics of each classifier, for announced tasks and for streams without."""
        self.alignments: Any = torch.nn.ModuleList()
        """Per classifier, the alignment for announced tasks and, if different, for streams without
        boundaries."""
        kinds: list[GaussianStatistics] = [self.statistics]
        # Centroids need all images of a class at once: without boundaries use variances.
        if self.statistics == "centroids":
            kinds.append("variance")
        self.trained: Any = torch.nn.ModuleList()
        """With ``restore``, copies of the classifiers before alignment."""
        self.is_aligned = False
        """Whether the copies must be restored."""
        self.restore = self.restore or self.feature_scale is not None
        self.state.add("alignments", "trained", "is_aligned")
        if not self.epochs:
            return
        self.check_head(strategy)
        self.check_stream_samples(strategy)
        linear = (isinstance(it.module, nn.Linear) for it in strategy.aligned_classifiers())
        if self.feature_scale is not None and not all(linear):
            raise self.refusal(
                "with feature_scale needs a linear head on raw features", "leave out feature_scale"
            )
        scales = ("unbiased", "mean_scale", "feature_scale", "logit_norm")
        shared = self.values_of("epochs", "lr", "optimizer", *scales)
        for classifier in strategy.aligned_classifiers():
            if self.restore:
                self.trained.append(copy.deepcopy(classifier.module).requires_grad_(False))
            of_kinds = [
                GaussianHeadAlignment(
                    classifier.dim or strategy.model.backbone.feature_dim,
                    strategy.model.n_classes,
                    statistics=kind,
                    samples=classifier.samples or self.samples,
                    seed=strategy.seed,
                    **shared,
                )
                for kind in kinds
            ]
            self.alignments.append(torch.nn.ModuleList(of_kinds).to(strategy.device))

    def check_announced(self, strategy: OnlineStrategy, *, announced: bool) -> None:
        """Refuse ``restore`` without announced boundaries."""
        if self.restore and self.alignments and not announced:
            raise unannounced("restore=True of HeadAlignment", "leave restore out")

    @torch.no_grad()
    def start_of_task(self, strategy: OnlineStrategy) -> None:
        """Restore the classifiers."""
        if not self.is_aligned:
            return
        self.is_aligned = False
        for kept, classifier in zip(self.trained, strategy.aligned_classifiers(), strict=True):
            classifier.module.load_state_dict(kept.state_dict())

    def current(self, *, announced: bool) -> list[GaussianHeadAlignment]:
        """Return the alignment of each classifier; none with ``epochs=0``."""
        return [of_kinds[0 if announced else -1] for of_kinds in self.alignments]

    def after_update(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Update the streaming statistics, where no boundary is announced."""
        if not self.alignments or strategy.announced:
            return
        # Replayed samples are counted already.
        batch, n = strategy.batch, strategy.batch.n_stream
        pairs = zip(self.current(announced=False), strategy.aligned_classifiers(), strict=True)
        for alignment, classifier in pairs:
            alignment.observe(
                classifier.features(strategy.output).detach()[:n],
                batch.labels[:n],
                rows=None if classifier.rows is None else classifier.rows(batch)[:n],
                classes=batch.classes_on_host(),
            )

    def end_of_task(self, strategy: OnlineStrategy) -> None:
        """Compute statistics of an announced task's images, and align."""
        if not self.alignments:
            return
        alignments = self.current(announced=strategy.announced)
        self._align(strategy, alignments)
        for alignment in alignments:
            alignment.end_task()

    def _align(self, strategy: OnlineStrategy, alignments: list[GaussianHeadAlignment]) -> None:
        classifiers = strategy.aligned_classifiers()
        if strategy.announced:
            outputs = list(task_outputs(strategy))
            if not outputs:  # an empty task changes nothing
                return
            labels = torch.cat([labels for _, labels in outputs])
            for alignment, classifier in zip(alignments, classifiers, strict=True):
                features = [classifier.features(output) for output, _ in outputs]
                alignment.observe(torch.cat(features), labels)
            # The first task needs no alignment.
            if strategy.tasks_started < 2:
                return
        if not bool(alignments[0].observed.any()):
            return
        for kept, classifier in zip(self.trained, classifiers, strict=False):
            kept.load_state_dict(classifier.module.state_dict())
            self.is_aligned = True
        for alignment, classifier in zip(alignments, classifiers, strict=True):
            alignment.align(classifier.module)
            classifier.module.zero_grad()
            if isinstance(classifier.module, nn.Linear):
                alignment.scale_rows(classifier.module)
