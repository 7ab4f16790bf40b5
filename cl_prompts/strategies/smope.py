"""SMoPE: one prefix whose rows are experts that each block chooses for an image (ICLR 2026)."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share, in_range
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.blocks import Blocks, check_blocks
from cl_prompts.prompts.sparse import SparsePrefix
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import task_outputs
from cl_prompts.strategies.plugins.head_alignment import HeadAlignment
from cl_prompts.training.schedules import Schedule, learning_rate_factor


class SMoPE(PromptStrategy):
    """SMoPE ("One-Prompt Strikes Back: Sparse Mixture of Experts for Prompt-based Continual
    Learning", ICLR 2026, arXiv 2509.24483). One class per image.

    One shared prefix, whose rows are experts: in each block and head, an image attends to the k
    that fit its mean query best. Experts that earlier tasks used often are penalised in training,
    and held to what they were. No query pass, no key, no slot. Loss: cross-entropy over the task's
    classes, and the router and prototype terms of
    :class:`~cl_prompts.prompts.sparse.SparsePrefix`.

    The first announced task begins with a dense phase, epochs in which all experts act; a fresh
    optimizer and the sparse epochs follow. At its end, an announced task's images pass once more to
    count which experts they choose. Where no boundary is announced, training itself counts, counts
    are settled every ``period`` samples, and the first period begins with the dense phase.

    Defaults are the published ones for CIFAR-100, with a rate 5 times the head's for prompts.

    Deviations: the dense phase is a share of the first task's epochs, published are 10 in addition
    to its 20; the cosine schedule goes by epochs, without 80 first iterations at 1e-6; an epoch of
    the alignment has as many batches as classes seen.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> smope = SMoPE(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(smope.model.pools[0].keys.shape)  # blocks, heads, experts, width of a head
        (6, 4, 25, 32)
    """

    own_plugins = (
        HeadAlignment(epochs=50, lr=1e-5, samples=512, statistics="variance", optimizer="adamw"),
    )
    excluded = ("multi_label", "compile")

    prompted_blocks: Blocks = (0, 1, 2, 3, 4, 5)
    """Blocks with prompts, 0-based."""
    n_experts: Count = 25
    """Experts of a block and head, each a key and a value."""
    top_k: Count = 5
    """Experts that an image attends to."""
    epsilon: NotNegative = 0.4
    """Penalty on experts of earlier tasks, in ranges of the scores; ImageNet-R: 0.7, 0.5 and 0.3
    with 5, 10 and 20 tasks."""
    router_weight: NotNegative = 1e-5
    """Weight of the term that holds images to the experts they were given."""
    prototype_weight: NotNegative = 1e-5
    """Weight of the term that holds frequent experts to what they were."""
    dense_share: Share = 0.5
    """Share of the first announced task's epochs, or of the samples of the first period, in which
    all experts act; rounded down."""
    lr: Positive = 5e-3
    """Learning rate of the head."""
    prompt_lr: Positive | None = 2.5e-2
    train_mb_size: Count = 128
    train_epochs: Count = 20
    """Passes over each experience, the sparse ones."""
    schedule: Schedule = "cosine"
    period: Count | None = 1000
    """Stream samples after which counts are settled and the head is aligned where no boundary is
    announced; None for never."""

    def check_settings(self) -> None:
        """Refuse more experts per image than there are."""
        super().check_settings()
        in_range(1, self.n_experts, top_k=self.top_k)

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build a sparse prefix, without a query; the head reads the class token."""
        check_blocks(backbone.depth, prompted_blocks=self.prompted_blocks)
        prefix = SparsePrefix(
            self.prompted_blocks,
            self.n_experts,
            self.top_k,
            backbone.dim,
            backbone.n_heads,
            **self.values_of("epsilon", "router_weight", "prototype_weight"),
        )
        return PromptedViT(backbone, n_classes, pools=[prefix])

    @property
    def experts(self) -> SparsePrefix:
        """The prefix."""
        return cast(SparsePrefix, self.model.pools[0])

    def _dense_epochs(self) -> int:
        """Dense epochs of the current experience, where boundaries are announced."""
        # All experts learn in the first task, before few of them are chosen.
        first = self.tasks_started == 1 and self.task_position.first
        return int(self.dense_share * self.train_epochs) if first else 0

    def _is_dense(self) -> bool:
        if self.announced:
            return self.clock.train_exp_epochs < self._dense_epochs()
        return self.samples_seen < int(self.dense_share * (self.period or 0))

    def learning_rate_factor(self) -> float:
        """Factor of the schedule, which the dense epochs have for themselves."""
        dense, epoch = self._dense_epochs() if self.announced else 0, self.clock.train_exp_epochs
        if epoch < dense:
            return learning_rate_factor(self.schedule, epoch, dense)
        return learning_rate_factor(self.schedule, epoch - dense, self.train_epochs - dense)

    def training_output(self, batch: Batch) -> Output:
        """Run the model, with all experts in the dense phase; where no boundary is announced, count
        whom images choose."""
        dense = self._is_dense()
        if self.experts.dense and not dense:
            # The sparse phase begins without the moments of the dense one.
            self.optimizer.state = defaultdict(dict)
        self.experts.dense = dense
        if self.announced:
            return super().training_output(batch)
        with self.experts.counting():
            return super().training_output(batch)

    def finish_task(self) -> None:
        """Settle the experts' counts, of an announced task after a pass over its images."""
        # Images are counted as tests choose: deeper blocks' scores depend on earlier choices.
        self.experts.dense = False
        if self.announced:
            with self.experts.counting():
                for _ in task_outputs(self):
                    pass  # the pass itself counts
        self.experts.end_task()
        super().finish_task()
