"""The mixture on streams: which samples enter which group, and what is said beforehand."""

import pytest
import torch
from torch import Tensor

from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make


@pytest.mark.parametrize(
    ("scenario", "settings", "mixes"),
    [
        ("si_blurry", {"period": 24}, True),
        ("si_blurry", {"period": None}, False),
        ("class_incremental", {}, False),
        ("domain_incremental", {}, True),
    ],
)
def test_groups_are_stretches_of_the_stream(
    scenario: str, settings: dict[str, int | None], mixes: bool
) -> None:
    strategy = fit(make("mixture_prompt", scenario, **settings), experiences(scenario))
    head = strategy.model.head
    sizes = [len(experience.dataset) for experience in experiences(scenario)]
    counts = head.counts.sum(dim=1).tolist()
    # Each sample once, however many updates and views it had.
    assert sum(counts) == sum(sizes)
    if scenario != "si_blurry":
        assert counts == sizes
    elif mixes:
        assert 24 <= counts[0] < 24 + strategy.train_mb_size
    else:
        assert counts == [sum(sizes), 0, 0]
    assert head.mixes is mixes
    assert torch.equal(head.experts[1], head.experts[2]) is not mixes


def test_replayed_samples_and_later_epochs_enter_no_group() -> None:
    settings = {"train_epochs": 2, "buffer_size": 12, "buffer_batch_size": 8, "period": 24}
    strategy = fit(make("mixture_prompt", **settings), experiences()[:1])
    assert strategy.model.head.counts.sum() == len(experiences()[0].dataset)


def test_terms_of_experts_and_gate_are_weighed() -> None:
    strategy = fit(make("mixture_prompt", period=24), experiences())
    blobs = Blobs(8, seed=3)
    batch = stream_batch(strategy, blobs.images, torch.from_numpy(blobs.targets))
    output = strategy.training_output(batch)
    head = strategy.model.head

    def loss(text: float, gate: float) -> Tensor:
        strategy.text_weight, strategy.gate_weight = text, gate
        found: Tensor = strategy.training_loss(output, batch)
        return found

    torch.testing.assert_close(loss(2.0, 0.0) - loss(0.0, 0.0), 2 * head.group_loss())
    gate = head.gate_loss(output.features, batch.labels)
    torch.testing.assert_close(loss(0.0, 3.0) - loss(0.0, 0.0), 3 * gate)
