"""Features on which prototype classifiers are compared with batch solutions."""

from __future__ import annotations

import numpy as np
import torch

from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier

# class 3 never occurs
DIM = 12
CLASSES = 5
ABSENT = 3
PRESENT = (0, 1, 2, 4)


def data(n: int = 150, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 2, 4])[torch.randint(0, 4, (n,), generator=generator)]
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99)) * 2
    mixing = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(98))
    return centres[labels] + 1 + torch.randn(n, DIM, generator=generator) @ mixing, labels


def fed(
    model: PrototypeClassifier, x: torch.Tensor, y: torch.Tensor, cuts: list[int]
) -> PrototypeClassifier:
    for part, labels in zip(x.tensor_split(cuts), y.tensor_split(cuts), strict=True):
        model.update(part, labels)
    return model


def columns(logits: torch.Tensor) -> np.ndarray:
    return logits[:, [0, 1, 2, 4]].double().numpy()
