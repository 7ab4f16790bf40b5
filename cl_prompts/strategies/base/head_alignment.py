"""Alignment of the head at task ends, on draws from Gaussian statistics of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from torch import Tensor, nn

from cl_prompts.backbones import ranks
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.loaders import joined_batch
from cl_prompts.strategies.base.prompt_averaging import PromptAveraging
from cl_prompts.training.gaussian_alignment import (
    AlignmentOptimizer,
    GaussianHeadAlignment,
    GaussianStatistics,
)


class HeadAlignment(PromptAveraging):
    """Base of the prompt strategies that can align their head (HiDe-Prompt's task-adaptive
    prediction, see :class:`~cl_prompts.training.gaussian_alignment.GaussianHeadAlignment`).

    At the end of an announced task its training images pass once more, as test images do and with
    the task's own prompts; statistics of their features are taken, and from the second task on the
    head alone is trained on draws from the statistics of all classes. Where no boundary is
    announced, statistics stream from the features of training, and the head is aligned every
    ``period`` samples; centroids, which need all features of a class at once, are replaced by
    variances there. Statistics are of raw features.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> OnePrompt(**given, align_epochs=30, device="cpu").alignments[0].statistics
        'centroids'
    """

    align_epochs: Size = 0
    """Epochs of the head's alignment on draws from Gaussian statistics of classes, at a task's end
    or every ``period`` samples; 0 for none. An epoch has as many batches as there are classes."""
    align_lr: Positive = 0.005
    """Learning rate of the alignment, at its start."""
    align_samples: Count = 120
    """Draws of a class in the pool that an alignment shuffles (with centroids: of each of them),
    and size of its batches."""
    align_statistics: GaussianStatistics = "centroids"
    """Statistics of a class: ten ``"centroids"`` with variances, one ``"covariance"``, or its
    diagonal, the ``"variance"``."""
    align_optimizer: AlignmentOptimizer = "sgd"
    """``"sgd"`` with momentum and a cosine over epochs (HiDe-Prompt), or ``"adamw"`` with a cosine
    over batches (VQ-Prompt, SMoPE)."""

    alignments: list[GaussianHeadAlignment]
    """That of announced tasks, and that of streams without boundaries if it is another one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.alignments = []
        if self.align_epochs:
            kinds: list[GaussianStatistics] = [self.align_statistics]
            kinds += ["variance"] if self.align_statistics == "centroids" else []
            dim = self.model.backbone.dim
            self.alignments = [self.make_alignment(dim, kind) for kind in kinds]

    def make_alignment(self, dim: int, statistics: GaussianStatistics) -> GaussianHeadAlignment:
        """Make an alignment of the settings for features of a width."""
        return GaussianHeadAlignment(
            dim,
            self.model.n_classes,
            statistics=statistics,
            samples=self.align_samples,
            epochs=self.align_epochs,
            lr=self.align_lr,
            optimizer=self.align_optimizer,
            seed=self.seed,
        ).to(self.device)

    def check_labels_of(self, model: ContinualModel) -> None:
        """Refuse an alignment of a multi-label model."""
        super().check_labels_of(model)
        if model.multi_label and self.align_epochs:
            raise InputError(
                "align_epochs trains the head on draws from single classes, and images of several"
                " are no such draws: leave it out"
            )

    @property
    def alignment(self) -> GaussianHeadAlignment | None:
        """The alignment of the current experience; None without any."""
        if not self.alignments:
            return None
        return self.alignments[0 if self.announced else -1]

    def aligned_rows(self, batch: Batch) -> Tensor:
        """(batch,) boolean: samples whose features enter streaming statistics; by default those of
        the stream."""
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        return rows < batch.n_stream

    def after_step(self, output: Output, batch: Batch) -> None:
        """Take features into the streaming statistics, where no boundary is announced."""
        super().after_step(output, batch)
        alignment = self.alignment
        if alignment is None or self.announced:
            return
        assert output.raw is not None
        alignment.observe(
            output.raw.detach()[: batch.n_stream],
            batch.labels[: batch.n_stream],
            rows=self.aligned_rows(batch)[: batch.n_stream],
            classes=batch.classes_on_host(),
        )

    def finish_task(self) -> None:
        """Take statistics of an announced task's images, and align the head."""
        super().finish_task()
        alignment = self.alignment
        if alignment is None:
            return
        if self.announced:
            self.take_statistics()
            if self.tasks_started < 2:
                return
        if bool(alignment.observed.any()):
            self.align(alignment)

    def take_statistics(self) -> None:
        """Take statistics of the current task's images."""
        outputs = list(self.task_outputs())
        features = [output.raw for output, _ in outputs if output.raw is not None]
        labels = torch.cat([labels for _, labels in outputs])
        assert self.alignment is not None
        self.alignment.observe(torch.cat(features), labels)

    def align(self, alignment: GaussianHeadAlignment) -> None:
        """Train the head on draws."""
        head, whitening = self.model.head, self.model.whitening
        alignment.align(head if whitening is None else nn.Sequential(whitening, head))
        head.zero_grad()

    def task_outputs(self) -> Iterator[tuple[Output, Tensor]]:
        """Outputs of the current task's images, as test images come but with the task's own
        prompts, and their labels, batch by batch."""
        data = whole_of(self.experience).dataset.eval()
        with torch.no_grad(), self._as_in_evaluation():
            for rows in torch.arange(len(data)).split(self.eval_mb_size):
                items = [data[row] for row in rows[ranks.share(len(rows)).rows].tolist()]
                read = [torch.stack([torch.as_tensor(item[i]) for item in items]) for i in (0, 1)]
                images, labels = joined_batch(read, len(rows), self.device)
                yield self.model.run(images.to(self.device)), labels.to(self.device)

    @contextmanager
    def _as_in_evaluation(self) -> Iterator[None]:
        """Evaluation mode of all but the selector, which knows its task in training mode alone."""
        self.model.eval()
        if self.model.selector is not None:
            self.model.selector.train()
        try:
            yield
        finally:
            self.model.train()

    def state_dict(self) -> dict[str, Any]:
        """State of the base, and the statistics of classes."""
        statistics = [
            {name: value.clone() for name, value in alignment.state_dict().items()}
            for alignment in self.alignments
        ]
        return {**super().state_dict(), "alignments": statistics}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        for alignment, statistics in zip(self.alignments, state["alignments"], strict=True):
            alignment.load_state_dict(statistics)
