"""Plugins as options: their events, in which order, and whose settings they have."""

import warnings

from avalanche.core import SupervisedPlugin

from cl_prompts.strategies import HeadAlignment, Router, SlowHeads, VQPrompt
from tests.toy_data import experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make

EVENTS = (
    "attach",
    "start_of_task",
    "before_training_exp",
    "start_of_stream_batch",
    "before_backward",
    "after_update",
    "end_of_stream_batch",
    "after_training_iteration",
    "end_of_task",
    "start_of_period",
    "after_training_exp",
)


class Recording(SupervisedPlugin):
    """A user's plugin, of Avalanche's class, that writes down its events."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        for event in EVENTS:
            setattr(self, event, lambda strategy, event=event, **_: self.found.append(event))


UPDATE = ["before_backward", "after_update"]
LAST = ["end_of_stream_batch", "after_training_iteration"]
BATCH = ["start_of_stream_batch", *UPDATE, LAST[1], *UPDATE]


def test_events_fire_in_their_order_around_an_announced_task() -> None:
    plugin = Recording()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Avalanche warns of events that it does not know
        strategy = make("linear_probe", "class_incremental", plugins=[plugin], period=5)
    assert plugin.found == ["attach"]
    fit(strategy, experiences("class_incremental")[:1])  # 24 samples in batches of 16
    task = ["start_of_task", "before_training_exp", *(BATCH + LAST) * 2]
    assert plugin.found[1:] == [*task, "end_of_task", "after_training_exp"]


def test_periods_end_and_start_where_nothing_is_announced() -> None:
    plugin = Recording()
    fit(make("linear_probe", plugins=[plugin], period=40), experiences())
    assert "start_of_task" not in plugin.found
    ends = [at for at, event in enumerate(plugin.found) if event == "end_of_task"]
    assert len(ends) == 1
    turn = ["end_of_stream_batch", "end_of_task", "start_of_period", "after_training_iteration"]
    assert plugin.found[ends[0] - 1 : ends[0] + 3] == turn


def test_a_methods_own_plugin_is_replaced_and_its_open_settings_stay() -> None:
    given = {"backbone": lively_vit(), "n_classes": 6, "evaluator": None, "prompted_blocks": (0,)}
    own = VQPrompt(**given, device="cpu").plugin(HeadAlignment)
    mine = HeadAlignment(epochs=3)
    other = HeadAlignment(lr=0.5, samples=512)
    for plugin, want in ((mine, (3, 1e-5, 512)), (other, (10, 0.5, 512))):
        strategy = VQPrompt(**given, plugins=[plugin, SlowHeads()], device="cpu")
        assert [type(p) for p in strategy.plugins[:2]] == [HeadAlignment, SlowHeads]
        assert strategy.plugin(HeadAlignment) is plugin
        assert (plugin.epochs, plugin.lr, plugin.samples) == want
        assert (plugin.statistics, plugin.optimizer) == ("variance", "adamw")
    assert (own.epochs, own.lr) == (10, 1e-5)
    assert VQPrompt(**given, device="cpu").plugin(HeadAlignment) is not own
    assert strategy.plugin(Router) is None
