"""NCM: nearest class mean of frozen features, no gradient."""

from cl_prompts.closed_form.prototype_classifiers import Metric, NearestClassMean
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class NCM(PrototypeStrategy):
    """Nearest class mean (Mensink et al., TPAMI 2013; on frozen ViTs: Janson et al., 2022, arXiv
    2210.04428).

    ``mu_c`` is the running mean of the class token over the samples of class c. An image belongs to
    the class of greatest cosine with ``mu_c``, or of least squared distance.

    Deviation: Mensink et al. learn a metric as well, and Janson et al. compare ViTs by squared
    distance; the cosine is what later work on frozen ViTs uses (SimpleCIL: Zhou et al., IJCV 2024,
    arXiv 2303.07338).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> ncm = NCM(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(ncm.model.head.mean.shape)
        (10, 128)
    """

    classifier = NearestClassMean
    plain_images = False
    metric: Metric = "cosine"
    """Similarity to a class mean: ``"cosine"`` or ``"euclidean"``."""
