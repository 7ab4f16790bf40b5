"""Models on a frozen ViT: prompts, lanes, adapters, prototypes, heads."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "adapted.AdaptedViT adapted.AperViT adapted.EaseViT adapted.SubspacePrototypes"
    " alignment.BatchAlignment base.ContinualModel base.Encoding base.Output"
    " feature_cache.FeatureCache heads.CosineHead heads.LinearHead heads.UnitRowHead"
    " mixture_head.MixtureHead multi_lane.MultiLaneViT prompted.InstanceLogitMask"
    " prompted.PromptedViT prototype.PrototypeViT routers.AnalyticRouter routers.ExpertRouter"
    " routers.HeadRouter routers.TaskIdentity slow_heads.HeadAverages",
)
__all__ = __dir__()
