"""LayUP: ridge regression on the class tokens of several blocks, no gradient (TMLR 2024)."""

from cl_prompts.checks import Positive, Size
from cl_prompts.closed_form.layup import RIDGES, LayUP
from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.strategies.ranpac import RanPACProbe


class LayUPProbe(RanPACProbe):
    """LayUP without its first phase, as a probe of frozen features.

    Source: "Read Between the Layers", Ahrens et al., TMLR 2024, arXiv 2312.08888. Ridge regression
    of one-hot labels on ``h``, the class tokens of the last 6 blocks before the final norm:
    ``W = (G + ridge I)^-1 Q`` with ``G += h' h`` and ``Q += h' Y``. The ridge is selected at each
    announced task end, or every ``period`` samples, by four-fold cross-validation on the samples
    since the last selection (:class:`~cl_prompts.closed_form.layup.LayUP`).

    With several labels: the :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge` on
    h, whose ridge has the least squared error on ``held_out`` samples; not published.

    Deviations: the paper may first tune adapters, scales or prompts on the first task, and selects
    the best epoch on its *test* images; sums are float64; unseen classes are masked (in the
    published code their zeros win if all other scores are negative).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> layup = LayUPProbe(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> layup.model.head.dim  # six blocks of width 128
        768
    """

    excluded = (*RanPACProbe.excluded, "projection", "expansion")
    candidates = RIDGES
    plain_images = True

    # k = 6 blocks, all before the final norm.
    features: str = "raw_blocks:6"
    intercept: bool = False
    """Append a constant 1 to the features, whose coefficient is regularised as well; always done
    with several labels."""
    ridge: Positive = 100.0
    held_out: Size = 1000
    """Samples since the last selection of the ridge, stored for the next one; 0 for a fixed
    ridge."""

    def make_classifier(self, dim: int, n_classes: int) -> SolvedClassifier:
        """Make the ridge regression on the features of all blocks."""
        shared = self.values_of("ridge", "held_out", "seed")
        if self.multi_label:
            return MultiLabelRidge(dim, n_classes, **shared)
        return LayUP(dim, n_classes, intercept=self.intercept, **shared)
