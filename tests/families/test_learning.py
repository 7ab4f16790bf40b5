"""Every strategy learns what it is made to learn."""

from functools import cache
from itertools import cycle
from typing import Any

import pytest
from avalanche.core import SupervisedPlugin

from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator
from tests.toy_data import Blobs, Riddles, Scenes, benchmark, experiences
from tests.toys import MULTI_LABEL, PROMPTED, TABLE, accuracy, cls_of, fit, make, on_two_blocks


class StillPrompts(SupervisedPlugin):
    """Train only the head; prompts and keys keep their initial values."""

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        for name, parameter in strategy.model.named_parameters():
            if "head" not in name:
                parameter.requires_grad_(False)

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        for name, parameter in strategy.model.named_parameters():
            if "head" not in name:
                parameter.grad = None


#: all classes in one lane, or with one prefix; vectors that begin near zero need higher rates
SETTINGS: dict[str, dict[str, Any]] = {
    "multi_lane": {"lane_samples": 10_000},
    "flyprompt": {"period": None},
    "additive_prompt": {"lr": 0.05, "train_mb_size": 16},
    "approximated_prompt": {"prompt_lr": 0.03},
    "norga": {"period": None, "prompt_lr": 0.02},
    "vq_prompt": {"period": None},
}


#: those that do not solve enough with two blocks
DEEP = ("multi_lane", "flyprompt")


WITHOUT_PROMPTS = [kind for kind in TABLE if TABLE[kind].learns != "prompts"]


@cache
def riddles_solved(kind: str, *, still: bool) -> float:
    """Accuracy on unseen riddles after three tasks, blurry through and through: 1 / 6 by chance and
    about 0.6 with a linear head on frozen features."""
    settings: dict[str, Any] = {
        "lr": 0.03,
        "train_mb_size": 24,
        "train_epochs": 8,
        "online_iter": 1,
        "schedule": "constant",
        "clip_norm": None,
        "plugins": [StillPrompts()] if still else [],
    }
    if kind not in DEEP:
        settings |= on_two_blocks(kind)
    strategy = make(kind, **settings | SETTINGS.get(kind, {}))
    test = Riddles(120, seed=2)
    stream = si_blurry_benchmark(
        Riddles(240, seed=1), test, n_tasks=3, disjoint_percent=0, blurry_percent=100, seed=3
    ).train_stream
    fit(strategy, stream)
    return CachedEvaluator(test).evaluate(strategy.model, strategy.model.seen).accuracy


#: each pool and each way to write prompts; the others train one of these
SOLVING = [
    k for k in PROMPTED if k not in ("s_prompt", "one_prompt", "misa", "norga", "hide_prompt")
]


@pytest.mark.parametrize("kind", SOLVING)
def test_prompts_solve_what_a_head_alone_cannot(kind: str) -> None:
    learning = riddles_solved(kind, still=False)
    assert learning > 0.55
    # Where a head on plain features is better, it is that of random prompts which counts.
    if learning <= riddles_solved("linear_probe", still=True) + 0.05:
        assert learning > riddles_solved(kind, still=True) + 0.05


@pytest.mark.parametrize("kind", WITHOUT_PROMPTS)
def test_heads_weights_and_prototypes_learn(kind: str) -> None:
    settings: dict[str, Any] = {} if kind == "joint" else {"online_iter": 3}
    settings |= {"lr": 0.02} if "lr" in cls_of(kind).settings() else {}
    strategy = make(kind, **settings)
    fit(strategy, experiences(train=120))
    # 1 / 6 by chance
    assert accuracy(strategy.model, Blobs(60, seed=5)) > 0.5


@pytest.mark.parametrize(
    ("kind", "scenario"),
    zip(
        [kind for kind in MULTI_LABEL if kind in TABLE],
        cycle(["mlcil", "si_blurry_multi_label"]),
        strict=False,
    ),
)
def test_several_labels_are_learned(kind: str, scenario: str) -> None:
    test = Scenes(40, seed=2)
    anytime = AnytimeEvaluation(test, n_classes=6, every=None if scenario == "mlcil" else 20)
    settings: dict[str, Any] = {"train_epochs": 2, **on_two_blocks(kind)}
    settings |= {} if cls_of(kind).whole_stream else {"online_iter": 1}
    settings |= {"lr": 0.05} if "lr" in cls_of(kind).settings() else {}
    strategy = make(kind, scenario, plugins=[anytime], **settings)
    fit(strategy, benchmark(scenario).train_stream)
    results = anytime.results
    # A network that was not trained is better than chance by about 0.13.
    assert results["map_last"] > test.targets.mean() + 0.17
    without_curve = strategy.whole_stream or scenario == "mlcil"
    assert (results["a_auc"] is None) == without_curve
    assert {"cf1_80", "of1_80", "cf1_50", "of1_50"} <= set(results)
    if not strategy.whole_stream:
        assert results["task_forgetting_fixed"] is not None


def test_the_toys_tell_prompts_from_a_head() -> None:
    assert riddles_solved("linear_probe", still=True) < 0.7
