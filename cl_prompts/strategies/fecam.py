"""FeCAM: Mahalanobis distance with one covariance per class, no gradient (NeurIPS 2023)."""

from typing import Literal

from cl_prompts.checks import NotNegative, Positive
from cl_prompts.closed_form.mahalanobis import MahalanobisPerClass
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class FeCAM(PrototypeStrategy):
    """FeCAM (Goswami et al., NeurIPS 2023, arXiv 2309.14062), as published for frozen ViTs.

    With the unit feature v, the mean m_c of a class and its covariance, shrunk, ``S + a1 mean(diag
    S) I + a2 mean(off-diagonal S) (1 - I)``, and turned into correlations R_c, the class of least
    ``(v - m_c) R_c^-1 (v - m_c)^T`` wins. All formulas:
    :class:`~cl_prompts.closed_form.mahalanobis.MahalanobisPerClass`.

    Memory: a matrix of dim^2 numbers per class, and as much again in evaluation: 0.9 GiB for 100
    classes at a width of 768. More than ``memory_gib`` is refused.

    Deviations: covariances are exact even if a class returns, where the published code computes
    each from one task. The published form for trained backbones takes square roots of features,
    which in a ViT are often negative.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> fecam = FeCAM(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(fecam.model.head.classes.scatters.shape)
        (10, 128, 128)
    """

    classifier = MahalanobisPerClass

    diagonal: NotNegative = 1.0
    """Shrinkage a1; published: 1 on CIFAR-100, 10 on ImageNet-R."""
    off_diagonal: NotNegative = 0.0
    """Shrinkage a2; published: 0 on CIFAR-100, 10 on ImageNet-R."""
    form: Literal["frozen", "toolbox"] = "frozen"
    """``"frozen"`` as published for frozen ViTs, or ``"toolbox"`` as in LAMDA-PILOT."""
    memory_gib: Positive = 4.0
    """Limit of the matrices' memory in GiB; more is refused."""
