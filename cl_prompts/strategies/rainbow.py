"""Rainbow Memory: class-balanced buffer and rehearsals on it (CVPR 2021)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from cl_prompts.checks import Count, Size
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import masked_cross_entropy
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.buffers import ClassBalancedBuffer
from cl_prompts.training.rainbow import diverse_selection, view_uncertainty


class RainbowMemory(HeadStrategy):
    """Rainbow Memory (RM; Bang et al., CVPR 2021, arXiv 2103.17230), as in the Si-Blurry code. One
    class per image.

    Two phases. On the stream: ``CE(stream and buffer)`` with a buffer that holds equal numbers of
    every class, as in experience replay. At the end of each announced task, or else every
    ``period`` samples, a rehearsal: ``rehearsal_epochs`` passes over the buffer alone, in random
    batches of ``train_mb_size``, with the learning rates of :func:`rehearsal_factor`. The passes of
    a rehearsal count as forward passes of training and its steps in ``updates``; Avalanche's
    triggers do not fire for them, and they do not enter the statistics of a whitened head input.

    ``buffer_choice="uncertainty"`` is the paper's: before a rehearsal the buffer is selected from
    its contents and all samples since the last one, evenly over the ranking by uncertainty in each
    class (``uncertainty_views`` augmented views of each candidate; without augmentation all are
    equally certain). It reads past samples of the stream again, which an online protocol would
    count as buffer. ``"random"``, which the published code amounts to, is the class-balanced buffer
    alone.

    Published settings (defaults): 256 epochs, buffer 2000, frozen ViT, head by Adam 5e-3, 64 stream
    and 32 buffer samples. Deviations from the published code: it rehearses at the ends of tasks
    that the stream does not announce (``boundaries=True`` does so here); an epoch there is as many
    passes over the buffer as the buffer has batches; it repeats a stream batch 96 times (here
    ``online_iter``, like every other method), applies CutMix, and crashes after the first task.

    Raises:
        InputError: ``reuse_features`` where features change.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> rm = RainbowMemory(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> rm.buffer.size, rm.rehearsal_epochs
        (2000, 256)
    """

    excluded = ("multi_label",)
    needs_buffer = True
    masks_classes = False

    buffer_size: Size = 2000
    """Samples in the buffer, at least 1."""
    rehearsal_epochs: Size = 256
    """Passes over the buffer in a rehearsal; 0 for no rehearsal."""
    buffer_choice: Literal["random", "uncertainty"] = "random"
    """Selection of the buffer: see above."""
    uncertainty_views: Count = 12
    """Augmented views of each candidate for the uncertainty."""
    reuse_features: bool = False
    """With a frozen ViT, compute features once a rehearsal instead of once an epoch. The same
    numbers where images are not augmented; otherwise one augmented view serves a whole
    rehearsal."""
    period: Count | None = 10_000
    """Stream samples between two rehearsals where no boundary is announced; None for never. The
    default gives published CIFAR-100 streams as many as they have tasks; a shorter stream has
    none."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.reuse_features and self.model.reads_images:
            raise InputError(
                "reuse_features needs features that do not change: use it with backbone_lr=0"
            )
        self.candidates: list[Tensor] = []
        """References and labels (n, 3) of the samples since the last rehearsal, in the parts in
        which they came; empty with "random"."""
        self.state.add("candidates")

    def make_buffer(self, size: int, seed: int) -> ClassBalancedBuffer:
        """Make a class-balanced buffer that evicts a random sample of the fullest class."""
        return ClassBalancedBuffer(size, width=2, policy="random", seed=seed)

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer samples to the buffer, and add them to the candidates for it."""
        super().remember(rows, batch, output)
        if self.buffer_choice == "uncertainty":
            labels = batch.labels_on_host(len(rows))[:, None]
            self.candidates.append(torch.cat([self.replay.references(rows), labels], dim=1))

    def finish_task(self) -> None:
        """Select the buffer's samples, with ``buffer_choice="uncertainty"``, and rehearse them."""
        if len(self.buffer) == 0:
            return
        if self.buffer_choice == "uncertainty":
            self._choose()
        self._rehearse()

    @torch.no_grad()
    def _choose(self) -> None:
        held = torch.cat([self.buffer.slots, self.buffer.labels[:, None]], dim=1)
        # Those in the buffer and those of the task since compete for it; a sample counts once.
        candidates = torch.cat([held[: len(self.buffer)], *self.candidates]).unique(dim=0)
        parts = candidates.split(self.eval_mb_size)
        uncertainty = torch.cat([self._uncertainty(some[:, :2]) for some in parts])
        chosen = candidates[diverse_selection(uncertainty, candidates[:, 2], self.buffer.size)]
        self.buffer.replace(chosen[:, :2], chosen[:, 2])
        self.candidates = []

    def _uncertainty(self, references: Tensor) -> Tensor:
        """(candidates,) uncertainty of the samples that these (candidates, 2) point to."""
        scores = []
        for view in range(self.uncertainty_views):
            # Draw 0 is that of the rehearsal.
            images = self.replay.read_references(references, self.updates, 1 + view)[0][0]
            scores.append(self.model.run(images.to(self.device)).logits)
        return view_uncertainty(torch.stack(scores)).cpu()

    def _rehearse(self) -> None:
        # The rehearsal is no part of the stream: loss and rates are put back when it is over.
        stream_loss = self.loss
        rates = [group["lr"] for group in self.optimizer.param_groups]
        features = None
        if self.reuse_features and self.rehearsal_epochs:
            features = self._buffer_features()
        for epoch in range(self.rehearsal_epochs):
            # A tenth at first, then cosine with restarts (SGDR), in units of the stream's rate.
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = group.get("initial_lr", rate) * rehearsal_factor(epoch)
            for slots in self.buffer.draw_slots(len(self.buffer)).split(self.train_mb_size):
                self._rehearse_batch(slots, features)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.loss = stream_loss

    def _rehearse_batch(self, slots: Tensor, features: Tensor | None) -> None:
        if features is None:
            output = self.model.run(self._images(slots))
        else:
            output = self.model.run(None, {"frozen": features[slots.to(self.device)]})
        self.optimizer.zero_grad()
        labels = self.buffer.labels[slots].to(self.device)
        self.loss = masked_cross_entropy(output.logits, labels, self.competing_classes(labels))
        self.backward()
        self.clip_gradients()
        self.optimizer_step()
        self.updates += 1
        self.check_loss()

    @torch.no_grad()
    def _buffer_features(self) -> Tensor:
        """(held samples, dim) features of a frozen ViT."""
        slots = torch.arange(len(self.buffer)).split(self.eval_mb_size)
        return torch.cat([self.model.run(self._images(s)).cacheable["frozen"] for s in slots])

    def _images(self, slots: Tensor) -> Tensor:
        return self.replay.read(slots, self.updates)[0][0].to(self.device)


def rehearsal_factor(epoch: int) -> float:
    """Factor on the learning rate in ``epoch`` (from 0) of a rehearsal.

    0.1 in epoch 0 (warm-up), 1 in epoch 1; from there cosine decay to 0.01 over 1, 2, 4, 8, ...
    epochs with a restart at 1 after each (SGDR, Loshchilov and Hutter, ICLR 2017, stepped per
    epoch), so at 1, 2, 4, 8, ...
    """
    if epoch == 0:
        return 0.1
    length = 2 ** (epoch.bit_length() - 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (epoch - length) / length)) / 2
