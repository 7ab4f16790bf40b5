"""Settings read from signatures."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.signatures import (
    FILLED,
    common_parameters,
    filled_parameters,
    parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.strategies import STRATEGIES
from tests.experiments import own_parts

OWN = "tests.experiments.own_parts"


class Base:
    def __init__(self, *, shared: int = 1, hidden: str = "x", **rest: Any) -> None: ...


class Lower(Base):
    def __init__(self, *args: Any, own: float, shared: int = 2, **rest: Any) -> None: ...


class Closed(Lower):
    def __init__(self, only: bool = True) -> None: ...


def test_a_class_has_the_parameters_of_the_bases_it_passes_arguments_to() -> None:
    assert parameters(Lower) == {"own": (float, ...), "shared": (int, 2), "hidden": (str, "x")}
    assert parameters(Lower, {"hidden"}).keys() == {"own", "shared"}
    assert parameters(Closed) == {"only": (bool, True)}


def test_parameters_of_a_function() -> None:
    assert list(parameters(own_parts.stripes)) == ["image_size", "seed", "per_class", "n_classes"]
    with pytest.raises(InputError, match=r"annotations of .*\.badly_annotated cannot be read"):
        parameters(own_parts.badly_annotated)


def test_sections_leave_out_what_the_runner_fills_in() -> None:
    assert list(section_parameters("dataset", f"{OWN}:stripes")) == ["per_class", "n_classes"]
    # The first parameter takes the labels, whatever its name.
    assert list(section_parameters("scenario", f"{OWN}:halves")) == ["swapped"]
    assert "root" in section_parameters("dataset", "digits")
    assert set(section_parameters("scenario", "disjoint")) == {"n_tasks", "leftover"}
    assert "test_labels" not in section_parameters("scenario", "mlcil")
    for section, name in (("dataset", "digits"), ("backbone", ""), ("evaluation", "")):
        found = section_parameters(section, name)
        assert found
        assert not set(found) & FILLED[section]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_has_what_all_share_and_what_the_runner_fills_in(strategy: str) -> None:
    found = strategy_parameters(strategy)
    assert set(common_parameters()) <= set(found)
    assert not set(found) & FILLED["strategy"]
    assert {"backbone", "n_classes", "seed", "plugins"} <= filled_parameters(strategy)
    assert all(default is not ... for _, default in found.values())
