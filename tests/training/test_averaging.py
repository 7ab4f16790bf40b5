"""Gaussian prompt averaging against published numbers."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.training.averaging import GaussianAverage, gaussian_weights
from tests.golden_numbers import Golden

GOLDEN = Golden("self_regulation")


@pytest.mark.parametrize("setting", ["20_15_1", "10_6_4", "5_3_1"])
def test_published_weights(setting: str) -> None:
    n, mean, std = (int(number) for number in setting.split("_"))
    got = torch.tensor(gaussian_weights(n, mean, std), dtype=torch.float64)
    GOLDEN.close(got, f"promptsrc/average/weights_{setting}", atol=1e-9)


def test_published_average() -> None:
    average = GaussianAverage(5, 3, 1)
    for i in range(5):
        average.add({"prompt": GOLDEN(f"promptsrc/average/state{i}/prompt")})
    GOLDEN.close(average.state()["prompt"], "promptsrc/average/result/prompt")


def test_so_far_weights_sum_to_one_and_integers_are_left_out() -> None:
    average = GaussianAverage(10)
    assert max(average.weights) == max(average.weights[6], average.weights[7])
    for _ in range(4):
        average.add({"prompt": torch.full((2,), 3.0), "task": torch.tensor(7)})
    assert average.state().keys() == {"prompt"}
    assert average.state()["prompt"].tolist() == pytest.approx([3, 3])


def test_state_and_restart() -> None:
    average, twin = GaussianAverage(3), GaussianAverage(3)
    states = [{"prompt": torch.randn(4)} for _ in range(3)]
    average.add(states[0])
    twin.load_state_dict(average.state_dict())
    for each in (average, twin):
        each.add(states[1])
        each.add(states[2])
    assert torch.equal(average.state()["prompt"], twin.state()["prompt"])
    with pytest.raises(InputError, match="average is of 3 checkpoints, which are all there"):
        average.add(states[0])
    average.restart()
    with pytest.raises(InputError, match="no average before a checkpoint"):
        average.state()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="std is 0: it must be positive"):
        gaussian_weights(5, 3, 0)
    with pytest.raises(InputError, match="reaches none of 5 checkpoints"):
        gaussian_weights(5, 500, 1)
