"""Prompt averaging: evaluate with a Gaussian average of a task's prompts over training."""

from cl_prompts.checks import Count, Positive
from cl_prompts.prompts.wrapped import AveragedPrompts, Reparameterised
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.prompt_form import slots_of, value_pools


class PromptAveraging(StrategyPlugin):
    """Gaussian average of a task's prompts for evaluation (PromptSRC, ICCV 2023).

    Source: arXiv 2307.06948; see :class:`~cl_prompts.prompts.wrapped.AveragedPrompts`. Checkpoints
    are taken at equal intervals of stream samples, over all epochs of an announced task or over
    ``period`` samples. The published average is over 20 epochs and replaces the weights at the end;
    here training continues from the current weights.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> averaging = PromptAveraging(checkpoints=10)
        >>> one = OnePrompt(**given, plugins=[averaging], period=300, device="cpu")
        >>> type(one.model.pools[0]).__name__
        'AveragedPrompts'
    """

    needs = "prompt_form"

    checkpoints: Count = 20
    """Checkpoints per task or period."""
    mean: Positive | None = None
    """Number of the checkpoint with the greatest weight, from 1; None for three quarters of all.
    PromptSRC: 15 of 20."""
    std: Positive | None = None
    """Width of the average in checkpoints; None for a tenth of all. PromptSRC: 1 of 20."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Wrap the pools of the strategy's model."""
        self.n_samples = 0
        """Samples trained on in the current task or period, over all epochs."""
        self.taken = 0
        """Checkpoints taken in it."""
        self.state.add("n_samples", "taken")
        pools = strategy.model.pools if hasattr(strategy.model, "pools") else []
        if any(isinstance(pool, Reparameterised) for pool in pools):
            raise self.refusal("does not work with prompt_form=Encoded", "leave one of the two out")
        wrapped = value_pools(strategy.model)
        if not wrapped:
            raise self.lacking(strategy, "single entries of a pool")
        for i in wrapped:
            pools[i] = AveragedPrompts(
                pools[i],
                self.checkpoints,
                slots=slots_of(strategy.model, pools[i]),
                **self.values_of("mean", "std"),
            )

    def end_of_stream_batch(self, strategy: OnlineStrategy, samples: int) -> None:
        """Take the checkpoints that are due."""
        length = strategy.period or 0
        if strategy.announced:
            length = len(whole_of(strategy.experience).dataset) * strategy.train_epochs
        if not length:
            return
        self.n_samples += samples
        # A large batch may make several checkpoints due at once.
        due = min(self.n_samples * self.checkpoints // length, self.checkpoints)
        for pool in strategy.model.pools:
            if not isinstance(pool, AveragedPrompts):
                continue
            if due and not self.taken:  # until now evaluation used the previous average
                pool.restart()
            for _ in range(self.taken, due):
                pool.take_checkpoint()
        self.taken = due

    def end_of_task(self, strategy: OnlineStrategy) -> None:
        """Start a new average with the next checkpoint."""
        self.n_samples = 0
        self.taken = 0
