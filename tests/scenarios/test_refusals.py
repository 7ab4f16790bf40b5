"""What each refusal of a scenario says: bad parameters, labels, splits and names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts import scenarios
from cl_prompts.scenarios import (
    MultiLabelSplit,
    Scenario,
    benchmark_from_split,
    domain_incremental_split,
    find_scenario,
    mlcil_split,
    si_blurry_split,
)
from tests.refusals import check_refusals
from tests.scenarios import test_registry
from tests.scenarios.images import MULTI, SINGLE, Pictures
from tests.scenarios.labels import some_labels
from tests.scenarios.test_split import LABELS, TASKS

SI_BLURRY: list[dict[str, Any]] = [
    {"n_tasks": 0},
    {"n_tasks": 11},
    {"disjoint_percent": 12.5},
    {"blurry_percent": -1},
    {"seed": -1},
    {"leftover": "kep"},
]
MLCIL: list[dict[str, Any]] = [
    {"protocol": "4-2"},
    {"protocol": "B4-C3"},
    {"protocol": "B0-C5"},
    {"protocol": "B11-C2"},
    {"protocol": "B4-C2", "class_order": [0] * 12},
    {"protocol": "B4-C2", "class_order": "random"},
    {"protocol": "B4-C2", "seed": -1},
]
DOMAINS: list[dict[str, Any]] = [
    {"domains": None},
    {"domains": ["art"]},
    {"domain_order": ["art", "phto"]},
    {"domain_order": ["art"]},
    {"domain_order": "random"},
    {"domain_order": -1},
    {"seed": -1},
]
OF: list[dict[str, Any]] = [{"labels": [[1, 0], [1, 0], [1, 0]]}]
NAMES = [
    "si_blury",
    "no.such.module:f",
    "tests.scenarios.test_registry:halvs",
    "tests.scenarios.test_registry:NO_SCENARIO",
]


def made_otherwise() -> dict[str, Callable[[], object]]:
    split = mlcil_split(MULTI[0].targets, protocol="B4-C2")
    labels = test_registry.LABELS
    return {
        "no targets": lambda: scenarios.si_blurry_benchmark(list(range(5)), SINGLE[1]),
        "one label": lambda: benchmark_from_split(SINGLE[0], MULTI[1], split),
        "several labels": lambda: benchmark_from_split(*MULTI, si_blurry_split(SINGLE[0].targets)),
        "test classes": lambda: scenarios.si_blurry_benchmark(
            SINGLE[0], Pictures(np.array([0, 1, 2, 11]))
        ),
        "fewer classes": lambda: scenarios.si_blurry_benchmark(SINGLE[0], Pictures(np.arange(5))),
        "other labels": lambda: benchmark_from_split(
            Pictures(np.arange(132) % 12), SINGLE[1], si_blurry_split(SINGLE[0].targets)
        ),
        "list": lambda: Scenario.of(test_registry.returns_lists).make(labels),
        "gap": lambda: si_blurry_split([0, 2], n_tasks=1),
        "no zeros and ones": lambda: mlcil_split([[0, 1], [2, 0]], protocol="B0-C1"),
    }


def test_refusals() -> None:
    cases: dict[str, Callable[[], object]] = {}
    for changes in SI_BLURRY:
        cases[f"si_blurry {changes}"] = lambda changes=changes: si_blurry_split(
            np.arange(100) % 10, **changes
        )
    for changes in MLCIL:
        cases[f"mlcil {changes}"] = lambda changes=changes: mlcil_split(
            some_labels(40, 12), **changes
        )
    for changes in DOMAINS:
        settings = {"domains": ["art", "art", "photo", "photo"], **changes}
        cases[f"domains {changes}"] = lambda settings=settings: domain_incremental_split(
            [0, 1, 0, 1], **settings
        )
    for changes in OF:
        fields: dict[str, Any] = {"labels": LABELS, "tasks": TASKS, **changes}
        cases[f"of {changes}"] = lambda fields=fields: MultiLabelSplit.of("mine", **fields)
    for name in NAMES:
        cases[name] = lambda name=name: find_scenario(name)
    check_refusals(Path(__file__).with_name("refused.txt"), cases | made_otherwise())
