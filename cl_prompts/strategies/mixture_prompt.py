"""Mixture of experts for stretches of the stream, with a gate on the image (MoCoOp's router)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive
from cl_prompts.models.base import Output
from cl_prompts.models.mixture_head import MixtureHead
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import Batch


class MixturePrompt(OnlineStrategy):
    """An image-only stand-in for "Mixture of Prompt Learning for Vision Language Models" (MoCoOp,
    arXiv 2409.12011). One class per image.

    Published are soft prompts of CLIP, one for each group of hand-written templates, and a gate on
    the image that mixes the class features of the best two. Here is no text tower: experts are rows
    of a cosine classifier on the frozen class token, and groups are stretches of the stream, each
    with the class means of its time (:class:`~cl_prompts.models.mixture_head.MixtureHead`). The
    next group starts with an announced task, or every ``period`` samples. Loss: cross-entropy, plus
    ``text_weight`` times a term that keeps each expert near its group, plus ``gate_weight`` times
    the gate's cross-entropy to the groups in which its class looked like the image.

    Where no class comes in two groups, as with disjoint tasks, all groups are the same, and the
    method is a cosine classifier that is held to class means; a run says so beforehand.

    Deviations: without the noise on templates, which changes nothing but a buffer; experts that are
    not chosen keep their rows in small batches, too. Adam, where published are SGD and rates of the
    tower's LayerNorms. Each stream sample enters its class mean once, as the first update sees it.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> mixed = MixturePrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> tuple(mixed.model.head.experts.shape)  # groups, classes, width
        (5, 10, 128)
    """

    excluded = ("multi_label", "head")

    n_groups: Count = 5
    """Groups, each with an expert. Once tasks or periods exceed them, the last one goes on."""
    top_k: Count = 2
    """Experts that are mixed for an image."""
    scale: Positive = 10.0
    """Scale of the logits; CLIP's is 100."""
    text_weight: NotNegative = 5.0
    """Weight of the term that keeps experts near their groups, in the paper near their texts."""
    gate_weight: NotNegative = 1.0
    """Weight of the gate's term."""
    period: Count | None = 10_000
    """Stream samples after which the next group starts where no boundary is announced; None for one
    group."""

    _new = False
    """Whether the samples of the stream batch have not entered their group."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the experts on the frozen class token."""
        head = MixtureHead(
            backbone.feature_dim, n_classes, self.n_groups, k=self.top_k, scale=self.scale
        )
        return PromptedViT(backbone, n_classes, head=head)

    def warnings_on(self, tasks: Sequence[np.ndarray], *, announced: bool) -> list[str]:
        """Say where no class comes in two groups."""
        labels = np.concatenate(list(tasks))
        numbers = np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])
        if not announced:
            numbers = np.arange(len(labels)) // (self.period or len(labels))
        # Tasks beyond the last group train it on.
        groups = np.minimum(numbers, self.n_groups - 1)
        # Pairs of group and class, each once: a class of two groups occurs in two of them.
        seen = np.unique(np.stack([groups, labels]), axis=1)[1]
        if len(np.unique(seen)) < len(seen):
            return []
        return [
            "no class of this stream comes in two groups, so there is one expert, and no mixture"
        ]

    def start_task(self, classes: Tensor) -> None:
        """Start the group of an announced task."""
        self.model.head.start_group(self.tasks_started - 1)

    def start_period(self) -> None:
        """Start the next group where no boundary is announced."""
        self.model.head.start_group(self.model.head.group + 1)

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch, whose features the next pass knows."""
        super().observe_classes(labels)
        # In later epochs the same samples come again, and are in their class means already.
        self._new = self.clock.train_exp_epochs == 0

    def training_output(self, batch: Batch) -> Output:
        """Run the model; a stream batch enters its group before it is first scored."""
        output = super().training_output(batch)
        # Of the updates on a stream batch, only the first finds new samples.
        if not self._new:
            return output
        self._new = False
        n, raw = batch.n_stream, output.raw
        assert raw is not None
        # The head scores by the means of what it has observed, and features are known only after
        # the pass: they enter, and the batch is classified again, without the ViT.
        self.model.head.observe(raw[:n], batch.labels[:n])
        return replace(output, logits=self.model.classify(raw).logits)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross-entropy, and the terms of experts and gate."""
        head: MixtureHead = self.model.head
        # L = CE(z, y) + l_t L_text + l_g CE(s, pi)
        loss = super().training_loss(output, batch) + self.text_weight * head.group_loss()
        if not head.mixes:
            return loss
        return loss + self.gate_weight * head.gate_loss(output.features, batch.labels)
