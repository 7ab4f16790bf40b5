"""Parts of prompt methods: selectors, pools, prefixes and components."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "additive.AdditivePrompt beside.BesidePrompts components.AttentionWeights"
    " components.ComponentPool encoders.LSTMEncoder encoders.MLPEncoder encoders.ProjectorEncoder"
    " files.read_prompts files.save_prompts gates.GatedPrefixes gates.ScoreGate"
    " parameterisations.Decomposed parameterisations.Reparameterised pools.ExpertTokens pools.Pool"
    " pools.PrependedTokenPool pools.SharedTokens pools.TokenPool prefixes.PrefixPool"
    " prefixes.SharedPrefix quantised.QuantisedComponents quantised.SoftKeys"
    " selectors.ClassTokenQuery selectors.NearestKeys selectors.Selection selectors.Selector"
    " sparse.SparsePrefix task_adapters.Adapter task_adapters.TaskAdapters task_aware.TaskAware"
    " task_selectors.BatchwisePrompt task_selectors.FrequencyPenalty task_selectors.TaskSlots"
    " wrapped.AveragedPrompts wrapped.MomentumSlots wrapped.WrappedPool",
)
__all__ = __dir__()
