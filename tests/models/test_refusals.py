"""What models refuse: settings that exclude each other, too much memory, a system unsolved."""

from pathlib import Path

import torch

from cl_prompts.closed_form import (
    BalancedRidge,
    ClasswiseLDA,
    ContrastiveProjection,
    MahalanobisPerClass,
    NearestClassMean,
    RandomExpansion,
    RidgeStatistics,
)
from cl_prompts.models import AdaptedViT, BatchAlignment, MultiLaneViT, PromptedViT, PrototypeViT
from cl_prompts.prompts import NearestKeys, SharedTokens, TaskAdapters, TokenPool
from tests.refusals import check_refusals
from tests.toy_vits import tiny_vit

VIT = tiny_vit()
THAWED = VIT.thawed()
SELECTED = {"selector": NearestKeys(4, 16), "pools": [TokenPool(4, (0,), 2, 16)]}
CASES = {
    "a batch of one": lambda: BatchAlignment(3)(torch.randn(1, 3)),
    "adapters on a thawed ViT": lambda: AdaptedViT(THAWED, 3, TaskAdapters(1, 4, 16)),
    "lanes on a thawed ViT": lambda: MultiLaneViT(THAWED, 8),
    "prototypes on a thawed ViT": lambda: PrototypeViT(THAWED, NearestClassMean(16, 3)),
    "a selector on a thawed ViT": lambda: PromptedViT(THAWED, 6, **SELECTED),
    "a pool of block 4": lambda: PromptedViT(VIT, 6, pools=[SharedTokens((4,), 2, 16)]),
    "several labels": lambda: PrototypeViT(VIT, NearestClassMean(16, 3), multi_label=True),
    "lanes of block 4": lambda: MultiLaneViT(VIT, 8, prompted_blocks=(4,)),
    "memory of AIR": lambda: BalancedRidge(8, 100, projection=5000),
    "memory of AnaCP": lambda: ContrastiveProjection(768, 1000, projection=8, drawn_from="class"),
    "memory of FeCAM": lambda: MahalanobisPerClass(768, 1000),
    "memory of RanDumb": lambda: ClasswiseLDA(3, 100, expansion=RandomExpansion(3, 5000)),
    "labels": lambda: NearestClassMean(3, 2).update(torch.zeros(2, 3), torch.tensor([2, 1])),
    "a ridge of 0": lambda: RidgeStatistics(3, 1).solve(0),
}


def test_refusals() -> None:
    check_refusals(Path(__file__).with_suffix(".txt"), CASES)
