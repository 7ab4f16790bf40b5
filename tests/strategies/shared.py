"""Batches, runs and features that several tests of strategies need."""

from collections.abc import Callable
from typing import Any

import torch
from avalanche.models import SimpleMLP
from torch import Tensor

from cl_prompts.models.base import Output
from cl_prompts.strategies.base.stream import Batch
from tests.golden_numbers import Golden
from tests.toys import fit, watch

#: slots of a batch without replayed samples
NO_SLOTS = torch.zeros(0, dtype=torch.int64)


def stream_batch(strategy: Any, images: Tensor, labels: Tensor) -> Batch:
    """A batch of the stream alone, in the strategy's current experience."""
    return Batch([images, labels], strategy.annotated, NO_SLOTS)


def golden_update(strategy: Any, golden: Golden, case: str = "", loss: str = "loss") -> Output:
    """An update on the golden images, up to its gradients: outputs and loss are the published."""
    strategy.model.train()
    batch = stream_batch(strategy, golden("images"), golden("labels"))
    output: Output = strategy.training_output(batch)
    golden.close(output.features, f"{case}features")
    golden.close(output.logits, f"{case}logits")
    found = strategy.training_loss(output, batch)
    golden.close(found, f"{case}{loss}")
    found.backward()
    return output


def ordinary(kind: Any, plugins: list[Any], **settings: Any) -> Any:
    """One of Avalanche's own strategies on a small network."""
    model = SimpleMLP(num_classes=6, input_size=3 * 16 * 16, hidden_size=4)
    return kind(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=8,
        plugins=plugins,
        evaluator=None,
        **settings,
    )


def noted(strategy: Any, method: str, note: Callable[..., Any], stream: Any) -> list[Any]:
    """Train on a stream; what ``note`` says of the arguments of each call of a method."""
    found: list[Any] = []
    watch(strategy, method, lambda *given, **named: found.append(note(*given, **named)))
    fit(strategy, stream)
    return found
