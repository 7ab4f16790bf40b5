"""Avalanche's conventions and ours: arguments, loaders, optimizers, test sets."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import (
    AGEMPlugin,
    BiCPlugin,
    CoPEPlugin,
    EvaluationPlugin,
    EWCPlugin,
    FeatureDistillationPlugin,
    GDumbPlugin,
    GEMPlugin,
    LFLPlugin,
    LRSchedulerPlugin,
    MASPlugin,
    MIRPlugin,
    RARPlugin,
    ReplayPlugin,
    RWalkPlugin,
    SupervisedPlugin,
    SynapticIntelligencePlugin,
)
from torch.utils.data import DataLoader

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies import L2P, AnytimeEvaluation, Joint, LinearProbe
from cl_prompts.strategies.base.avalanche import INSTEAD, check_model
from tests.toy_data import benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make, same, watch, weights


@pytest.mark.parametrize("cls", [L2P, LinearProbe, Joint])
def test_a_construction_in_avalanches_manner_is_refused(cls: Any) -> None:
    criterion = torch.nn.CrossEntropyLoss()
    with pytest.raises(InputError, match=rf"{cls.__name__} takes no criterion=: leave it out"):
        cls(backbone=tiny_vit(), n_classes=6, criterion=criterion)
    with pytest.raises(InputError, match=rf"{cls.__name__} takes its settings by name: give backb"):
        cls(torch.nn.Linear(2, 2), None, criterion, train_mb_size=8)


def test_every_foreign_argument_is_really_foreign() -> None:
    assert not INSTEAD.keys() & L2P.settings().keys()
    with pytest.raises(InputError, match="L2P takes no mem_size=: give buffer_size"):
        L2P(backbone=tiny_vit(), n_classes=6, mem_size=20)


def test_a_network_for_naive_is_no_model_of_ours() -> None:
    with pytest.raises(InputError, match="model= is a Linear: LinearProbe trains the models of"):
        LinearProbe(model=torch.nn.Linear(2, 2))
    check_model("LinearProbe", PromptedViT(tiny_vit(), 6))


def test_parameter_groups_survive_and_new_parameters_join_the_first() -> None:
    model = make("mvp").model
    groups = [
        {"params": list(model.head.parameters()), "lr": 0.1},
        {"params": list(model.pools.parameters()), "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups)
    strategy = fit(make("mvp", model=model, optimizer=optimizer), experiences())
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    assert sizes == [4, 2]  # keys and mask joined the first group


def test_single_label_metrics_are_refused_and_the_default_ones_measure_map() -> None:
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    with pytest.raises(InputError, match="one label per image"):
        make("linear_probe", "mlcil", evaluator=evaluator)
    settings = {"multi_label": True, "device": "cpu", "train_mb_size": 16}
    strategy = LinearProbe(backbone=tiny_vit(), n_classes=6, **settings)
    bench = benchmark("mlcil")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("num_worker", "unknown loader argument 'num_worker': did you mean 'num_workers'"),
        ("drop_last", "unknown loader argument 'drop_last'"),
    ],
)
def test_unknown_loader_arguments_are_refused(argument: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("linear_probe").train(experiences()[0], eval_streams=[], **{argument: 2})


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_may_be_shuffled_and_every_sample_comes_once(shuffle: bool) -> None:
    strategy = make("linear_probe", online_iter=1)
    labels: list[Any] = []
    watch(strategy, "training_loss", lambda output, batch: labels.append(batch.labels))
    first, *_ = experiences("class_incremental")
    strategy.train(first, eval_streams=[], shuffle=shuffle)
    truth = torch.as_tensor(list(first.dataset.targets))
    found = torch.cat(labels)
    assert torch.equal(found, truth) != shuffle
    assert torch.equal(found.sort().values, truth.sort().values)


def test_experiences_with_and_without_an_order_are_not_trained_in_one_call() -> None:
    both = [experiences("si_blurry")[0], experiences("class_incremental")[0]]
    with pytest.raises(InputError, match="part of the scenario in some of these experiences"):
        make("linear_probe").train(both, eval_streams=[])
    strategy = make("linear_probe")
    strategy.train(both, eval_streams=[], shuffle=False)
    assert strategy.samples_seen == sum(len(e.dataset) for e in both)


def test_an_experience_is_trained_after_a_stop_in_the_last_epoch_of_the_one_before() -> None:
    class Stop(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_counter == 0 and strategy.updates == 3:
                strategy.stop_training()

    stream = experiences("class_incremental")
    strategy = make("linear_probe", plugins=[Stop()])
    strategy.train(stream, eval_streams=[])
    one_by_one = fit(make("linear_probe", plugins=[Stop()]), stream)
    assert same(weights(strategy), weights(one_by_one))


def test_a_plugin_listed_twice_is_refused() -> None:
    anytime = AnytimeEvaluation(benchmark().test_stream)
    with pytest.raises(InputError, match="plugins hold AnytimeEvaluation 2 times: give it once"):
        make("linear_probe", plugins=[anytime, anytime])


def test_overlapping_test_sets_are_evaluated_one_at_a_time() -> None:
    bench = benchmark("mlcil")
    strategy = fit(make("linear_probe", "mlcil"), [bench.train_stream[0]])
    assert strategy.eval(bench.test_stream[0]) is not None
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.eval(bench.test_stream)
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.train(bench.train_stream[1], eval_streams=[bench.test_stream])
    for part in (bench.test_stream, bench.test_stream[0]):
        with pytest.raises(InputError, match="give AnytimeEvaluation the whole test set"):
            AnytimeEvaluation(part)


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (
            CoPEPlugin(mem_size=4, n_classes=6),
            "CoPEPlugin: it puts a loss and a memory",
        ),
        (RWalkPlugin(), "RWalkPlugin: in avalanche-lib 0.6 it makes the weights NaN"),
        (BiCPlugin(mem_size=4), "BiCPlugin: it replaces the data of an experience"),
        (FeatureDistillationPlugin(), r"FeatureDistillationPlugin: it reads model\.features"),
        (LFLPlugin(lambda_e=1.0), r"LFLPlugin: it reads model\.get_features"),
        (RARPlugin(batch_size_mem=4), "RARPlugin: it traces the model"),
        (MIRPlugin(batch_size_mem=4), "MIRPlugin: it asks for gradients of all parameters"),
        (SynapticIntelligencePlugin(1.0), r"SynapticIntelligencePlugin: .* holds none: leave it"),
    ],
)
def test_plugins_that_cannot_act_here_are_refused(plugin: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make("linear_probe", plugins=[plugin])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "plugin", [AGEMPlugin(10, 5), EWCPlugin(1.0), GEMPlugin(10, 0.5), MASPlugin()]
)
def test_plugins_by_gradients_are_refused_where_there_are_none(plugin: Any) -> None:
    with pytest.raises(InputError, match="takes gradients, and NCM learns without any: leave it"):
        make("ncm", plugins=[plugin])


class OtherLoader(SupervisedPlugin):
    """Puts a loader of another batch size in the place of the strategy's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.dataloader = DataLoader(strategy.adapted_dataset, self.size)


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (OtherLoader(4), "loader does not show the .* in batches of train_mb_size, 16"),
        (OtherLoader(40), "loader does not show the .* in batches of train_mb_size, 16"),
        (GDumbPlugin(mem_size=10), "a plugin replaced the samples of an experience"),
        (ReplayPlugin(batch_size=5), "batch_size of ReplayPlugin is 5, .* train_mb_size, 16"),
    ],
)
def test_samples_that_cannot_be_counted_are_refused(plugin: Any, says: str) -> None:
    strategy = make("linear_probe", plugins=[plugin])
    with pytest.raises(InputError, match=says):
        fit(strategy, experiences())


