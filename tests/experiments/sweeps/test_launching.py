"""Where runs are executed: what is refused, and how many a machine has room for."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.launching import Launching


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "rey"}, "did you mean 'ray'?"),
        ({"jobs": 0}, "--jobs must be a whole number from 1 to 256"),
        ({"cpus": 2}, "--cpus and --gpus are for --launcher ray or slurm"),
        ({"gpus": 1.0}, "--cpus and --gpus are for --launcher ray or slurm"),
        ({"kind": "ray", "cpus": 0}, "--cpus must be a whole number from 1"),
        ({"kind": "ray", "gpus": -1.0}, "--gpus is -1.0: it must be between 0 and 64"),
        ({"kind": "ray", "gpus": 1.5}, "--gpus is 1.5: above 1 it must be a whole number"),
        ({"kind": "slurm", "gpus": 0.5}, "--gpus is 0.5: Slurm gives whole ones"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=None) as told:
        Launching(**values)
    assert says in str(told.value)


def test_room_is_what_cpus_and_gpus_allow() -> None:
    assert Launching("ray").fitting(8, 0) == 8
    assert Launching("ray", cpus=3).fitting(8, 0) == 2
    assert Launching("ray", gpus=1 / 3).fitting(8, 1) == 3
    assert Launching("ray", gpus=2.0).fitting(8, 3) == 1
    assert Launching("ray", cpus=4).fitting(2, 0) == 0


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


def test_nothing_is_needed_here() -> None:
    assert Launching().check_installed() is None
