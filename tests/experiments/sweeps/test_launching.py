"""Places where runs are executed, room on a machine, and libraries that are missing."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.own_code import extra


@pytest.mark.parametrize(
    ("values", "cpus", "gpus", "room"),
    [
        ({}, 8, 0, 8),
        ({"cpus": 3}, 8, 0, 2),
        ({"gpus": 1 / 3}, 8, 1, 3),
        ({"gpus": 2.0}, 8, 3, 1),
        ({"cpus": 4}, 2, 0, 0),
    ],
)
def test_room_is_what_cpus_and_gpus_allow(
    values: dict[str, Any], cpus: float, gpus: float, room: int
) -> None:
    assert Launching("ray", **values).fitting(cpus, gpus) == room


@pytest.mark.parametrize(
    ("device", "there", "gpus"),
    [("auto", True, 1), ("auto", False, 0), ("cuda:0", False, 1), ("cpu", True, 0)],
)
def test_a_run_asks_for_a_gpu_where_its_device_does(device: str, there: bool, gpus: int) -> None:
    assert Launching("ray").on(device, there=there).gpus == gpus
    assert Launching("ray", gpus=0.25).on(device, there=there).gpus == 0.25


def test_it_says_what_a_run_asks_for() -> None:
    assert str(Launching("ray")) == "1 CPU"
    assert str(Launching("ray", cpus=4, gpus=0.5)) == "4 CPUs and 0.5 GPU"


@pytest.mark.parametrize(("kind", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_library_that_is_missing_is_a_sentence_with_the_command(
    kind: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extra("math", "x", "it") is math
    Launching().check_installed()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError) as told:
        Launching(kind).check_installed()
    assert str(told.value) == (
        f"--launcher {kind} needs {library}, which is not installed: pip install"
        f" 'cl-prompts[{kind}]'"
    )
