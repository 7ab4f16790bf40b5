"""FlyPrompt: experts by a sample clock, an analytic router, slow heads (ICLR 2026)."""

from __future__ import annotations

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count
from cl_prompts.losses.classification import ClassMask
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.blocks import Blocks, check_blocks
from cl_prompts.prompts.pools import ExpertTokens, class_position
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.plugins.router import Router
from cl_prompts.strategies.plugins.slow_heads import SlowHeads

#: experts where neither their number nor that of the tasks is given, as published
PUBLISHED_EXPERTS = 5


class FlyPrompt(PromptStrategy):
    """FlyPrompt ("Brain-Inspired Random-Expanded Routing with Temporal-Ensemble Experts for General
    Continual Learning", ICLR 2026, arXiv 2602.01976). One class per image.

    Experts are context tokens in several blocks and learn one after the other: the next one starts
    every ``period`` samples of the stream, or with an announced task, as the mean of its
    predecessors, which never change again. A router says which expert a test image gets: ridge
    regression from randomly expanded frozen features to the expert that was in training when they
    came (:class:`~cl_prompts.models.routers.AnalyticRouter`). One head serves all experts; each has
    slow heads besides, averages of that head from its own time, and each class is scored by the
    surest of them (:class:`~cl_prompts.models.slow_heads.SlowHeads`). Loss: cross-entropy over the
    classes of the batch.

    Deviations from the published code. Finished experts stand still, where Adam's momentum moves
    the published ones for some ten steps more. Experts without queries do not compete in the
    router. The router takes each stream image in as the first update sees it, augmented where the
    data set augments; published: without augmentation. The router has 2,000 random features
    (published: 10,000, of which the sums take 800 MB). The length of the stream need not be known:
    ``period`` says it, published as length // experts. Rows carry no positional embedding
    (``position``).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> fly = FlyPrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> len(fly.model.pools[0].values), fly.model.slow.decays
        (5, (0.9, 0.99))
    """

    # Slow head j: W_j <- decay_j W_j + (1 - decay_j) W behind every update.
    own_plugins = (Router(), SlowHeads(decays=(0.9, 0.99)))
    excluded = ("multi_label", "compile")

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    n_experts: Count | None = None
    """Experts; None for one per task, or 5 if the number of tasks is unknown. Once tasks or periods
    exceed them, the last one goes on learning."""
    period: Count | None = 10_000
    """Stream samples after which the next expert starts where no boundary is announced; None for
    one expert alone."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 20
    """Context tokens per expert and block."""
    position: bool = False
    """Add the class token's positional embedding to every prompt token, as published: a constant
    shift."""
    class_mask: ClassMask = "batch"
    online_iter: Count = 3
    new_optimizer: bool = False

    @property
    def n_head_experts(self) -> int:
        """Experts in all, each with slow heads of its own."""
        return self.n_experts or self.n_tasks or PUBLISHED_EXPERTS

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Whether each task has an expert of its own."""
        return self.n_experts is None

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the experts, among which the router chooses; the head reads the class token."""
        check_blocks(backbone.depth, prompted_blocks=self.prompted_blocks)
        experts = ExpertTokens(
            self.n_head_experts,
            self.prompted_blocks,
            self.prompt_length,
            backbone.dim,
            position=class_position(backbone) if self.position else None,
        )
        # Without a selector: the plugin Router, which the method is defined with, puts its own in.
        return PromptedViT(backbone, n_classes, pools=[experts])
