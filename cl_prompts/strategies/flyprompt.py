"""FlyPrompt: an expert per period, chosen by a ridge regression; slow heads (ICLR 2026)."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, ExpertTokens, check_blocks
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.plugins.router import Router
from cl_prompts.strategies.plugins.slow_heads import SlowHeads

#: number of experts if neither it nor the number of tasks is given, as published
PUBLISHED_EXPERTS = 5


class FlyPrompt(PromptStrategy):
    """FlyPrompt, routed prompt experts with slow heads (ICLR 2026). One class per image.

    Source: "Brain-Inspired Random-Expanded Routing with Temporal-Ensemble Experts for General
    Continual Learning", arXiv 2602.01976.

    Experts are context tokens in several blocks, trained one after the other: the next one starts
    every ``period`` samples of the stream, or with an announced task, as the mean of its
    predecessors, which are then frozen. A router selects the expert of a test image: ridge
    regression from randomly expanded frozen features to the expert in training at that time
    (:class:`~cl_prompts.models.routers.AnalyticRouter`). All experts share one head. Each also has
    slow heads, averages of that head while it trained, and the most confident of them scores each
    class (:class:`~cl_prompts.models.slow_heads.HeadAverages`). Loss: cross-entropy over the
    classes of the batch.

    Deviations from the published code: finished experts do not change, where Adam's momentum moves
    the published ones for some ten steps more; experts without queries do not compete in the
    router; the router is trained on the images of the first update, augmented if the data set
    augments (published: without augmentation); it has 2,000 random features (published: 10,000,
    whose sums take 800 MB); ``period`` is a setting (published: stream length // experts); prompts
    have no positional embedding (published: the class token's, a constant shift).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> fly = FlyPrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> len(fly.model.pools[0].values), fly.model.slow.decays
        (5, (0.9, 0.99))
    """

    # Slow head j: W_j <- decay_j W_j + (1 - decay_j) W after every update.
    own_plugins = (Router(), SlowHeads(decays=(0.9, 0.99)))
    excluded = ("multi_label",)

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    n_experts: Count | None = None
    """Experts; None for one per task, or 5 if the number of tasks is unknown. Further tasks or
    periods train the last expert."""
    period: Count | None = 10_000
    """Stream samples per expert where no boundary is announced; None for a single expert."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 20
    """Context tokens per expert and block."""
    class_mask: ClassMask = "batch"
    online_iter: Count = 3
    new_optimizer: bool = False

    @property
    def n_head_experts(self) -> int:
        """Number of experts, each with its own slow heads."""
        return self.n_experts or self.n_tasks or PUBLISHED_EXPERTS

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Return whether each task has its own expert."""
        return self.n_experts is None

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the experts, among which the router chooses; the head reads the class token."""
        check_blocks(backbone.depth, prompted_blocks=self.prompted_blocks)
        experts = ExpertTokens(
            self.n_head_experts, self.prompted_blocks, self.prompt_length, backbone.dim
        )
        # The method's own plugin Router sets the selector.
        return PromptedViT(backbone, n_classes, pools=[experts])
