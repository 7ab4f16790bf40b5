"""Training on Avalanche's mini-experiences equals training on whole tasks."""

from typing import Any

import pytest
from avalanche.benchmarks import split_online_stream

from tests.toy_data import benchmark
from tests.toys import close, make, on_two_blocks, weights

SIZE = 16  # two batches
#: one of each way to hold something of a task or a period
HOLDING = (
    "mvp",
    "multi_lane",
    "flyprompt",
    "hide_prompt",
    "lwf",
    "ewcpp",
    "rainbow",
    "l3a",
    "ranpac",
)
TOLD = (*HOLDING, "coda_prompt", "smope", "derpp", "clib", "ease", "mixture_prompt")
VARIANTS = ("lwf_batch", "s_prompt_averaged", "s_prompt_routed", "single_prompt_slca")
CASES = [
    *((kind, "class_incremental") for kind in (*TOLD, *VARIANTS)),
    *((kind, "si_blurry") for kind in HOLDING),
]


def train(strategy: Any, stream: Any) -> Any:
    """In the stream's order, so that a piece holds the batches of its task."""
    for experience in stream:
        strategy.train(experience, eval_streams=[], shuffle=False)
    return strategy


def pieces(stream: Any, *, announced: bool) -> list[Any]:
    return list(
        split_online_stream(
            stream, experience_size=SIZE, access_task_boundaries=announced, shuffle=False
        )
    )


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_training_in_pieces_is_training_on_the_whole(kind: str, scenario: str) -> None:
    # However often a batch is used, it is one of some piece.
    settings = {"train_mb_size": SIZE // 2, "online_iter": 1, **on_two_blocks(kind)}
    stream = benchmark(scenario).train_stream[:2]
    announced = bool(stream[0].boundaries)
    whole = train(make(kind, scenario, **settings), stream)
    parts = train(make(kind, scenario, **settings), pieces(stream, announced=announced))
    assert parts.samples_seen == whole.samples_seen
    assert parts.updates == whole.updates
    told = announced or whole.boundaries
    assert parts.tasks_started == whole.tasks_started == (2 if told else 0)
    close(weights(whole), weights(parts))


@pytest.mark.parametrize("kind", ["linear_probe", "dual_prompt", "multi_lane"])
def test_hidden_boundaries_stay_hidden(kind: str) -> None:
    stream = benchmark("class_incremental").train_stream
    strategy = train(make(kind, "si_blurry"), pieces(stream, announced=False))
    assert strategy.tasks_started == 0
    assert strategy.model.seen.all()
