"""Every state comes back exactly as it was, and a checkpoint with a single wrong bit is refused."""

from __future__ import annotations

import hashlib
import json
import math
import random
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import checkpoint
from cl_prompts.experiments.run_folder.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    decode,
    encode,
    packed,
    read,
    taking_up,
    verify,
)
from tests.experiments.faults import flipped

STATE = {
    "strategy": {"model": {"head": torch.randn(3, 5), "seen": torch.tensor([True, False])}},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "lr": 0.1},
}
GIVEN = Checkpoint(STATE, {"seed": 1}, {"metrics": b"rows"})


@pytest.fixture(scope="module")
def data() -> bytes:
    return b"".join(packed(GIVEN))


def test_it_gives_back_what_it_was_given(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    file.write_bytes(data)
    verify(file)
    found = read(file)
    assert torch.equal(found.state["strategy"]["model"]["head"], STATE["strategy"]["model"]["head"])
    assert found.state["optimizer"]["state"][0]["step"] == 3
    assert (found.identity, found.attached) == (GIVEN.identity, GIVEN.attached)


def test_its_tensors_are_a_safetensors_file(data: bytes) -> None:
    start = checkpoint._START.size
    length = checkpoint._START.unpack(data[:start])[2]
    head = json.loads(data[start + 32 : start + 32 + length])
    tensors, metrics = head["parts"]
    payload = data[start + 32 + length :]
    assert payload[tensors["bytes"] :] == b"rows"
    assert metrics["sha256"] == hashlib.sha256(b"rows").hexdigest()
    assert len(safetensors.torch.load(payload[: tensors["bytes"]])) == 3


def refused(file: Path, data: bytes) -> str:
    """Sentence with which both ways to read refuse these bytes."""
    file.write_bytes(data)
    told = []
    for way in (verify, read):
        try:
            way(file)
        except DamagedCheckpoint as error:
            told.append(str(error))
    assert len(told) == 2
    assert "checkpoint is damaged (" in told[0]
    return told[1]


def test_every_flip_of_a_bit_is_refused(data: bytes, tmp_path: Path) -> None:
    bits = random.Random(0).sample(range(len(data) * 8), 200)
    told = {
        refused(tmp_path / "checkpoint", flipped(data, bit))
        for bit in [*range(0, 64 * 8, 2), *bits]
    }
    assert len(told) > 6
    assert not any("\n" in sentence for sentence in told)


def test_every_length_but_its_own_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    for length in [*range(80), *range(80, len(data), 7), len(data) - 1]:
        refused(file, data[:length])
    assert "is longer than it says" in refused(file, data + b"\0")
    refused(file, b"\0" * len(data))


def test_the_sentence_says_what_is_wrong(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    assert "the checksum of its metrics differs" in refused(file, flipped(data, len(data) * 8 - 1))
    assert "the checksum of its tensors differs" in refused(file, flipped(data, len(data) * 8 - 40))
    layout = f"it is of layout {checkpoint.VERSION ^ 2}, and this version"
    assert layout in refused(file, flipped(data, 8 * 8 + 1))
    assert "does not begin like a checkpoint" in refused(file, b"PK\x03\x04 a file of torch.save")
    file.unlink()
    with pytest.raises(DamagedCheckpoint, match="it cannot be read: No such file"):
        read(file)


@pytest.mark.parametrize(
    "head",
    [
        {"state": 1},
        {"parts": [{"name": "tensors", "bytes": -1, "sha256": ""}]},
        {"parts": [{"name": "tensors", "bytes": 2**70, "sha256": ""}]},
        {"parts": [{"name": "tensors", "bytes": 0}]},
        {"parts": [{"bytes": 0, "sha256": ""}]},
        {"parts": [{"name": ["tensors"], "bytes": 0, "sha256": ""}]},
        {"parts": [], "state": {"d": []}, "identity": {}},
        [],
    ],
)
def test_a_file_made_up_with_right_checksums_is_refused(head: Any, tmp_path: Path) -> None:
    text = json.dumps({"identity": {}, **head} if head else head).encode()
    start = checkpoint._START.pack(checkpoint.MAGIC, checkpoint.VERSION, len(text))
    (tmp_path / "checkpoint").write_bytes(start + hashlib.sha256(start + text).digest() + text)
    with pytest.raises(DamagedCheckpoint, match=r"head is not one|not a state|is cut off"):
        read(tmp_path / "checkpoint")


def test_what_cannot_be_unpacked_is_of_another_form() -> None:
    with pytest.raises(InputError, match="a state of another form"), taking_up(Path("run")):
        zlib.decompress(b"no rows")


# ---------------------------------------------------------------------- states


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
@settings(max_examples=100)
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
