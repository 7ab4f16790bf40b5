"""Parts of training loops: buffers, importances, schedules and adaptive rates."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "buffers.ClassBalancedBuffer buffers.ReplayBuffer buffers.ReservoirBuffer ewc.OnlineEWC"
    " gaussian_alignment.GaussianHeadAlignment"
    " buffers.diverse_selection buffers.view_uncertainty rates.AdaptiveRate"
    " rates.learning_rate_factor rates.scale_learning_rates",
)
__all__ = __dir__()
