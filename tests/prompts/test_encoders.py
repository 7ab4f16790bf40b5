"""Encoders of prompts against published numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cl_prompts.prompts.encoders import LSTMEncoder, MLPEncoder, ProjectorEncoder
from cl_prompts.prompts.parameterisations import Reparameterised
from cl_prompts.prompts.pools import SharedTokens
from tests.golden_numbers import Golden, gradient, put

GOLDEN = Golden("prompt_parameters")

ENCODERS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "mlp1": (lambda: MLPEncoder(16, bottleneck=6), True),
    "mlp2": (lambda: MLPEncoder(16, bottleneck=6, repeats=2), True),
    "mlp1_tanh": (lambda: MLPEncoder(16, bottleneck=6, activation="tanh"), True),
    "mlp1_no_residual": (lambda: MLPEncoder(16, bottleneck=6), False),
    "lstm1": (lambda: LSTMEncoder(16), True),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_published_encoders(name: str) -> None:
    make, residual = ENCODERS[name]
    pool = SharedTokens((0,), 4, 16)
    encoder = make()
    state = {}
    for key, values in GOLDEN.state(f"pre/{name}/").items():
        if key.startswith("module.") and int(key.split(".")[1]) < 4:
            state[key.replace("module", "layers")] = values
        if key.startswith("lstm_head."):
            state[key.replace("lstm_head", "lstm")] = values
    encoder.load_state_dict(state)
    put(pool.values, GOLDEN("pre/prompt"))
    wrapped = Reparameterised(pool, encoder, residual=residual)
    GOLDEN.close(wrapped.values[0], f"pre/{name}/output")
    (wrapped.values[0] * GOLDEN("pre/loss_weight")).sum().backward()
    GOLDEN.close(gradient(pool.values)[0], f"pre/{name}/grad_prompt")
    for parameter, values in encoder.named_parameters():
        published = parameter.replace("layers", "module").replace("lstm.", "lstm_head.")
        GOLDEN.close(gradient(values), f"pre/{name}/grad/{published}")


def test_projector() -> None:
    projector = ProjectorEncoder(16)
    assert projector(torch.randn(3, 4, 16)).shape == (3, 4, 16)
    assert projector.down.weight.shape == (2, 16)


def test_the_projector_is_its_formula() -> None:
    projector = ProjectorEncoder(16)
    rows = torch.randn(4, 3, 16)
    hidden = projector.norm(projector.down(rows)).clamp(min=0)
    torch.testing.assert_close(projector(rows), projector.up(hidden))
