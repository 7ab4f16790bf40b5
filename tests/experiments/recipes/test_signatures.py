"""Settings read from signatures."""

from __future__ import annotations

import pytest

from cl_prompts.experiments.recipes.signatures import (
    FILLED,
    common_parameters,
    described,
    filled_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.strategies import STRATEGIES, strategy_class
from tests.experiments import own_parts

OWN = "tests.experiments.own_parts"


def test_parameters_of_a_function() -> None:
    assert list(described(own_parts.stripes)) == ["image_size", "seed", "per_class", "n_classes"]


def test_sections_leave_out_what_the_runner_fills_in() -> None:
    own = set(section_parameters("dataset", f"{OWN}:stripes"))
    assert own == {"on_bad_image", "per_class", "n_classes"}
    # The first parameter takes the labels, whatever its name.
    assert list(section_parameters("scenario", f"{OWN}:halves")) == ["swapped"]
    assert section_parameters("scenario", f"{OWN}:thirds") == {}
    assert "root" in section_parameters("dataset", "digits")
    assert "splits" in section_parameters("dataset", "voc2007")
    assert "splits" not in section_parameters("dataset", "digits")
    assert set(section_parameters("scenario", "disjoint")) == {"n_tasks", "leftover"}
    assert "test_labels" not in section_parameters("scenario", "mlcil")
    for section, name in (("dataset", "digits"), ("backbone", ""), ("evaluation", "")):
        found = section_parameters(section, name)
        assert found
        assert not set(found) & FILLED[section]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_has_what_all_share_and_what_the_runner_fills_in(strategy: str) -> None:
    found = strategy_parameters(strategy)
    excluded = set(strategy_class(strategy).excluded)
    assert set(common_parameters()) - excluded <= set(found)
    assert not set(found) & FILLED["strategy"]
    assert {"backbone", "n_classes", "seed"} <= filled_parameters(strategy)
    assert all(default is not ... for _, default, _ in found.values())
