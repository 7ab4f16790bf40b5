"""The registry of scenarios, and scenarios found by a dotted name."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import cl_prompts.scenarios
from cl_prompts.scenarios import (
    SCENARIOS,
    MultiLabelSplit,
    Scenario,
    Split,
    benchmark_builder,
    find_scenario,
)
from tests.scenarios.images import KINDS, SINGLE

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = sorted(Path(cl_prompts.scenarios.__file__).parent.glob("[!_]*.py"))
HERE = "tests.scenarios.test_registry"
LABELS = np.arange(40) % 4
MATRIX = np.eye(4, dtype=np.uint8)[LABELS]


@cl_prompts.scenario
def halves(targets: Any, *, seed: int, shuffle: bool = True) -> Split:
    """Two tasks of equally many samples."""
    rows = np.random.default_rng(seed).permutation(len(targets)) if shuffle else range(len(targets))
    half = len(targets) // 2
    return Split.of("halves", targets, [rows[:half], rows[half:]], parameters={"seed": seed})


@cl_prompts.scenario
def one_image_each(labels: Any, *, test_labels: Any = None) -> MultiLabelSplit:
    """A task per image.

    The rest of the docstring.
    """
    return MultiLabelSplit.of("one by one", labels, [[0], [1]], test_labels=test_labels)


def returns_lists(targets: Any) -> list[int]:
    return list(targets)


ready = Scenario(split=halves, multi_label=False, description="ready made")


@pytest.mark.parametrize("name", SCENARIOS)
def test_entries_are_complete(name: str) -> None:
    entry = SCENARIOS[name]
    parameters = inspect.signature(entry.split).parameters
    assert entry.name == f"{name}_split"
    expected = MultiLabelSplit if entry.multi_label else Split
    assert issubclass(get_type_hints(entry.split)["return"], expected)
    assert entry.split.__doc__
    assert entry.description
    assert "seed" in parameters
    assert not entry.multi_label or "test_labels" in parameters
    own = list(parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY for p in own)
    assert all(p.default is not p.empty for p in own)


def test_every_split_function_is_registered() -> None:
    defined = {
        node.name.removesuffix("_split")
        for file in MODULES
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_split")
    }
    missing = defined - {"iid", "benchmark_from", "joined"} - {*SCENARIOS}
    assert not missing, f"add {', '.join(sorted(missing))} to SCENARIOS in scenarios/registry.py"


def test_every_scenario_has_a_row_of_test_data() -> None:
    missing = sorted({*SCENARIOS} - {*KINDS})
    assert not missing, f"add {', '.join(missing)} to KINDS in tests/scenarios/images.py"


def test_a_user_function_by_its_dotted_name() -> None:
    scenario = find_scenario(f"{HERE}:halves")
    assert scenario.split is halves
    assert scenario.name == "halves"
    assert not scenario.multi_label
    assert scenario.description == "Two tasks of equally many samples."
    assert scenario.parameters == ["seed", "shuffle"]
    assert scenario.make(LABELS, LABELS, seed=3) == halves(LABELS, seed=3)


def test_a_user_multi_label_function() -> None:
    scenario = find_scenario(f"{HERE}:one_image_each")
    assert scenario.multi_label
    assert scenario.description == "A task per image."
    assert scenario.parameters == []
    split = scenario.make(MATRIX, MATRIX[:9])
    assert split == one_image_each(MATRIX, test_labels=MATRIX[:9])
    assert isinstance(split, MultiLabelSplit)
    assert split.test_first is not None


def test_a_ready_entry_and_unusual_functions() -> None:
    assert find_scenario(f"{HERE}:ready") is ready
    undocumented = Scenario.of(lambda targets: Split.of("all", targets, [range(len(targets))]))
    assert undocumented.description == undocumented.name == "<lambda>"
    assert not undocumented.multi_label
    partial = Scenario.of(functools.partial(one_image_each))
    assert partial.multi_label
    assert partial.make(MATRIX, MATRIX[:9]) == one_image_each(MATRIX, test_labels=MATRIX[:9])


def test_the_example_from_outside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    scenario = find_scenario("own_scenario:recurring_classes")
    assert scenario.parameters == ["visits", "seed"]
    split = scenario.make(LABELS, visits=3, seed=5)
    assert split.n_tasks == 12
    assert (split.visible.sum(axis=1) == 1).all()
    assert (split.visible.sum(axis=0) == 3).all()
    assert (split.occurrences == 1).all()
    benchmark = benchmark_builder(scenario.split)(*SINGLE, visits=2)
    assert len(benchmark.train_stream) == 24
    assert len((EXAMPLES / "own_scenario.py").read_text().splitlines()) < 40
