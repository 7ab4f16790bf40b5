"""Replay: references to past samples, and batches of them."""

import gc
from weakref import ref

import torch

from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.training.buffers import ReservoirBuffer
from tests.toy_data import N_CLASSES, experiences


def test_a_draw_reads_the_samples_that_its_slots_point_to_and_labels_need_no_images() -> None:
    replay, stream = Replay(ReservoirBuffer(12, width=2, seed=0), 4), experiences("mlcil")
    for experience in stream:
        replay.enter(experience, classes_of(experience, N_CLASSES))
        rows = torch.arange(len(experience.dataset))
        replay.add(rows, torch.stack([torch.as_tensor(y) for y in experience.dataset.targets]))
    (images, labels, *_), annotated, slots = replay.draw(0)
    assert len(slots) == len(slots.unique()) == 4
    for i, (source, row) in enumerate(replay.buffer.slots[slots].tolist()):
        image, label, *_ = stream[source].dataset[row]
        assert torch.equal(images[i], image)
        assert torch.equal(labels[i], label)
        assert torch.equal(annotated[i], classes_of(stream[source], N_CLASSES))


def test_without_a_buffer_nothing_is_held_of_past_experiences() -> None:
    replay = Replay(ReservoirBuffer(0, width=2), 4)
    (experience,) = experiences("si_blurry")[:1]
    gone = ref(experience.dataset)
    replay.enter(experience, torch.ones(N_CLASSES, dtype=torch.bool))
    assert len(replay) == 0
    del experience
    gc.collect()
    assert gone() is None
