"""Tasks cut into mini-experiences by Avalanche teach every strategy what whole tasks do."""

from __future__ import annotations

from typing import Any

import pytest
from avalanche.benchmarks import split_online_stream

from cl_prompts.errors import InputError
from tests.toy_data import benchmark
from tests.toys import TABLE, close, cls_of, make, on_two_blocks, weights

SIZE = 16  # two batches
#: where no boundary is announced: one of each way to hold something of a task or a period
HIDDEN = (
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
VARIANTS = ("lwf_batch", "s_prompt_averaged", "s_prompt_routed", "single_prompt_slca")
CASES = [
    *((kind, "class_incremental") for kind in TABLE if not cls_of(kind).whole_stream),
    *((kind, "class_incremental") for kind in VARIANTS),
    *((kind, "si_blurry") for kind in HIDDEN),
]


def train(strategy: Any, stream: Any) -> Any:
    """In the stream's order, so that a piece holds the batches of its task."""
    for experience in stream:
        strategy.train(experience, eval_streams=[], shuffle=False)
    return strategy


def pieces(stream: Any, *, announced: bool) -> list[Any]:
    """The tasks of a stream, cut."""
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


def test_joint_training_puts_pieces_of_tasks_together_again() -> None:
    stream = benchmark("mlcil").train_stream
    whole, parts = (make("joint", "mlcil", train_epochs=1) for _ in range(2))
    whole.train(stream, eval_streams=[])
    online = pieces(stream, announced=True)
    parts.train(online, eval_streams=[])
    assert parts.samples_seen == whole.samples_seen == 72
    close(weights(whole), weights(parts))
    with pytest.raises(InputError, match="annotate different classes and are not whole tasks"):
        make("joint", "mlcil").train(online[:-1], eval_streams=[])
