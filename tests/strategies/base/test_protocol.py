"""The online protocol: samples that are offered, task ends, rates, gradients, and the classes that
compete."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.stream import Batch
from tests.strategies.shared import gradient_norm, noted, stream_batch
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import PROTOTYPES, TABLE, cls_of, fit, make


def some_batch(strategy: Any, labels: list[int]) -> Batch:
    """A batch of the stream with these labels."""
    return stream_batch(strategy, Blobs(len(labels), seed=5).images, torch.tensor(labels))


def test_every_sample_is_offered_to_the_buffer_once_in_the_first_epoch() -> None:
    strategy = make("er", buffer_size=200, train_epochs=3)
    offered = noted(strategy, "remember", lambda rows, *_: len(rows), experiences())
    assert sum(offered) == len(strategy.buffer) == TRAIN
    references = {tuple(reference) for reference in strategy.buffer.slots[:TRAIN].tolist()}
    assert len(references) == TRAIN
    assert strategy.samples_seen == 3 * TRAIN


@pytest.mark.parametrize("boundaries", [None, True])
def test_task_ends_are_announced_or_come_every_period(boundaries: bool | None) -> None:
    strategy = make("rainbow", boundaries=boundaries)
    stream = experiences()
    at = noted(strategy, "finish_task", lambda: strategy.samples_seen, stream)
    if boundaries:
        assert at == torch.tensor([len(e.dataset) for e in stream]).cumsum(0).tolist()
    else:  # every 40 samples, at the end of a batch
        assert [point // 40 for point in at] == [1]
        assert 40 <= at[0] < 40 + 16


def test_a_schedule_runs_over_the_epochs_of_an_experience() -> None:
    strategy = make("linear_probe", schedule="cosine", train_epochs=3, lr=0.1)
    (group,) = strategy.optimizer.param_groups
    stream = experiences("class_incremental")[:2]
    rates = noted(strategy, "training_loss", lambda *_: group["lr"], stream)
    by_epoch = [rate for rate, _ in groupby(rates)]
    assert by_epoch == pytest.approx([0.1, 0.075, 0.025, 0.1, 0.075, 0.025])


def test_gradients_are_clipped_by_their_global_norm() -> None:
    strategy = make("fine_tuning", clip_norm=0.01)
    stream = experiences("class_incremental")[:1]
    norms = noted(strategy, "optimizer_step", lambda: gradient_norm(strategy), stream)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_logits_given_to_avalanche_are_finite() -> None:
    finite: list[bool] = []

    class Look(SupervisedPlugin):
        def after_forward(self, strategy: Any, **kwargs: Any) -> None:
            finite.append(bool(strategy.mb_output.isfinite().all()))

    stream = experiences("class_incremental")
    fit(make("linear_probe", "class_incremental", plugins=[Look()]), stream[:1])
    assert finite
    assert all(finite)


EVENTS = ["start_of_stream_batch", "before_training_iteration", "before_forward"]
CHANGES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda strategy: strategy.mb_x.mul_(0.5),
    "another tensor": lambda strategy: strategy.mbatch.__setitem__(0, strategy.mb_x * 0.5),
    "another list": lambda strategy: setattr(
        strategy, "mbatch", [strategy.mb_x * 0.5, *strategy.mbatch[1:]]
    ),
}


def changing(event: str, change: Callable[[Any], Any]) -> SupervisedPlugin:
    """A plugin that changes every other batch."""

    class Change(SupervisedPlugin):
        calls = 0

        def act(self, strategy: Any, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls % 2:
                change(strategy)

    setattr(Change, event, Change.act)
    return Change()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_batch_that_a_plugin_changes_is_no_known_view(
    event: str, change: Callable[[Any], Any]
) -> None:
    trained = [
        fit(
            make("linear_probe", views=views, train_epochs=2, plugins=plugins), experiences()[:2]
        ).model.head.weight
        for views, plugins in (
            (None, [changing(event, change)]),
            (1, [changing(event, change)]),
            (1, []),
        )
    ]
    torch.testing.assert_close(trained[1], trained[0])
    assert not torch.allclose(trained[2], trained[0])


@pytest.mark.parametrize("event", [*EVENTS, "before_eval_iteration", "before_eval_forward"])
@pytest.mark.parametrize(
    ("column", "factor", "says"),
    [(0, 255, "pixels reach from"), (1, 7, "target .* was met: give integers 0 to 5")],
)
def test_what_a_plugin_makes_of_a_batch_is_looked_at(
    event: str, column: int, factor: int, says: str
) -> None:
    plugin = changing(event, lambda strategy: strategy.mbatch[column].mul_(factor))
    strategy = make("linear_probe", plugins=[plugin])
    with pytest.raises(InputError, match=says):
        fit(strategy, experiences()).eval(experiences(), num_workers=0)


@pytest.mark.parametrize("kind", ["linear_probe", "er"])
@pytest.mark.parametrize("changed", [lambda column: column[2:], lambda column: column.flip(0)])
def test_a_buffer_needs_the_rows_of_a_batch_as_they_are(
    kind: str, changed: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    class Pick(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            strategy.mbatch = [changed(column) for column in strategy.mbatch]

    strategy = make(kind, plugins=[Pick()])
    if kind == "linear_probe":
        fit(strategy, experiences())
        return
    with pytest.raises(InputError, match="changed the labels or rows of a batch, and the replay"):
        fit(strategy, experiences())


def test_autocast_that_a_plugin_enters_is_refused() -> None:
    context = torch.autocast("cpu", torch.bfloat16)

    class Enter(SupervisedPlugin):
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            context.__enter__()

    try:
        with pytest.raises(InputError, match=r"torch\.autocast is on here"):
            fit(make("linear_probe", plugins=[Enter()]), experiences())
    finally:
        context.__exit__(None, None, None)


def test_batches_of_one_class_are_counted() -> None:
    strategy = make("one_prompt", class_mask="batch", online_iter=1)
    fit(strategy, experiences()[:1])
    count = int(strategy.single_class_batches)
    one, *_ = experiences("class_incremental", train=6)  # 2 images, of 2 classes
    strategy.train_mb_size = 1
    fit(strategy, [one])
    assert int(strategy.single_class_batches) == count + len(one.dataset)
    resumed = make("one_prompt", class_mask="batch", online_iter=1)
    resumed.load_state_dict(strategy.state_dict())
    assert int(resumed.single_class_batches) == int(strategy.single_class_batches)


@pytest.mark.parametrize(
    "kind", [kind for kind in TABLE if kind not in (*PROTOTYPES, "multi_lane", "joint")]
)
def test_rows_of_classes_outside_the_batch_do_not_move(kind: str) -> None:
    settings = {"class_mask": "batch", "weight_decay": 0.0}
    known = {name: value for name, value in settings.items() if name in cls_of(kind).settings()}
    strategy = make(kind, **known)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    head = strategy.model.head
    rows = head.experts[0] if kind == "mixture_prompt" else head.weight
    before = rows.detach().clone()
    strategy.model.zero_grad()
    batch = some_batch(strategy, [0, 2, 2, 5])
    strategy.training_loss(strategy.training_output(batch), batch).backward()
    strategy.optimizer.step()
    moved = (rows != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False, False, True]


@pytest.mark.parametrize("kind", ["er", "derpp"])
def test_replayed_labels_compete(kind: str) -> None:
    strategy = make(kind, class_mask="batch", online_iter=1)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    labels = torch.tensor([0, 1, 0, 1, 2, 2, 3, 3])
    images = Blobs(8, seed=5).images
    batch = Batch([images, labels], strategy.annotated, torch.tensor([0, 1, 2, 3]))
    output = strategy.training_output(batch)
    strategy.model.zero_grad()
    strategy.label_loss(output.logits[:4], batch.part(slice(4)), whole=batch).backward()
    moved = (strategy.model.head.weight.grad != 0).any(dim=1)
    assert moved.tolist() == [True] * 4 + [False] * 2
