"""KLDA: streaming LDA on random Fourier features, no gradient (AAAI 2025)."""

from cl_prompts.checks import Count, Positive, Share
from cl_prompts.closed_form.kernel_lda import KernelLDA, KLDAForm
from cl_prompts.closed_form.shrinkage import ByRule, ShrinkageForm
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class KLDA(PrototypeStrategy):
    """KLDA (Continual Learning Using a Kernel-Based Method Over Foundation Models, AAAI 2025).

    Streaming LDA of ``phi(f) = sqrt(2 / M) cos(f Omega + b)`` with Omega ~ N(0, 2 gamma) and b
    uniform in [0, 2 pi), whose products are about ``exp(-gamma |f - f'|^2)``: class means and one
    covariance S in the space of a Gaussian kernel. The class of least ``(phi - mu_c) (S + rho
    I)^-1 (phi - mu_c)^T`` wins. Several members, each with its own draws, average their softmax.

    Costs: S has width^2 numbers per member, 200 MB at 5,000, in memory and in each checkpoint. Each
    evaluation solves it.

    Deviations: S is the scatter around the final means divided by the number of samples, so the
    solution does not depend on the order of the stream (``form=released``: see
    :class:`~cl_prompts.closed_form.kernel_lda.KernelLDA`); gamma, a constant per backbone in the
    published code, is taken from the median distance in the first batch.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> klda = KLDA(backbone=vit, n_classes=10, width=100, evaluator=None, device="cpu")
        >>> tuple(klda.model.head.members[0].scatter.shape)
        (100, 100)
    """

    classifier = KernelLDA

    width: Count = 5000
    """Random features M per member."""
    gamma: Positive | None = None
    """Gamma of the kernel; None for 1 / median squared distance of the first batch's features."""
    shrinkage: Share | ByRule = 1e-3
    """Rho; 0 only with ``form="released"``, where it takes the pseudo-inverse."""
    shrinkage_form: ShrinkageForm = "added"
    """How rho enters, see :data:`~cl_prompts.closed_form.shrinkage.ShrinkageForm`."""
    members: Count = 1
    """Members of the ensemble; published: 5 for text, 1 for images."""
    form: KLDAForm = "exact"
    """``"released"``: the published update and sum."""
