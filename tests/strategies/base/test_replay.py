"""Replay: references to past samples, and batches of them."""

from __future__ import annotations

import gc
import os
from typing import Any
from weakref import ref

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.training.buffers import ReservoirBuffer
from tests.toy_data import N_CLASSES, experiences


def filled(size: int = 12, scenario: str = "mlcil") -> tuple[Replay, list[Any]]:
    """A buffer that was offered every sample of a stream in turn."""
    replay = Replay(ReservoirBuffer(size, width=2, seed=0), 4)
    stream = experiences(scenario)
    for experience in stream:
        replay.enter(experience, classes_of(experience, N_CLASSES))
        rows = torch.arange(len(experience.dataset))
        replay.add(rows, torch.stack([torch.as_tensor(y) for y in experience.dataset.targets]))
    return replay, stream


def test_a_draw_reads_the_samples_that_its_slots_point_to() -> None:
    replay, stream = filled()
    (images, labels, *_), annotated, slots = replay.draw(0)
    assert len(slots) == len(slots.unique()) == 4
    for i, (source, row) in enumerate(replay.buffer.slots[slots].tolist()):
        image, label, *_ = stream[source].dataset[row]
        assert torch.equal(images[i], image)
        assert torch.equal(labels[i], label)
        assert torch.equal(annotated[i], classes_of(stream[source], N_CLASSES))


def test_workers_read_what_this_process_would_and_it_reads_nothing() -> None:
    class Elsewhere:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __getitem__(self, row: int) -> Any:
            assert os.getpid() != here
            return self.data[row]

    here = os.getpid()
    replay, _ = filled()
    replay.views = 2
    slots = torch.tensor([7, 0, 11, 4, 5])
    expected = [replay.read(slots, update)[0] for update in range(2)]
    replay.workers = 2
    replay._items.sources[:] = map(Elsewhere, replay._items.sources)
    for update, columns in enumerate(expected):
        found = replay.read(slots, update)[0]
        assert all(torch.equal(a, b) for a, b in zip(found, columns, strict=True))
    assert replay._loader is not None
    replay.enter(experiences("mlcil")[0], torch.ones(N_CLASSES, dtype=torch.bool))
    assert replay._loader is None  # its processes do not know the new experience


def test_labels_are_read_without_images() -> None:
    replay, stream = filled()
    labels = replay.labels()
    assert labels.shape == (12, N_CLASSES)
    for found, (source, row) in zip(labels, replay.buffer.slots.tolist(), strict=True):
        assert torch.equal(found, torch.as_tensor(stream[source].dataset.targets[row]))


def test_without_a_buffer_nothing_is_held_of_past_experiences() -> None:
    replay = Replay(ReservoirBuffer(0, width=2), 4)
    (experience,) = experiences("si_blurry")[:1]
    gone = ref(experience.dataset)
    replay.enter(experience, torch.ones(N_CLASSES, dtype=torch.bool))
    assert len(replay) == 0
    del experience
    gc.collect()
    assert gone() is None


def test_a_state_needs_the_experiences_that_it_points_into() -> None:
    replay, stream = filled()
    state = {"buffer": replay.buffer.state_dict(), "sources": 3}
    annotated = [(e, classes_of(e, N_CLASSES)) for e in stream]
    other = Replay(ReservoirBuffer(12, width=2), 4)
    other.restore(state, annotated)
    slots = torch.arange(12)
    for mine, theirs in zip(replay.read(slots, 0)[0], other.read(slots, 0)[0], strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(InputError, match="refers to 3 experiences, but 2 were given"):
        Replay(ReservoirBuffer(12, width=2), 4).restore(state, annotated[:2])
    with pytest.raises(InputError, match="saved replay buffer has 12 places, and this one 9"):
        Replay(ReservoirBuffer(9, width=2), 4).restore(state, annotated)
