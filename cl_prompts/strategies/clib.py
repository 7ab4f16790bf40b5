"""CLIB: training only on a buffer of the most important samples (ICLR 2022)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.checks import Count, Decay, Several, Significance
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.buffers import ClassBalancedBuffer
from cl_prompts.training.rates import AdaptiveRate, scale_learning_rates


class CLIB(HeadStrategy):
    """Continual learning for i-Blurry (CLIB; Koh et al., ICLR 2022, arXiv 2110.10031). One class
    per image.

    A stream batch first enters the buffer; every update then trains on ``buffer_batch_size``
    samples drawn from the buffer, ``L = CE(buffer batch)``. If it is full, the largest class loses
    its least important sample. The importance of a sample is a running mean of the decrease of the
    buffer's mean loss when it was trained on
    (:class:`~cl_prompts.training.buffers.ClassBalancedBuffer`). Two neighbouring learning rates
    alternate, and a test on those decreases moves the pair
    (:class:`~cl_prompts.training.rates.AdaptiveRate`), for all parameter groups and on top of
    ``schedule``.

    The buffer's loss is observed every ``importance_every`` updates. On a frozen ViT this costs a
    head on cached features, computed when a sample enters (one forward pass per stream sample, of
    its first view); a fine-tuned ViT passes over the whole buffer each time.

    Published settings (defaults): observed after every update, EMA 0.9, rates 1 and 0.95 times
    5e-3, 10 updates per phase, 10 observations per test, significance 0.05; frozen ViT, head by
    Adam, buffer batch 32, 3 updates a batch, and the buffer of the other replay baselines, 2000.
    Deviations from the published code, whose importances stay 0 and whose buffer losses compare
    different numberings of the classes: see the two parts. No CutMix.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> clib = CLIB(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(clib.buffer_features.shape)  # cached for each slot of the buffer
        (2000, 128)
    """

    excluded = ("multi_label",)
    # Updates read only the buffer, so stream samples must enter it first.
    remember_first = True

    buffer_size: Count = 2000
    """Samples in the buffer."""
    importance_every: Count = 1
    """Updates between two observations of the buffer's loss."""
    importance_ema: Decay = 0.9
    """Decay of the importance per observation."""
    lr_step: Decay = 0.95
    """Ratio of the lower to the higher rate."""
    lr_period: Count = 10
    """Updates with one rate before the next."""
    lr_length: Several = 10
    """Observations of each rate in a test."""
    significance: Significance = 0.05
    """Significance level of that test."""

    buffer: ClassBalancedBuffer

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Relative to each group's own rate.
        self.rate = AdaptiveRate(
            1.0,
            step=self.lr_step,
            period=self.lr_period,
            length=self.lr_length,
            significance=self.significance,
        )
        self.buffer_features: Tensor | None = None
        """Features (slots, dim) of the stored samples, on a frozen ViT."""
        if not self.model.reads_images:
            dim = self.model.backbone.feature_dim
            self.buffer_features = torch.zeros(self.buffer_size, dim, device=self.device)
        self.state.add("rate", "buffer_features")

    def make_buffer(self, size: int, seed: int) -> ClassBalancedBuffer:
        """Return a class-balanced buffer that evicts by importance."""
        return ClassBalancedBuffer(
            size, width=2, policy="importance", ema=self.importance_ema, seed=seed
        )

    @torch.no_grad()
    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Store samples in the buffer, with their features on a frozen ViT."""
        slots = self.replay.add(rows, batch.labels_on_host(len(rows)))
        if self.buffer_features is not None:
            # A slot of -1 is of a sample that was not stored.
            stay = (slots >= 0).nonzero()[:, 0].to(self.device)
            features = self.model.run(batch.images[stay]).cacheable["frozen"]
            self.buffer_features[slots.to(self.device)[stay]] = features

    def make_batch(self, stream: Batch) -> Batch:
        """Return replayed samples only."""
        return super().make_batch(stream).part(slice(stream.n_stream, None))

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update importances and rate by the decrease of the buffer's losses."""
        self.buffer.mark_trained(batch.slots)
        if (self.updates + 1) % self.importance_every:
            return
        decrease = self.buffer.observe_losses(self.buffer_losses())
        self.rate.update(decrease, self.importance_every)
        self.set_learning_rate()

    def learning_rate_factor(self) -> float:
        """Return the schedule's factor times the adaptive one."""
        return super().learning_rate_factor() * self.rate.lr

    def set_learning_rate(self) -> None:
        """Set each group's rate, also for a constant schedule."""
        scale_learning_rates(self.optimizer, self.learning_rate_factor())

    @torch.no_grad()
    def buffer_losses(self) -> Tensor:
        """Return the cross-entropy (stored samples,) of each under the current model."""
        held = len(self.buffer)
        if self.buffer_features is not None:
            logits = self.model.run(None, {"frozen": self.buffer_features[:held]}).logits
        else:
            references = self.buffer.slots[:held].split(self.eval_mb_size)
            # Other views than those of the update.
            draw = self.replay.draws
            read = (self.replay.read(some, self.updates, draw)[0][0] for some in references)
            logits = torch.cat([self.model(images.to(self.device)) for images in read])
        labels = self.buffer.labels[:held].to(self.device)
        return F.cross_entropy(logits, labels, reduction="none")
