"""RanDumb: LDA on random Fourier features with analytic shrinkage, no gradient (2024)."""

from __future__ import annotations

from typing import Literal

import torch

from cl_prompts.checks import Count, Positive
from cl_prompts.models.kernel_lda import ClasswiseLDA
from cl_prompts.models.prototype_classifiers import StreamingLDA
from cl_prompts.strategies.base.prototype import PrototypeStrategy

FLOOR = 1e-4


class RanDumb(PrototypeStrategy):
    """RanDumb (Prabhu et al., 2024, arXiv 2402.08823), on features of a frozen ViT.

    The random Fourier features of :class:`~cl_prompts.strategies.klda.KLDA`, and streaming LDA with
    the pooled covariance of these, shrunk by OAS, which finds its strength from the data: ``Sigma
    = (1 - 1e-4) OAS(S) + 1e-4 I``, score ``phi Sigma^-1 mu_c - mu_c Sigma^-1 mu_c / 2``.

    The released code shrinks the covariance of each class and adds class priors
    (``covariance=class``), which takes a matrix of width^2 numbers a class; more than
    ``memory_gib`` is refused.

    Deviations: gamma is that of the median distance in the first batch, since the released rule, 1
    / (dim * variance), reads the whole training set before the first sample.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> randumb = RanDumb(backbone=vit, n_classes=10, width=100, evaluator=None, device="cpu")
        >>> randumb.model.head.shrinkage
        'oas'
    """

    plain_images = True

    width: Count = 2000
    """Random features; published: 1,000 to 25,000."""
    gamma: Positive | None = None
    """Of the Gaussian kernel; None: 1 / median squared distance of the first batch's features."""
    covariance: Literal["pooled", "class"] = "pooled"
    """``"class"``: the released form, a mean of shrunk class covariances, and class priors."""
    memory_gib: Positive = 4.0
    """Refuse settings whose matrices of classes take more, in GiB."""
    training_scores: bool = False

    def make_classifier(self, dim: int, n_classes: int, dtype: torch.dtype) -> StreamingLDA:
        """LDA on Fourier features, which are drawn from the run's seed."""
        shared = {
            "expansion": "fourier",
            "dtype": dtype,
            **self.values_of("width", "gamma", "seed"),
        }
        # Sigma = sum_c (n_c / n) OAS(S_c, n_c), and log(n_c / n) is added to scores.
        if self.covariance == "class":
            return ClasswiseLDA(dim, n_classes, memory_gib=self.memory_gib, **shared)
        # Sigma = (1 - FLOOR) OAS(S, n) + FLOOR I, without priors.
        return StreamingLDA(dim, n_classes, shrinkage="oas", floor=FLOOR, **shared)
