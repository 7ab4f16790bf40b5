"""Which device is taken, and what it is refused."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.backbones.devices import check_precision, pick_device
from cl_prompts.errors import InputError


def test_auto_takes_what_there_is() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device().type in (best, "mps")


@pytest.mark.parametrize("name", ["gpux", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' is not available here: use device=auto"):
        pick_device(name)


def test_bf16_is_refused_where_it_cannot_be_computed() -> None:
    check_precision("bf16", torch.device("cpu"))
    check_precision("fp32", torch.device("meta"))
    says = "bf16 is not supported by device meta: use precision=fp32"
    with pytest.raises(InputError, match=says):
        check_precision("bf16", torch.device("meta"))
