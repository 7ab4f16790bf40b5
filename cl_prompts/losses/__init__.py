"""Losses, one idea per file."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "classification.centroid_contrast classification.masked_cross_entropy"
    " classification.reverse_cross_entropy distillation.StoredLogits"
    " distillation.distillation_loss distillation.stored_logit_loss multi_label.multi_label_loss"
    " mvp.adaptive_scale mvp.contrastive_key_loss mvp.key_distance mvp.mvp_classification_loss"
    " self_regulation.cosine_consistency self_regulation.logit_divergence",
)
__all__ = __dir__()
