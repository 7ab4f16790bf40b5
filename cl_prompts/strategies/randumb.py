"""RanDumb: LDA on random Fourier features with analytic shrinkage, no gradient (2024)."""

from typing import Literal

from cl_prompts.checks import Count, Positive
from cl_prompts.closed_form.kernel_lda import ClasswiseLDA
from cl_prompts.closed_form.ridge import RandomExpansion
from cl_prompts.closed_form.streaming_lda import StreamingLDA
from cl_prompts.strategies.base.prototype import PrototypeStrategy

FLOOR = 1e-4


class RanDumb(PrototypeStrategy):
    """RanDumb (Prabhu et al., 2024, arXiv 2402.08823), on features of a frozen ViT.

    Streaming LDA on the random Fourier features of :class:`~cl_prompts.strategies.klda.KLDA`, with
    their pooled covariance, shrunk by OAS, which computes its strength from the data:
    ``Sigma = (1 - 1e-4) OAS(S) + 1e-4 I``, score ``phi Sigma^-1 mu_c - mu_c Sigma^-1 mu_c / 2``.

    The released code shrinks the covariance of each class and adds class priors
    (``covariance=class``): a matrix of width^2 numbers per class. More than ``memory_gib`` is
    refused.

    Deviation: gamma is taken from the median distance in the first batch, since the released rule,
    1 / (dim * variance), reads the whole training set before the first sample.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> randumb = RanDumb(backbone=vit, n_classes=10, width=100, evaluator=None, device="cpu")
        >>> randumb.model.head.shrinkage
        'oas'
    """

    width: Count = 2000
    """Random features; published: 1,000 to 25,000."""
    gamma: Positive | None = None
    """Gamma of the kernel; None for 1 / median squared distance of the first batch's features."""
    covariance: Literal["pooled", "class"] = "pooled"
    """``"class"``: the released form, a mean of shrunk class covariances, and class priors."""
    memory_gib: Positive = 4.0
    """Limit of the class matrices' memory in GiB; more is refused."""

    def make_classifier(self, dim: int, n_classes: int) -> StreamingLDA:
        """Make the LDA on Fourier features, drawn from the run's seed."""
        fourier = RandomExpansion(dim, self.width, "fourier", seed=self.seed, gamma=self.gamma)
        # Sigma = sum_c (n_c / n) OAS(S_c, n_c), and log(n_c / n) is added to scores.
        if self.covariance == "class":
            return ClasswiseLDA(dim, n_classes, expansion=fourier, memory_gib=self.memory_gib)
        # Sigma = (1 - FLOOR) OAS(S, n) + FLOOR I, without priors.
        return StreamingLDA(dim, n_classes, shrinkage="oas", floor=FLOOR, expansion=fourier)
