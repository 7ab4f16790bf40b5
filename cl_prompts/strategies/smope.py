"""SMoPE: one prefix whose rows are experts, selected by block and image (ICLR 2026)."""

from collections import defaultdict
from typing import cast

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share, whole_number
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, check_blocks
from cl_prompts.prompts.sparse import SparsePrefix
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import task_outputs
from cl_prompts.strategies.plugins.head_alignment import HeadAlignment
from cl_prompts.training.rates import Schedule, learning_rate_factor


class SMoPE(PromptStrategy):
    """SMoPE, sparse mixture of prompt experts (ICLR 2026). One class per image.

    Source: "One-Prompt Strikes Back: Sparse Mixture of Experts for Prompt-based Continual
    Learning", arXiv 2509.24483.

    The rows of one shared prefix are experts: in each block and head, an image attends to the k
    experts that best match its mean query. In training, experts that earlier tasks used often are
    penalised and regularised to their earlier values. There is no query pass and no key. Loss:
    cross-entropy over the task's classes, and the router and prototype terms of
    :class:`~cl_prompts.prompts.sparse.SparsePrefix`.

    The first announced task starts with a dense phase, epochs that use all experts; then the
    optimizer is reset and the sparse epochs follow. At the end of an announced task, a second pass
    over its images counts the selected experts. If no boundary is announced, training counts them,
    ``period`` samples are a task, and the first period starts with the dense phase.

    Defaults are the published ones for CIFAR-100, with 5 times the head's rate for prompts.

    Deviations: the dense phase is a share of the first task's epochs (published: 10 in addition to
    its 20); the cosine schedule is per epoch, without 80 first iterations at 1e-6; an epoch of the
    alignment has as many batches as seen classes.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> smope = SMoPE(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(smope.model.pools[0].keys.shape)  # blocks, heads, experts, width of a head
        (6, 4, 25, 32)
    """

    own_plugins = (
        HeadAlignment(epochs=50, lr=1e-5, samples=512, statistics="variance", optimizer="adamw"),
    )
    excluded = ("multi_label", "query_block")

    prompted_blocks: Blocks = (0, 1, 2, 3, 4, 5)
    """Blocks with prompts, 0-based."""
    n_experts: Count = 25
    """Experts per block and head, each a key and a value."""
    top_k: Count = 5
    """Experts per image."""
    epsilon: NotNegative = 0.4
    """Penalty on experts of earlier tasks, relative to the range of the scores; ImageNet-R: 0.7,
    0.5 and 0.3 with 5, 10 and 20 tasks."""
    router_weight: NotNegative = 1e-5
    """Weight of the cross-entropy that keeps each image with its selected experts."""
    prototype_weight: NotNegative = 1e-5
    """Weight of the term that keeps frequent experts near their earlier values."""
    dense_share: Share = 0.5
    """Share of the first announced task's epochs, or of the first period's samples, in the dense
    phase; rounded down."""
    lr: Positive = 5e-3
    """Learning rate of the head."""
    prompt_lr: Positive | None = 2.5e-2
    train_mb_size: Count = 128
    train_epochs: Count = 20
    """Epochs of each experience."""
    schedule: Schedule = "cosine"
    period: Count | None = 1000
    """Stream samples per task where no boundary is announced; None for no task ends."""

    def check_settings(self) -> None:
        """Refuse more experts per image than there are."""
        super().check_settings()
        whole_number("top_k", self.top_k, 1, self.n_experts, of="n_experts")

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
        """Return the number of dense epochs of the current experience."""
        first = self.tasks_started == 1 and self.loop.task.first
        return int(self.dense_share * self.train_epochs) if first else 0

    def _is_dense(self) -> bool:
        if self.announced:
            return self.clock.train_exp_epochs < self._dense_epochs()
        return self.samples_seen < int(self.dense_share * (self.period or 0))

    def learning_rate_factor(self) -> float:
        """Return the factor of the schedule, which the sparse phase restarts."""
        dense, epoch = self._dense_epochs() if self.announced else 0, self.clock.train_exp_epochs
        if epoch < dense:
            return learning_rate_factor(self.schedule, epoch, dense)
        return learning_rate_factor(self.schedule, epoch - dense, self.train_epochs - dense)

    def training_output(self, batch: Batch) -> Output:
        """Run the model, with all experts in the dense phase.

        If no boundary is announced, this counts the selected experts.
        """
        dense = self._is_dense()
        if self.experts.dense and not dense:
            self.optimizer.state = defaultdict(dict)
        self.experts.dense = dense
        if self.announced:
            return super().training_output(batch)
        with self.experts.counting():
            return super().training_output(batch)

    def finish_task(self) -> None:
        """Update the experts' use counts, after a second pass over an announced task."""
        # Count with sparse selection, as in tests.
        self.experts.dense = False
        if self.announced:
            with self.experts.counting():
                for _ in task_outputs(self):
                    pass  # the pass itself counts
        self.experts.end_task()
        super().finish_task()
