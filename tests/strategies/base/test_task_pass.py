"""A further pass over the images of a task, and the classifiers that learn from it."""

import pytest
import torch
from avalanche.benchmarks import split_online_stream

from cl_prompts.scenarios import Split, benchmark_from_split
from cl_prompts.strategies.base.task_pass import task_outputs
from tests.strategies.shared import noted
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_task_pass_reads_images_as_evaluation_does_with_the_prompts_of_the_task(
    in_pieces: bool,
) -> None:
    strategy = make("s_prompt", "class_incremental", eval_mb_size=10)
    stream = experiences("class_incremental")[:2]
    pieces = split_online_stream(stream, 16, access_task_boundaries=True, shuffle=False)
    model = strategy.model
    parts = list(pieces) if in_pieces else stream
    _, outputs = noted(strategy, "finish_task", lambda: list(task_outputs(strategy)), parts)
    assert [len(labels) for _, labels in outputs] == [10, 10, 4]
    items = [stream[1].dataset[row] for row in range(24)]
    assert torch.cat([labels for _, labels in outputs]).tolist() == [int(i[1]) for i in items]
    chosen = torch.cat([output.selection.index for output, _ in outputs])
    assert (chosen == 1).all()  # the entry of the second task
    with torch.no_grad():  # which training picks, too
        want = model.train().run(torch.stack([item[0] for item in items])).raw
    raw = torch.cat([output.raw for output, _ in outputs])
    torch.testing.assert_close(raw, want)
    assert not raw.requires_grad


@pytest.mark.parametrize("kind", ["aper", "hide_prompt"])
def test_a_pass_over_an_empty_task_is_empty(kind: str) -> None:
    data = Blobs(24, 6, seed=1)
    first = [row for row, label in enumerate(data.targets) if label < 3]
    split = Split.of("gaps", data.targets, [[], first, []], boundaries=True)
    several = {} if kind == "aper" else {"n_tasks": 3}
    strategy = make(kind, "class_incremental", **several)
    fit(strategy, benchmark_from_split(data, data, split).train_stream)
    assert strategy.model.seen.tolist() == [True] * 3 + [False] * 3
