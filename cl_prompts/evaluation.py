"""Testing a model on the classes seen so far, with what the frozen backbone computes kept from one time to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from cl_prompts.errors import InputError
from cl_prompts.heads import mask_unseen
from cl_prompts.metrics import ClassAccuracy
from cl_prompts.models import PromptedViT


class Evaluator:
    """Evaluates on a fixed test set.

    The frozen part of each test image (a prompt method's query, a linear probe's feature) is computed once and kept:
    exact, because the backbone and the test images do not change. From the second time on an evaluation costs one prompted
    pass for prompt methods and no pass at all for head-only methods. Nothing here touches a global random generator, so
    how often one evaluates does not change training.

    Args:
        dataset: map-style test set with ``.targets``; items are (image, label, ...), always the same for an index.
        batch_size: images per batch.
        device: where to compute.
        num_workers: loader processes; they start anew at each evaluation, so 0 is right for small images.
        cache: keep frozen parts (n, dim) in fp32 on the device; 10,000 images of ViT-B take 31 MB.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int = 128,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
        cache: bool = True,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"the evaluation batch size is {batch_size}: it must be at least 1")
        self.dataset, self.batch_size, self.num_workers, self.cache = dataset, batch_size, num_workers, cache
        self.device = torch.device(device)
        self.targets = torch.as_tensor(np.asarray(dataset.targets), dtype=torch.int64)  # type: ignore[attr-defined]
        self.images = 0
        """Test images evaluated so far, each time counted."""
        self.macs = 0.0
        """Multiply-accumulates that evaluations have cost the backbone."""
        self._frozen: Tensor | None = None
        self._source: tuple[Any, Any] | None = None  # what the stored parts were computed with
        self._known = torch.zeros(len(self.targets), dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, model: nn.Module, seen: Tensor) -> ClassAccuracy:
        """Accuracy on the test images whose class is in ``seen`` ((classes,) boolean), over the columns of seen classes."""
        seen = seen.cpu()
        counts = ClassAccuracy(len(seen), self.device)
        rows = torch.nonzero(seen[self.targets]).flatten()
        self.images += len(rows)
        before = _macs(model)
        was_training = [m for m in model.modules() if m.training]
        model.eval()
        scores = self._scores(model, rows) if isinstance(model, PromptedViT) else self._foreign_scores(model, rows)
        for labels, logits in scores:
            columns = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
            columns[: len(seen)] = seen[: logits.shape[1]]
            counts.update(mask_unseen(logits.float(), columns), labels)
        for module in was_training:
            module.training = True
        self.macs += _macs(model) - before
        return counts

    def _foreign_scores(self, model: nn.Module, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for batch, images in self._images(rows):
            yield self.targets[batch].to(self.device), model(images)

    def _scores(self, model: PromptedViT, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows whose frozen part is stored come first, then those whose frozen part must be computed."""
        source = (model.backbone, model.query if model.reads_images else None)
        if self._source is None or self._source[0] is not source[0] or self._source[1] != source[1]:
            self._source, self._frozen = source, None  # what another network computed is of no use here
            self._known[:] = False
        stored = rows[self._known[rows]]
        if self._frozen is not None and not model.reads_images:
            for batch in stored.split(self.batch_size):
                yield self.targets[batch].to(self.device), model.run(None, self._frozen[batch]).logits
        else:
            for batch, images in self._images(stored):
                frozen = None if self._frozen is None else self._frozen[batch]
                yield self.targets[batch].to(self.device), model.run(images, frozen).logits
        for batch, images in self._images(rows[~self._known[rows]]):
            out = model.run(images)
            if self.cache and out.frozen is not None:
                if self._frozen is None:
                    self._frozen = torch.zeros(len(self.targets), out.frozen.shape[1], device=self.device)
                self._frozen[batch] = out.frozen
                self._known[batch] = True
            yield self.targets[batch].to(self.device), out.logits

    def _images(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows, images) in batches; the loader's seed comes from a private generator."""
        if len(rows) == 0:
            return
        loader = DataLoader(
            Subset(self.dataset, rows.tolist()),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            generator=torch.Generator().manual_seed(0),
        )
        for batch, items in zip(rows.split(self.batch_size), loader, strict=True):
            yield batch, items[0].to(self.device, non_blocking=True)


def _macs(model: nn.Module) -> float:
    return model.backbone.counter.macs if isinstance(model, PromptedViT) else 0.0
