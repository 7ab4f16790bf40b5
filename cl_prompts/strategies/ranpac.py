"""RanPAC: ridge regression on random projections, no gradient (NeurIPS 2023)."""

from __future__ import annotations

from typing import ClassVar

import torch

from cl_prompts.checks import Count, Positive, Size
from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from cl_prompts.models.prototype_classifiers import SolvedClassifier
from cl_prompts.models.ranpac import RanPAC
from cl_prompts.models.ridge import RIDGES, Expansion
from cl_prompts.strategies.base.prototype import OF_GRADIENTS, PrototypeStrategy


class RanPACProbe(PrototypeStrategy):
    """RanPAC (McDonnell et al., NeurIPS 2023, arXiv 2307.02251) without its first phase, as a probe
    of frozen features.

    ``h = relu(f R)`` of the class token f with R ~ N(0, 1), dim x ``projection``, drawn once;
    scores ``h W`` with ``W = (H'H + ridge I)^-1 H'Y`` over all samples so far. H'H and H'Y are
    sums, so the stream's solution is the batch solution. Published: projection 10,000, the ridge
    chosen at each task among 10^-8 .. 10^8 by the squared error on held-out samples.

    Here the ridge is chosen at each announced task end, or every ``period`` samples where none is
    announced, on ``held_out`` samples drawn uniformly from the stream so far; with ``held_out=0``,
    or without announced boundaries and period, it stays as given.

    Costs: H'H holds projection^2 numbers, 800 MB at 10,000, and each checkpoint half as many. W is
    solved for at each evaluation, and 17 times when a ridge is chosen: some ten seconds each of a
    CPU core at 10,000, 0.1 at 2,000. Training batches are therefore not scored
    unless ``training_scores`` is set.

    Several classes an image (``multi_label``): the targets are multi-hot, with 0 where a class is
    not annotated, which is a :class:`~cl_prompts.models.multi_label_ridge.MultiLabelRidge` on
    random features; not published.

    Deviations: the paper first tunes adapters or prompts on the first task; held-out samples are a
    fifth of each task there.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> ranpac = RanPACProbe(backbone=vit, n_classes=10, projection=100, evaluator=None)
        >>> float(ranpac.model.head.ridge)
        10000.0
    """

    excluded: ClassVar[tuple[str, ...]] = ("compile", "head", *OF_GRADIENTS)
    candidates: ClassVar[tuple[float, ...]] = RIDGES

    projection: Count = 10_000
    """Random features."""
    expansion: Expansion = "normal"
    """Distribution of R, see :class:`~cl_prompts.models.ridge.RandomExpansion`."""
    ridge: Positive = 1e4
    """Ridge until one is chosen."""
    held_out: Size = 1000
    """Samples on which a ridge is chosen; their features are stored. 0: the ridge is not chosen."""
    training_scores: bool = False

    def make_classifier(self, dim: int, n_classes: int, dtype: torch.dtype) -> SolvedClassifier:
        """RanPAC; projection and held-out sample are drawn from the run's seed."""
        shared = self.values_of("expansion", "ridge", "held_out", "seed")
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes, dtype=dtype, width=self.projection, **shared)
        return RanPAC(dim, n_classes, dtype=dtype, projection=self.projection, **shared)

    def finish_task(self) -> None:
        """Choose the ridge."""
        head = self.model.head
        if isinstance(head, RanPAC) and len(head.held):
            # Least squared error on the held-out samples, among 10^-8 .. 10^8.
            head.choose_ridge(candidates=self.candidates)
        super().finish_task()
