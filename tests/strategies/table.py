"""Every strategy at toy size, and a toy stream of every scenario: what the test families are
parametrised over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts import scenarios
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.experiments.signatures import parameters
from cl_prompts.strategies import strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy
from tests.conftest import Blobs, tiny_vit
from tests.strategies.prompt_kinds import KINDS as POOLS

Kind = tuple[type[OnlineStrategy], dict[str, Any]]
N_CLASSES = 6

MVP_TINY: dict[str, Any] = {"pool_size": 4, "g_length": 2, "e_blocks": (1, 2), "e_length": 3}
LANES_TINY: dict[str, Any] = {
    "n_selectors": 2,
    "prompt_length": 2,
    "prompted_blocks": (0, 1),
    "lane_samples": 30,
}
MEMORY: dict[str, Any] = {"buffer_size": 12, "buffer_batch_size": 8}

#: strategy -> options that fit the tiny ViT and its short streams
OPTIONS: dict[str, dict[str, Any]] = {
    "mvp": MVP_TINY,
    "multi_lane": LANES_TINY,
    # how many tasks there are is told where they are announced, as the runner does
    **{
        name: {key: value for key, value in options.items() if key != "n_tasks"}
        for name, (_, options) in POOLS.items()
    },
    "linear_probe": {},
    "fine_tuning": {"backbone_lr": 1e-3},
    "er": MEMORY,
    "derpp": MEMORY,
    "ewcpp": {**MEMORY, "period": 40},
    "lwf": {"period": 40},
    "rainbow": {**MEMORY, "period": 40, "rehearsal_epochs": 2},
    "clib": MEMORY,
    "joint": {"train_epochs": 2},
    "ncm": {},
    "slda": {},
    "ranpac": {"projection": 40, "ridge": 3.0, "held_out": 10},
}
TABLE: dict[str, Kind] = {
    name: (strategy_class(name), options) for name, options in OPTIONS.items()
}

#: further settings that the families hold for
VARIANTS: dict[str, Kind] = {
    "mvp_r": (TABLE["mvp"][0], {**MVP_TINY, "buffer_size": 12}),
    "mvp_plain": (
        TABLE["mvp"][0],
        {
            **MVP_TINY,
            "use_mask": False,
            "use_contrastive": False,
            "use_afs": False,
            "use_gsf": False,
        },
    ),
    "mvp_published": (
        TABLE["mvp"][0],
        {
            **MVP_TINY,
            "gsf_reduction": "batch_mean",
            "contrastive_pairs": "all",
            "use_last_block": True,
        },
    ),
}
ALL: dict[str, Kind] = {**TABLE, **VARIANTS}

#: those that learn prompts, and those without gradients
PROMPTED = ("mvp", "multi_lane", *POOLS)
PROTOTYPES = ("ncm", "slda", "ranpac")
#: those that hold samples by default
REPLAYING = tuple(name for name, (_, options) in ALL.items() if "buffer_size" in options)
#: those with a multi-label form
SEVERAL_LABELS = tuple(
    name for name, (cls, _) in TABLE.items() if "multi_label" in parameters(cls, set())
)


class Scenes(Dataset[Any]):
    """Images of two coloured halves, each colour a class: one or two labels an image."""

    def __init__(self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        colours = np.random.default_rng(7).random((n_classes, 3))
        self.targets = np.zeros((n, n_classes), dtype=np.uint8)
        images = np.full((n, 3, 16, 16), 0.5)
        for i in range(n):
            for place, c in enumerate(rng.permutation(n_classes)[: rng.integers(1, 3)]):
                self.targets[i, c] = 1
                images[i, :, :, 8 * place : 8 * place + 8] = colours[c][:, None, None]
        self.images = torch.from_numpy(images + 0.05 * rng.random(images.shape)).float()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], torch.from_numpy(self.targets[index].astype(np.float32))


TRAIN, TEST, TASKS = 72, 30, 3

#: scenario -> its benchmark on given data
BENCHMARKS: dict[str, Callable[..., Any]] = {
    "si_blurry": lambda train, test: scenarios.si_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "i_blurry": lambda train, test: scenarios.i_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "disjoint": lambda train, test: scenarios.disjoint_benchmark(train, test, n_tasks=TASKS),
    "class_incremental": lambda train, test: scenarios.class_incremental_benchmark(
        train, test, n_tasks=TASKS
    ),
    "mlcil": lambda train, test: scenarios.mlcil_benchmark(train, test, protocol="B0-C2"),
    "si_blurry_multi_label": lambda train, test: scenarios.si_blurry_multi_label_benchmark(
        train, test, n_tasks=TASKS
    ),
}
SEVERAL = ("mlcil", "si_blurry_multi_label")
ANNOUNCED = ("class_incremental", "mlcil")


def benchmark(scenario: str = "si_blurry") -> Any:
    """A fresh benchmark of a scenario: 72 training images of 6 classes in 3 tasks, 30 test
    images."""
    data = Scenes if scenario in SEVERAL else Blobs
    return BENCHMARKS[scenario](data(TRAIN, N_CLASSES, seed=1), data(TEST, N_CLASSES, seed=2))


def make(
    kind: str, scenario: str = "si_blurry", *, backbone: FrozenViT | None = None, **changes: Any
) -> Any:
    """A strategy of the table as the runner would build it for a scenario."""
    torch.manual_seed(0)
    cls, options = ALL[kind]
    accepted = parameters(cls, set())
    told: dict[str, Any] = {
        "train_mb_size": 16,
        "eval_mb_size": 32,
        "device": "cpu",
        "evaluator": None,
    }
    told |= {} if cls.whole_stream else {"train_epochs": 1, "online_iter": 2}
    if "multi_label" in accepted:
        told["multi_label"] = scenario in SEVERAL
    if "n_tasks" in accepted and scenario in ANNOUNCED:
        told["n_tasks"] = TASKS
    return cls(
        backbone=backbone or tiny_vit(), n_classes=N_CLASSES, **{**told, **options, **changes}
    )


def fit(strategy: Any, experiences: Any) -> Any:
    """Train on a stream: one experience after the other, or all at once where the strategy wants
    them so."""
    experiences = list(experiences)
    for part in [experiences] if strategy.whole_stream else experiences:
        strategy.train(part, eval_streams=[])
    return strategy


def weights(strategy: Any) -> dict[str, Tensor]:
    """A copy of the model's whole state."""
    return {k: v.clone() for k, v in strategy.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )
