"""Continual and multi-label scores, curves and intervals."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "continual.a_auc continual.a_avg continual.a_last continual.backward_transfer"
    " continual.class_forgetting continual.forgetting curve.Curve curve.Evaluation"
    " intervals.change_interval intervals.wilson multi_label.MultiLabelScores"
    " multi_label.average_precision multi_label.f1_scores",
)
__all__ = __dir__()
