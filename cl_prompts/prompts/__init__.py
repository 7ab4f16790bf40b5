"""Parts of prompt methods: selectors, pools, prefixes and components."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "additive.AdditivePrompt additive.DecomposedTokens beside.BesidePrompts"
    " components.AttentionWeights components.ComponentPool files.read_prompts"
    " patches.PatchSelection pools.ExpertTokens pools.Pool pools.PrependedTokenPool"
    " pools.SharedTokens pools.TokenPool"
    " prefixes.GatedPrefixes prefixes.PrefixPool prefixes.ScoreGate prefixes.SharedPrefix"
    " quantised.QuantisedComponents quantised.SoftKeys selectors.ClassTokenQuery"
    " selectors.NearestKeys selectors.Selection selectors.Selector sparse.SparsePrefix"
    " task_adapters.Adapter task_adapters.TaskAdapters task_aware.TaskAware"
    " task_selectors.BatchwisePrompt task_selectors.TaskSlots wrapped.AveragedPrompts"
    " wrapped.MomentumSlots wrapped.Reparameterised wrapped.WrappedPool",
)
__all__ = __dir__()
