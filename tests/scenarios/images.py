"""Tiny data sets and Avalanche strategies for the tests of benchmarks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from avalanche.training import EWC, Cumulative, LwF, Naive, Replay
from torch import Tensor, nn
from torch.utils.data import Dataset

from cl_prompts import scenarios
from tests.scenarios.labels import some_labels

STRATEGIES: dict[str, Callable[..., Any]] = {
    "Naive": Naive,
    "Replay": lambda **settings: Replay(mem_size=20, **settings),
    "EWC": lambda **settings: EWC(ewc_lambda=1.0, **settings),
    "LwF": lambda **settings: LwF(alpha=1.0, temperature=2.0, **settings),
    "Cumulative": Cumulative,
}


class Pictures(Dataset):
    """3x4x4 images whose bright pixels tell their labels, and whose last value is their row;
    domains are names alone.

    Item labels are integers, as a data set might give them that knows nothing of float vectors.
    """

    def __init__(self, targets: Any, domains: Any = None) -> None:
        self.targets = targets
        self.domains = domains

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, Any]:
        label = self.targets[row]
        image = torch.zeros(3, 16)
        image[:, int(label) if np.ndim(label) == 0 else np.flatnonzero(label)] = 1.0
        image[2, 15] = row
        return image.view(3, 4, 4), label if np.ndim(label) else int(label)


def row_of(image: Tensor) -> int:
    return int(image[2, 3, 3])


class Recorder(nn.Module):
    """A linear classifier that writes down which rows it was trained on."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(47, n_classes)
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.rows += [row_of(image) for image in x]
        return self.linear(x.flatten(1)[:, :-1])


def make_strategy(name: str, *, multi_label: bool = False, evaluator: Any = None) -> Any:
    """One of Avalanche's own strategies on a ``Recorder`` of 12 classes."""
    torch.manual_seed(0)
    model = Recorder(12)
    return STRATEGIES[name](
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.BCEWithLogitsLoss() if multi_label else nn.CrossEntropyLoss(),
        train_mb_size=7,
        train_epochs=1,
        eval_mb_size=16,
        evaluator=evaluator,
    )


SINGLE = Pictures(np.arange(120) % 12), Pictures(np.arange(36) % 12)
_NAMES = np.array(["sketch", "art", "photo"])
IN_DOMAINS = (
    Pictures(SINGLE[0].targets, _NAMES[np.arange(120) // 12 % 3]),
    Pictures(SINGLE[1].targets, _NAMES[np.arange(36) // 12]),
)
MULTI = Pictures(some_labels(90, 12, seed=1)), Pictures(some_labels(40, 12, seed=2))

#: builder -> its data and parameters that suit them
KINDS: dict[str, tuple[tuple[Pictures, Pictures], dict[str, Any]]] = {
    "si_blurry": (SINGLE, {"n_tasks": 3, "seed": 2}),
    "i_blurry": (SINGLE, {"n_tasks": 3, "seed": 2}),
    "disjoint": (SINGLE, {"n_tasks": 3}),
    "class_incremental": (SINGLE, {"n_tasks": 3, "class_order": 2}),
    "domain_incremental": (IN_DOMAINS, {"domain_order": ["photo", "art", "sketch"]}),
    "mlcil": (MULTI, {"protocol": "B4-C2", "class_order": 3}),
    "si_blurry_multi_label": (MULTI, {"n_tasks": 3, "seed": 4}),
}


def make_benchmark(kind: str, **settings: Any) -> Any:
    data, parameters = KINDS[kind]
    return getattr(scenarios, f"{kind}_benchmark")(*data, **{**parameters, **settings})
