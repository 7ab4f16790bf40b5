"""Bytes that a strategy stores, and the buffer that fits a limit."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.state import buffer_within, memory_of
from tests.toy_data import experiences
from tests.toys import REPLAYING, TABLE, fit, make

#: bytes of a sample as an image of the toy ViT's size
IMAGE = 3 * 16 * 16
#: further bytes of a sample: logits, features, importance and loss
BESIDE = {"derpp": 4 * 6, "clib": 4 * 16 + 2 * 8, "rainbow": 2 * 8}


@pytest.mark.parametrize("kind", [*(k for k in REPLAYING if k in TABLE), "mvp_r"])
def test_a_full_buffer_fits_its_limit(kind: str) -> None:
    strategy = make(kind, plugins=[])
    limit = 30_000
    size = buffer_within(limit, strategy)
    other = buffer_within(limit + 100 * (IMAGE + BESIDE.get(kind, 0)), strategy)
    assert other == size + 100
    assert 12 < size < 72
    trained = fit(make(kind, buffer_size=size), experiences("si_blurry"))
    found = memory_of(trained)
    assert found["samples"] == size
    assert limit - IMAGE - BESIDE.get(kind, 0) < found["bytes"] <= limit


@pytest.mark.parametrize("kind", ["ranpac", "recommended", "l2p", "er"])
def test_a_limit_below_what_is_stored_is_refused(kind: str) -> None:
    strategy = make(kind)
    with pytest.raises(InputError, match=r"memory is 10 bytes, and .* needs ") as refused:
        buffer_within(10, strategy)
    needed = int(str(refused.value).split("needs ")[1].split(":")[0].replace(",", ""))
    assert buffer_within(needed, strategy) == (kind == "er")
    fit(strategy, experiences("si_blurry"))
    if kind != "er":
        assert memory_of(strategy)["bytes"] == needed


def test_joint_training_has_no_limit() -> None:
    with pytest.raises(InputError, match="Joint stores it all"):
        buffer_within(10**9, make("joint"))
