"""Rainbow Memory: a class-balanced buffer and rehearsals on it (CVPR 2021)."""

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
from cl_prompts.training.buffers import ClassBalancedBuffer, diverse_selection, view_uncertainty


class RainbowMemory(HeadStrategy):
    """Rainbow Memory (RM; Bang et al., CVPR 2021), as in the Si-Blurry code. One class per image.

    Source: arXiv 2103.17230. On the stream, ``CE(stream and buffer)`` as in experience replay, with
    a class-balanced buffer. At the end of each announced task, or else every ``period`` samples, a
    rehearsal: ``rehearsal_epochs`` passes over the buffer, in random batches of ``train_mb_size``,
    with the learning rates of :func:`rehearsal_factor`. A rehearsal counts in the forward passes of
    training and in ``updates``. Avalanche's triggers do not fire for it, and it does not enter the
    statistics of a whitened head input.

    ``buffer_choice="uncertainty"`` is the paper's: before a rehearsal, the buffer is selected from
    its contents and all samples since the last rehearsal, evenly over the ranking by uncertainty in
    each class (``uncertainty_views`` augmented views per candidate; without augmentation all are
    equally certain). It reads past stream samples again, which an online protocol would count as
    buffer. ``"random"``, the effect of the published code, only balances the classes.

    Published settings (defaults): 256 epochs, buffer 2000, frozen ViT, head by Adam 5e-3, 64 stream
    and 32 buffer samples. Deviations: the published code rehearses at task ends that the stream
    does not announce (here with ``boundaries=True``); its epoch is as many passes over the buffer
    as the buffer has batches; it repeats a stream batch 96 times (here ``online_iter``), applies
    CutMix, and crashes after the first task.

    Raises:
        InputError: ``reuse_features`` is set and the ViT is trained.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> rm = RainbowMemory(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> rm.buffer.size, rm.rehearsal_epochs
        (2000, 256)
    """

    excluded = ("multi_label",)
    masks_classes = False

    buffer_size: Count = 2000
    """Samples in the buffer."""
    rehearsal_epochs: Size = 256
    """Passes over the buffer in a rehearsal; 0 for no rehearsal."""
    buffer_choice: Literal["random", "uncertainty"] = "random"
    """Selection of the buffer: see above."""
    uncertainty_views: Count = 12
    """Augmented views per candidate for the uncertainty."""
    reuse_features: bool = False
    """With a frozen ViT, compute features once per rehearsal instead of once per epoch. Without
    augmentation the numbers are the same; otherwise a rehearsal uses one view per sample."""
    period: Count | None = 10_000
    """Stream samples between two rehearsals where no boundary is announced; None for never. By
    default published CIFAR-100 streams have as many rehearsals as tasks, shorter streams none."""

    buffer: ClassBalancedBuffer

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.reuse_features and self.model.reads_images:
            raise InputError("reuse_features needs a frozen backbone: set backbone_lr=0")
        self.candidates: list[Tensor] = []
        """References and labels (n, 3) of the batches since the last rehearsal; empty with
        "random"."""
        self.state.add("candidates")

    def make_buffer(self, size: int, seed: int) -> ClassBalancedBuffer:
        """Return a class-balanced buffer that evicts a random sample of the largest class."""
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
        # Stored samples and those since the last rehearsal, each once.
        candidates = torch.cat([held[: len(self.buffer)], *self.candidates]).unique(dim=0)
        parts = candidates.split(self.eval_mb_size)
        uncertainty = torch.cat([self._uncertainty(some[:, :2]) for some in parts])
        chosen = candidates[diverse_selection(uncertainty, candidates[:, 2], self.buffer.size)]
        self.buffer.replace(chosen[:, :2], chosen[:, 2])
        self.candidates = []

    def _uncertainty(self, references: Tensor) -> Tensor:
        """Return the uncertainty (candidates,) of samples by references (candidates, 2)."""
        scores = []
        for view in range(self.uncertainty_views):
            # Draw 0 is used by the rehearsal.
            images = self.replay.read(references, self.updates, 1 + view)[0][0]
            scores.append(self.model.run(images.to(self.device)).logits)
        return view_uncertainty(torch.stack(scores)).cpu()

    def _rehearse(self) -> None:
        # Restored after the rehearsal.
        stream_loss = self.loss
        rates = [group["lr"] for group in self.optimizer.param_groups]
        features = None
        if self.reuse_features and self.rehearsal_epochs:
            features = self._buffer_features()
        for epoch in range(self.rehearsal_epochs):
            # A warm-up at a tenth, then cosine with restarts (SGDR), relative to the stream's rate.
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
        self.loop.check_loss()

    @torch.no_grad()
    def _buffer_features(self) -> Tensor:
        """Return the features (stored samples, dim) of a frozen ViT."""
        slots = torch.arange(len(self.buffer)).split(self.eval_mb_size)
        return torch.cat([self.model.run(self._images(s)).cacheable["frozen"] for s in slots])

    def _images(self, slots: Tensor) -> Tensor:
        return self.replay.read(self.buffer.slots[slots], self.updates)[0][0].to(self.device)


def rehearsal_factor(epoch: int) -> float:
    """Return the factor on the learning rate in ``epoch`` (from 0) of a rehearsal.

    0.1 in epoch 0 (warm-up); from epoch 1, cosine decay from 1 to 0.01 over 1, 2, 4, 8, ... epochs
    with restarts in epochs 1, 2, 4, 8, ... (SGDR, Loshchilov and Hutter, ICLR 2017, stepped per
    epoch).
    """
    if epoch == 0:
        return 0.1
    length = 2 ** (epoch.bit_length() - 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (epoch - length) / length)) / 2
