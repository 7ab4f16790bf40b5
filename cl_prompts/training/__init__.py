"""Parts of training loops: buffers, importances, schedules and adaptive rates."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "buffers.ClassBalancedBuffer buffers.ReplayBuffer buffers.ReservoirBuffer ewc.OnlineEWC"
    " forgetting_aware.ForgettingAware gaussian_alignment.GaussianHeadAlignment"
    " rainbow.diverse_selection rainbow.view_uncertainty rates.AdaptiveRate"
    " schedules.learning_rate_factor schedules.scale_learning_rates",
)
__all__ = __dir__()
