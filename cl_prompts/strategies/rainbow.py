"""Rainbow Memory: a class-balanced memory, and rehearsals on it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from torch import Tensor

from cl_prompts.errors import InputError, unknown
from cl_prompts.strategies.base.head import HeadStrategy
from cl_prompts.training.buffers import ClassBalancedBuffer
from cl_prompts.training.rainbow import diverse_selection, view_uncertainty


class RainbowMemory(HeadStrategy):
    """Rainbow Memory (RM; Bang et al., CVPR 2021, arXiv 2103.17230), as in the Si-Blurry code. One
    class per image.

    Two phases. On the stream: ``CE(stream and memory)`` with a memory that holds equal numbers of
    every class, as in experience replay. At the end of each announced task, or else every
    ``period`` samples, a rehearsal: ``rehearsal_epochs`` passes over the memory alone, in random
    batches of ``train_mb_size``, with the learning rates of :func:`rehearsal_factor`. The passes of
    a rehearsal count as forward passes of training and its steps in ``updates``; Avalanche's
    triggers do not fire for them.

    ``selection="uncertainty"`` is the paper's: before a rehearsal the memory is chosen anew from
    itself and all samples since the last one, evenly over the ranking by uncertainty in each class
    (``views`` augmented views of each candidate; without augmentation there is nothing to tell them
    apart by). It reads past samples of the stream again, which an online protocol would count as
    memory. ``"random"``, which the published code comes down to, is the class-balanced memory
    alone.

    Published settings (defaults): 256 epochs, memory 2000, frozen ViT, head by Adam 5e-3, 64 stream
    and 32 memory samples. Deviations from the published code: it rehearses at the ends of tasks
    that the stream does not announce (``boundaries=True`` does so here); an epoch there is as many
    passes over the memory as the memory has batches; it repeats a stream batch 96 times (here
    ``online_iter``, like every other method), applies CutMix, and crashes after the first task.

    Args:
        buffer_size: samples in the memory, at least 1.
        rehearsal_epochs: passes over the memory in a rehearsal; 0 for no rehearsal.
        selection: ``"random"`` or ``"uncertainty"``.
        views: augmented views of each candidate for the uncertainty.
        reuse_features: with a frozen ViT, compute features once a rehearsal instead of once an
            epoch. The same numbers where images are not augmented; otherwise one augmented view
            serves a whole rehearsal.
        period: stream samples between two rehearsals where no boundary is announced; None for
            never. The default gives published CIFAR-100 streams as many as they have tasks; a
            stream that is shorter has none.
        **common: see :class:`~cl_prompts.strategies.base.head.HeadStrategy`.

    Raises:
        InputError: a number out of range, an unknown selection, or ``reuse_features`` where
            features change.
    """

    needs_buffer = True
    masks_classes = False

    def __init__(
        self,
        *,
        buffer_size: int = 2000,
        rehearsal_epochs: int = 256,
        selection: str = "random",
        views: int = 12,
        reuse_features: bool = False,
        period: int | None = 10_000,
        **common: Any,
    ) -> None:
        if rehearsal_epochs < 0 or views < 1:
            raise InputError(
                f"rehearsal_epochs is {rehearsal_epochs} and views is {views}: they need at least 0"
                " and 1"
            )
        if selection not in ("random", "uncertainty"):
            raise unknown("selection", selection, ("random", "uncertainty"))
        super().__init__(buffer_size=buffer_size, period=period, **common)
        if reuse_features and self.model.reads_images:
            raise InputError(
                "reuse_features needs features that stay as they are: use it with backbone_lr=0"
            )
        self.rehearsal_epochs, self.selection, self.views = rehearsal_epochs, selection, views
        self.reuse_features = reuse_features
        self._candidates = torch.zeros(0, 3, dtype=torch.int64)
        """(samples since the last rehearsal, 3): reference and label; empty with selection
        "random"."""

    def make_buffer(self, size: int, seed: int) -> ClassBalancedBuffer:
        """Equal numbers of each class, a random sample of the fullest making room."""
        return ClassBalancedBuffer(size, width=2, policy="random", seed=seed)

    def remember(self, rows: Tensor, labels: Tensor) -> None:
        """Into the memory, and among the candidates for it."""
        super().remember(rows, labels)
        if self.selection == "uncertainty":
            fresh = torch.cat([self.replay.references(rows), labels[:, None]], dim=1)
            self._candidates = torch.cat([self._candidates, fresh])

    def finish_task(self) -> None:
        """Choose the memory anew, if so asked, and rehearse it."""
        if len(self.buffer) == 0:
            return
        if self.selection == "uncertainty":
            self._choose()
        self._rehearse()

    @torch.no_grad()
    def _choose(self) -> None:
        held = torch.cat([self.buffer.slots, self.buffer.labels[:, None]], dim=1)[
            : len(self.buffer)
        ]
        candidates = torch.cat([held, self._candidates]).unique(dim=0)
        uncertainty = []
        for some in candidates.split(self.eval_mb_size):
            scores = [
                self.model.run(
                    self.replay.read_references(some[:, :2])[0][0].to(self.device)
                ).logits
                for _ in range(self.views)
            ]
            uncertainty.append(view_uncertainty(torch.stack(scores)).cpu())
        chosen = candidates[
            diverse_selection(torch.cat(uncertainty), candidates[:, 2], self.buffer.size)
        ]
        self.buffer.replace(chosen[:, :2], chosen[:, 2])
        self._candidates = self._candidates[:0]

    def _rehearse(self) -> None:
        groups, stream_loss = self.optimizer.param_groups, self.loss
        rates = [group["lr"] for group in groups]
        kept = self._buffer_features() if self.reuse_features and self.rehearsal_epochs else None
        for epoch in range(self.rehearsal_epochs):
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = group.get("initial_lr", rate) * rehearsal_factor(epoch)
            for slots in self.buffer.draw_slots(len(self.buffer)).split(self.train_mb_size):
                self._rehearse_batch(slots, kept)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.loss = stream_loss

    def _rehearse_batch(self, slots: Tensor, kept: Tensor | None) -> None:
        if kept is None:
            output = self.model.run(self._images(slots))
        else:
            output = self.model.run(None, {"frozen": kept[slots.to(self.device)]})
        self.optimizer.zero_grad()
        self.loss = F.cross_entropy(output.logits, self.buffer.labels[slots].to(self.device))
        self.backward()
        self.clip_gradients()
        self.optimizer_step()
        self.updates += 1
        self._check_loss()

    @torch.no_grad()
    def _buffer_features(self) -> Tensor:
        """(held samples, dim) features of a frozen ViT."""
        slots = torch.arange(len(self.buffer)).split(self.eval_mb_size)
        return torch.cat([self.model.run(self._images(some)).features for some in slots])

    def _images(self, slots: Tensor) -> Tensor:
        return self.replay.read(slots)[0][0].to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """The base's, and the candidates."""
        return {**super().state_dict(), "candidates": self._candidates.clone()}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self._candidates = state["candidates"].clone()


def rehearsal_factor(epoch: int) -> float:
    """What multiplies the learning rate in ``epoch`` (from 0) of a rehearsal.

    0.1 in epoch 0 (warm-up), 1 in epoch 1; from there cosine decay to 0.01 over 1, 2, 4, 8, ...
    epochs with a restart at 1 after each (SGDR, Loshchilov and Hutter, ICLR 2017, stepped per
    epoch), so at 1, 2, 4, 8, ...
    """
    if epoch == 0:
        return 0.1
    length = 2 ** (epoch.bit_length() - 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (epoch - length) / length)) / 2
