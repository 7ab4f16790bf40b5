"""Every state comes back exactly as it was."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.experiments.run_folder.state_tree import decode, encode


def round_trip(state: Any) -> Any:
    tree, tensors = encode(state)
    return decode(json.loads(json.dumps(tree)), tensors)


def same(a: Any, b: Any) -> bool:
    """Equal in type, order, bits and shape."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = [x.contiguous().reshape(-1).view(torch.uint8) for x in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text() | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
@settings(max_examples=300)
def test_plain_values(state: Any) -> None:
    assert same(round_trip(state), state)


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_tensors(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape) * 3).to(dtype)
    assert same(round_trip([tensor, tensor.clone()]), [tensor, tensor])


def test_nan_infinity_and_signs_keep_their_bits() -> None:
    odd = torch.tensor([math.nan, -math.nan, math.inf, -math.inf, -0.0, 1e-45])
    assert same(round_trip(odd), odd)
    again = round_trip({"a": [math.inf, -math.inf, -0.0, 5e-324], "b": math.nan})
    assert math.copysign(1, again["a"][2]) == -1
    assert again["a"][:2] == [math.inf, -math.inf]
    assert math.isnan(again["b"])


def test_views_and_tensors_of_one_storage() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = [whole, whole[1:], whole.T, whole[:, 1], whole[0, 0].expand(3), whole]
    again = round_trip(state)
    assert same(again, [tensor.contiguous() for tensor in state])
    again[0].zero_()
    assert again[1].sum() > 0  # each has its own memory
    assert not round_trip(torch.nn.Parameter(whole)).requires_grad


def test_states_of_optimizers_and_generators() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1, betas=(0.5, 0.9))
    layer(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    generator = np.random.default_rng(3)
    state = {
        "optimizer": optimizer.state_dict(),
        "model": OrderedDict(layer.state_dict()),
        "torch": torch.get_rng_state(),
        "numpy": generator.bit_generator.state,
        "legacy": np.random.RandomState(3).get_state(),
        "scalar": np.float64(0.1),
    }
    again = round_trip(state)
    assert same({**again, "model": None}, {**state, "model": None})
    assert list(again["model"]) == list(state["model"])
    assert set(again["optimizer"]["state"]) == {0, 1}


def test_what_is_no_state_is_named() -> None:
    with pytest.raises(TypeError, match=r"state\.a\[1\] is of type function: a checkpoint holds"):
        encode({"a": [1, len.__class__ and round_trip]})
    with pytest.raises(TypeError, match=r"state is of type ndarray"):
        encode(np.array([object()]))
    for tree in ([1], {"z": 1}, {"x": "0", "d": []}, {"d": [1]}):
        with pytest.raises((ValueError, TypeError)):
            decode(tree, {})
