"""A checkpoint with a single wrong bit is refused."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cl_prompts.experiments.run_folder import checkpoint
from cl_prompts.experiments.run_folder.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    packed,
    read,
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
        {"parts": [], "state": {"d": []}, "identity": {}},
        [],
    ],
)
def test_a_file_made_up_with_right_checksums_is_refused(head: object, tmp_path: Path) -> None:
    text = json.dumps(head).encode()
    start = checkpoint._START.pack(checkpoint.MAGIC, checkpoint.VERSION, len(text))
    (tmp_path / "checkpoint").write_bytes(start + hashlib.sha256(start + text).digest() + text)
    with pytest.raises(DamagedCheckpoint, match=r"its head is not one|its content is not a state"):
        read(tmp_path / "checkpoint")
