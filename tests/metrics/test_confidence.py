"""Confidence of a prediction."""

import pytest
import torch

from cl_prompts.metrics.confidence import confidence, temperature_of


def test_one_label_has_the_log_odds_of_its_probability() -> None:
    logits = 3 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 2] = -torch.inf
    best = logits.double().softmax(dim=1).amax(dim=1)
    assert confidence(logits).tolist() == pytest.approx(torch.log(best / (1 - best)).tolist())
    # Images differ of which the probability rounds to one.
    logits = torch.tensor([[900.0, 100.0, 0.0], [900.0, 200.0, 0.0]])
    assert logits.softmax(dim=1).amax(dim=1).tolist() == [1, 1]
    assert confidence(logits).tolist() == [800, 700]
    # Of several labels the best seen one counts.
    logits = torch.tensor([[-2.0, -3.0, 0.0], [1.0, 4.0, 0.0]])
    assert confidence(logits, torch.tensor([True, True, False])).tolist() == [-2, 4]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_temperature_recovers_the_scale_of_the_logits(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=generator)
    logits[:, 3] = -torch.inf
    targets = logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]
    assert temperature_of(scale * logits, targets) == pytest.approx(scale, rel=0.05)
    # Scores that are all right still get a positive temperature.
    assert (temperature_of(logits, logits.argmax(dim=1)) or 0) > 0.01


def test_scores_that_say_nothing_have_no_temperature() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert temperature_of(logits, torch.tensor([1, 0])) is None
    assert temperature_of(logits[:0], torch.tensor([], dtype=torch.int64)) is None
    assert temperature_of(logits[:, :1], torch.tensor([0, 0])) is None