def test_a_loss_of_one_label_is_not_taken_of_several() -> None:
    strategy = make("linear_probe", "mlcil", plugins=[EWCPlugin(ewc_lambda=1.0)])
    with pytest.raises(InputError, match="loss of one class per image, and these have several"):
        fit(strategy, experiences("mlcil"))


def test_one_schedule_sets_the_rate() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    plugin = LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(InputError, match="by a schedule, and so does LRSchedulerPlugin"):
        make("linear_probe", schedule="cosine", optimizer=optimizer, plugins=[plugin])


def test_an_optimizer_is_one_that_can_train_here() -> None:
    with pytest.raises(InputError, match=r"optimizer is 'sgd': give one of torch\.optim"):
        make("linear_probe", optimizer="sgd")
    optimizer = torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])
    with pytest.raises(InputError, match="LBFGS computes the loss several times"):
        make("linear_probe", optimizer=optimizer)


@pytest.mark.parametrize("ours", ["scenarios", "strategies", "strategies.plugins", "metrics"])
def test_import_star_shadows_nothing_of_avalanche(ours: str) -> None:
    places = ("training", "training.plugins", "benchmarks", "models", "evaluation.metrics", "core")
    theirs = {name for place in places for name in dir(import_module(f"avalanche.{place}"))}
    module = import_module(f"cl_prompts.{ours}")
    shown = {name for name in getattr(module, "__all__", ()) if not name.startswith("_")}
    assert not shown & theirs


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        ("strategies", "LwF"),
        ("strategies", "EWC"),
        ("scenarios", "class_incremental_benchmark"),
    ],
)
def test_names_that_avalanche_has_too_are_there_when_asked_for(ours: str, name: str) -> None:
    module = import_module(f"cl_prompts.{ours}")
    assert getattr(module, name).__module__.startswith("cl_prompts")
    assert name in dir(module)
