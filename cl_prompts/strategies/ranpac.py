"""RanPAC: ridge regression on random projections, no gradient (NeurIPS 2023)."""

from typing import ClassVar

from cl_prompts.checks import Count, Positive, Size
from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.closed_form.ridge import RIDGES, Expansion
from cl_prompts.strategies.base.prototype import OF_GRADIENTS, PrototypeStrategy


class RanPACProbe(PrototypeStrategy):
    """RanPAC without its first phase, as a probe of frozen features.

    Source: McDonnell et al., NeurIPS 2023, arXiv 2307.02251. ``h = relu(f R)`` of the class token f
    with R ~ N(0, 1), dim x ``projection``, drawn once; scores ``h W`` with ``W = (H'H + ridge I)^-1
    H'Y`` over all samples so far. H'H and H'Y are sums, so the order of the stream does not matter.
    Published: projection 10,000, and a ridge selected at each task among 10^-8 .. 10^8 by the
    squared error on held-out samples.

    Here the ridge is selected at each announced task end, or every ``period`` samples where none is
    announced, on ``held_out`` samples drawn uniformly from the stream so far; with ``held_out=0``,
    or without announced boundaries and period, it is fixed.

    Costs: H'H has projection^2 numbers, 800 MB at 10,000, and each checkpoint half as many. W is
    solved once per evaluation and 17 times per selection of a ridge, each some ten seconds on a CPU
    core at 10,000, 0.1 at 2,000.

    With several labels (``multi_label``) the targets are multi-hot, 0 for classes that are not
    annotated: a :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge` on random
    features; not published.

    Deviations: the paper first tunes adapters or prompts on the first task; its held-out samples
    are a fifth of each task.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> ranpac = RanPACProbe(backbone=vit, n_classes=10, projection=100, evaluator=None)
        >>> float(ranpac.model.head.ridge)
        10000.0
    """

    excluded: ClassVar[tuple[str, ...]] = ("head", *OF_GRADIENTS)
    plain_images = False
    candidates: ClassVar[tuple[float, ...]] = RIDGES

    projection: Count = 10_000
    """Random features."""
    expansion: Expansion = "normal"
    """Distribution of R, see :class:`~cl_prompts.closed_form.ridge.RandomExpansion`."""
    ridge: Positive = 1e4
    """Ridge until one is selected."""
    held_out: Size = 1000
    """Samples that select the ridge, whose features are stored; 0 for a fixed ridge."""

    def make_classifier(self, dim: int, n_classes: int) -> SolvedClassifier:
        """Make RanPAC, with projection and held-out sample drawn from the run's seed."""
        shared = self.values_of("expansion", "ridge", "held_out", "seed")
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes, width=self.projection, **shared)
        return RanPAC(dim, n_classes, projection=self.projection, **shared)

    def finish_task(self) -> None:
        """Select the ridge."""
        head = self.model.head
        if isinstance(head, RanPAC) and len(head.held):
            # Least squared error on the held-out samples, among 10^-8 .. 10^8.
            head.choose_ridge(candidates=self.candidates)
        super().finish_task()
