"""Features on which prototype classifiers are compared with batch solutions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cl_prompts.closed_form.anacp import ContrastiveProjection
from cl_prompts.closed_form.balanced_ridge import BalancedRidge
from cl_prompts.closed_form.discriminant import RegularisedDiscriminant
from cl_prompts.closed_form.kernel_lda import ClasswiseLDA, KernelLDA
from cl_prompts.closed_form.layup import LayUP
from cl_prompts.closed_form.mahalanobis import MahalanobisPerClass
from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.pooled_ridge import PooledRidge
from cl_prompts.closed_form.prototype_classifiers import NearestClassMean, PrototypeClassifier
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.closed_form.ridge import RandomExpansion
from cl_prompts.closed_form.ridge_lda import RidgeLDA
from cl_prompts.closed_form.streaming_lda import StreamingLDA

# class 3 never occurs
DIM = 12
CLASSES = 5
ABSENT = 3
PRESENT = (0, 1, 2, 4)


#: classifiers whose state is a sum over samples
SUMS: dict[str, Callable[[], Any]] = {
    "ncm": lambda: NearestClassMean(DIM, CLASSES),
    "euclidean": lambda: NearestClassMean(DIM, CLASSES, metric="euclidean"),
    "slda": lambda: StreamingLDA(DIM, CLASSES, shrinkage=0.1),
    "balanced_ridge": lambda: PooledRidge(DIM, CLASSES),
    "ranpac": lambda: RanPAC(DIM, CLASSES, projection=40, ridge=3.0),
    "gacl": lambda: RanPAC(DIM, CLASSES, projection=40, expansion="uniform", ridge=0.3),
    "layup": lambda: LayUP(DIM, CLASSES, intercept=True, held_out=0),
    "air": lambda: BalancedRidge(DIM, CLASSES, projection=20, ridge=0.3),
    "klda": lambda: KernelLDA(DIM, CLASSES, width=20, gamma=0.01, members=2),
    "randumb": lambda: ClasswiseLDA(DIM, CLASSES, expansion=fourier()),
    "randumb_pooled": lambda: StreamingLDA(
        DIM, CLASSES, expansion=fourier(), shrinkage="oas", floor=1e-4
    ),
    "fecam": lambda: MahalanobisPerClass(DIM, CLASSES),
    "fecam_toolbox": lambda: MahalanobisPerClass(DIM, CLASSES, form="toolbox"),
    "anacp": lambda: ContrastiveProjection(DIM, CLASSES, projection=30, ridge=0.3, samples=9),
    "anacp_class": lambda: ContrastiveProjection(
        DIM, CLASSES, projection=30, ridge=0.3, samples=9, drawn_from="class"
    ),
    "rda": lambda: RegularisedDiscriminant(DIM, CLASSES, rank=0),
    "multi_label_ridge": lambda: MultiLabelRidge(DIM, CLASSES),
    "ridge_lda": lambda: RidgeLDA(DIM, CLASSES),
    "chosen_slda": lambda: StreamingLDA(DIM, CLASSES, shrinkage="leave_one_out"),
    "chosen_balanced_ridge": lambda: PooledRidge(DIM, CLASSES, ridge="leave_one_out"),
    "chosen_multi_label_ridge": lambda: MultiLabelRidge(DIM, CLASSES, ridge="leave_one_out"),
}


def fourier() -> RandomExpansion:
    return RandomExpansion(DIM, 10, "fourier", gamma=0.01)


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
