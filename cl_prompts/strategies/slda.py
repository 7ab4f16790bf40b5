"""Streaming LDA: running means, one shared covariance, no gradient (CVPR-W 2020)."""

from cl_prompts.checks import Share
from cl_prompts.closed_form.leave_one_out import LeaveOneOut
from cl_prompts.closed_form.shrinkage import ByRule, ShrinkageForm
from cl_prompts.closed_form.streaming_lda import StreamingLDA
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class SLDA(PrototypeStrategy):
    """Deep SLDA (Hayes and Kanan, CVPR-W 2020, arXiv 1909.01520).

    Running class means ``mu_c`` of the class token and one covariance S shared by all classes; with
    ``L = ((1 - e) S + e I)^-1`` the score of class c is ``x L mu_c - mu_c L mu_c / 2``. Published:
    ``e = 1e-4``.

    Deviations: the covariance is exact, around the final class means, so the order of the stream
    does not matter (see :class:`~cl_prompts.closed_form.streaming_lda.StreamingLDA`); there
    is no base phase.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> slda = SLDA(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> slda.model.head.shrinkage
        0.0001
    """

    classifier = StreamingLDA
    plain_images = False
    shrinkage: Share | ByRule | LeaveOneOut = 1e-4
    """Shrinkage e towards the identity, greater than 0; ``"oas"`` computes it from S and the number
    of samples, towards the mean variance; ``"leave_one_out"`` adds the multiple of I of least
    leave-one-out cross-entropy."""
    shrinkage_form: ShrinkageForm = "share"
    """Form of the shrinkage: ``"share"``, as above; ``"added"``, S + e I; ``"relative"``, S + e m I
    with the mean variance m, as in the whitened head."""
