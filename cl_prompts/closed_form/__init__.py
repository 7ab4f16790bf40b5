"""Classifiers that are statistics of frozen features: sums, ridges, discriminants."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "anacp.ContrastiveProjection balanced_ridge.BalancedRidge discriminant.RegularisedDiscriminant"
    " kernel_lda.ClasswiseLDA kernel_lda.KernelLDA kernel_lda.MovingLDA layup.LayUP"
    " mahalanobis.MahalanobisPerClass multi_label_ridge.MultiLabelRidge pooled_ridge.PooledRidge"
    " prototype_classifiers.NearestClassMean prototype_classifiers.PrototypeClassifier"
    " ranpac.RanPAC ridge.RandomExpansion ridge.RidgeStatistics ridge_lda.RidgeLDA"
    " streaming_lda.StreamingLDA whitening.FeatureWhitening",
)
__all__ = __dir__()
