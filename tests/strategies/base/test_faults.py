"""Images and numbers with which a run must not continue stop it, with their positions."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.backbones.pixels import fault_of
from cl_prompts.errors import InputError, RunError
from cl_prompts.scenarios import disjoint_benchmark
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator
from tests.refusals import check_refusals
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, watch

NAN = float("nan")


def fault(images: Any = (), logits: Any = (), unseen: bool = False) -> None:
    """Raise the error for a loss of NaN in six samples, of which these rows are broken."""
    broken, scores = Blobs(6, seed=1).images.clone(), torch.zeros(6, 3)
    broken[list(images), 0, 3, 3] = float("inf")
    scores[list(logits), 1] = NAN
    seen = torch.tensor([True, not unseen, True])
    raise fault_of(NAN, broken, scores, seen, first=32)


def test_the_error_names_the_first_cause() -> None:
    cases = {
        "images": lambda: fault([1, 4], [1, 4]),
        "logits": lambda: fault(logits=[2]),
        "of a class not seen": lambda: fault(logits=[2], unseen=True),
    }
    check_refusals(Path(__file__).with_name("faults.txt"), cases)


@pytest.mark.parametrize("kind", ["linear_probe", "ncm", "ranpac", "l3a"])
def test_a_run_stops_with_the_positions_of_its_broken_images(kind: str) -> None:
    scenario = "mlcil" if kind in ("l3a",) else "class_incremental"
    strategy = make(kind, scenario)
    watch(strategy, "training_output", lambda batch: batch.columns[0][3].fill_(NAN))
    with pytest.raises(RunError, match=r"images 3 contain NaN or infinity"):
        fit(strategy, experiences(scenario)[:1])


class Spoil(StrategyPlugin):
    """Infinite loss after 16 stream samples."""

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.samples_seen >= 16:
            strategy.loss = strategy.loss / 0


def test_a_loss_that_is_not_finite_stops_a_run() -> None:
    with pytest.raises(RunError, match=r"the loss became inf at stream position 16\. Try"):
        fit(make("linear_probe", plugins=[Spoil()]), experiences("class_incremental")[:1])


@pytest.mark.parametrize("at", [0, 10])
def test_a_non_finite_test_image_stops_an_evaluation(at: int) -> None:
    train, test = Blobs(72, seed=1), Blobs(30, seed=2)
    stream = disjoint_benchmark(train, test, n_tasks=1)
    strategy = fit(make("ncm", eval_mb_size=4), list(stream.train_stream))
    strategy.eval(list(stream.test_stream), num_workers=0)
    test.images[at, 0, 3, 3] = NAN
    seen = torch.ones(6, dtype=torch.bool)
    # The first batch is checked before the model runs.
    error, says = (RunError, r"test images \[?10") if at else (InputError, "at positions 0 reach")
    for evaluate in (
        lambda: strategy.eval(list(stream.test_stream), num_workers=0),
        lambda: CachedEvaluator(test, batch_size=4).evaluate(strategy.model, seen),
    ):
        with pytest.raises(error, match=says):
            evaluate()


def test_the_first_batch_of_each_experience_is_checked() -> None:
    data = Blobs(72, seed=1)
    stream = disjoint_benchmark(data, Blobs(30, seed=2), n_tasks=2).train_stream
    strategy = fit(make("er", online_iter=1), stream[:1])
    data.images *= 255
    with pytest.raises(InputError, match=r"images at positions \d+, .* give images in \[0, 1\]"):
        fit(strategy, stream[1:])
