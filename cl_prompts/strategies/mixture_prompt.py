"""MixturePrompt: one expert head per part of the stream, with a gate on the image (MoCoOp)."""

from dataclasses import replace

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.models.base import Output
from cl_prompts.models.mixture_head import MixtureHead
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import Batch


class MixturePrompt(OnlineStrategy):
    """Image-only version of MoCoOp's mixture of prompts. One class per image.

    Source: "Mixture of Prompt Learning for Vision Language Models", arXiv 2409.12011. MoCoOp learns
    soft prompts of CLIP, one for each group of hand-written templates, and a gate on the image
    mixes the class features of the best two. Without a text tower, experts here are rows of a
    cosine classifier on the frozen class token, and groups are parts of the stream, each with its
    class means (:class:`~cl_prompts.models.mixture_head.MixtureHead`). The next group starts with
    an announced task, or every ``period`` samples. Loss: cross-entropy, plus ``text_weight`` times
    the distance of each expert from its group, plus ``gate_weight`` times the gate's cross-entropy
    to the groups in which the class resembled the image.

    If no class occurs in two groups, as with disjoint tasks, all groups are equal, and the method
    is a cosine classifier regularised to class means.

    Deviations: no noise on templates, which changes nothing but a buffer; experts that are not
    selected keep their rows in small batches as well; Adam instead of SGD and of separate rates for
    the tower's LayerNorms. Each stream sample enters its class mean once, in the first update.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> mixed = MixturePrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> tuple(mixed.model.head.experts.shape)  # groups, classes, width
        (5, 10, 128)
    """

    excluded = ("multi_label", "head")

    n_groups: Count = 5
    """Groups, each with an expert; further tasks or periods belong to the last one."""
    top_k: Count = 2
    """Experts per image."""
    scale: Positive = 10.0
    """Scale of the logits; CLIP's is 100."""
    text_weight: NotNegative = 5.0
    """Weight of the distance of experts from their groups (in the paper, from their texts)."""
    gate_weight: NotNegative = 1.0
    """Weight of the gate's term."""
    period: Count | None = 10_000
    """Stream samples per group where no boundary is announced; None for a single group."""

    _new = False
    """Whether the samples of the stream batch are not in the class means yet."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the experts on the frozen class token."""
        head = MixtureHead(
            backbone.feature_dim, n_classes, self.n_groups, k=self.top_k, scale=self.scale
        )
        return PromptedViT(backbone, n_classes, head=head)

    def start_task(self, classes: Tensor) -> None:
        """Start the group of an announced task."""
        self.model.head.start_group(self.tasks_started - 1)

    def start_period(self) -> None:
        """Start the next group where no boundary is announced."""
        self.model.head.start_group(self.model.head.group + 1)

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch, whose samples are new in the first epoch."""
        super().observe_classes(labels)
        self._new = self.clock.train_exp_epochs == 0

    def training_output(self, batch: Batch) -> Output:
        """Run the model, after a new stream batch has entered the class means."""
        output = super().training_output(batch)
        if not self._new:
            return output
        self._new = False
        n, raw = batch.n_stream, output.raw
        assert raw is not None
        # The features are known only now: classify them again, without another ViT pass.
        self.model.head.observe(raw[:n], batch.labels[:n])
        return replace(output, logits=self.model.classify(raw).logits)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the cross-entropy plus the terms of experts and gate."""
        head: MixtureHead = self.model.head
        # L = CE(z, y) + l_t L_text + l_g CE(s, pi)
        loss = super().training_loss(output, batch) + self.text_weight * head.group_loss()
        if not head.mixes:
            return loss
        return loss + self.gate_weight * head.gate_loss(output.features, batch.labels)
