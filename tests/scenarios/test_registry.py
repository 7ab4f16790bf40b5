"""The registry of scenarios, and scenarios found by a dotted name."""

from pathlib import Path
from typing import Any

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
HERE = "tests.scenarios.test_registry"
LABELS = np.arange(40) % 4
MATRIX = np.eye(4, dtype=np.uint8)[LABELS]
NO_SCENARIO = object()


@cl_prompts.scenario
def halves(targets: Any, *, seed: int, shuffle: bool = True) -> Split:
    """Two tasks of equally many samples."""
    rows = np.random.default_rng(seed).permutation(len(targets)) if shuffle else range(len(targets))
    half = len(targets) // 2
    return Split.of("halves", targets, [rows[:half], rows[half:]], parameters={"seed": seed})


@cl_prompts.scenario
def one_image_each(labels: Any) -> MultiLabelSplit:
    """A task per image.

    The rest of the docstring.
    """
    return MultiLabelSplit.of("one by one", labels, [[0], [1]])


def returns_lists(targets: Any) -> list[int]:
    return list(targets)


def test_every_scenario_has_toy_images() -> None:
    assert set(SCENARIOS) <= set(KINDS)


def test_user_functions_by_their_dotted_names() -> None:
    scenario = find_scenario(f"{HERE}:halves")
    assert scenario == Scenario(halves, False, "Two tasks of equally many samples.")
    assert (scenario.name, scenario.parameters) == ("halves", ["seed", "shuffle"])
    assert scenario.make(LABELS, seed=3) == halves(LABELS, seed=3)
    several = find_scenario(f"{HERE}:one_image_each")
    assert several == Scenario(one_image_each, True, "A task per image.")
    assert several.make(MATRIX) == one_image_each(MATRIX)
    undocumented = Scenario.of(lambda targets: Split.of("all", targets, [range(len(targets))]))
    assert (undocumented.description, undocumented.name) == ("", "<lambda>")


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
