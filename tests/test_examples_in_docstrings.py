"""The examples in docstrings run, and every public class outside experiments has one."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
import torch

import cl_prompts

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(cl_prompts.__path__, "cl_prompts.")
    if not module.name.startswith("cl_prompts.experiments.pretrain")
)
OUTSIDE = [name for name in MODULES if not name.startswith("cl_prompts.experiments")]
#: public classes that still lack an example; it may only get shorter
LACKING: frozenset[str] = frozenset(
    {
        "backbones.injection.BlockAdapter",
        "backbones.injection.PromptPlan",
        "backbones.injection.RoutedPrefix",
        "backbones.vit.FrozenViT",
        "checks.Bound",
        "losses.distillation.StoredLogits",
        "metrics.continual.ClassAccuracy",
        "metrics.continual.Curve",
        "metrics.continual.Evaluation",
        "metrics.evaluator.CachedEvaluator",
        "metrics.multi_label.MultiLabelScores",
        "models.base.ContinualModel",
        "models.base.Encoding",
        "models.base.Output",
        "models.heads.InstanceLogitMask",
        "models.multi_lane.LaneEncoding",
        "models.multi_lane.MultiLaneViT",
        "models.multi_lane_ops.FrozenState",
        "models.multi_lane_parameters.Lane",
        "models.multi_lane_parameters.LaneHead",
        "models.multi_lane_parameters.LaneSet",
        "models.prompted.PromptedViT",
        "models.prototype.PrototypeViT",
        "models.prototype_classifiers.NearestClassMean",
        "models.prototype_classifiers.PrototypeClassifier",
        "models.prototype_classifiers.SolvedClassifier",
        "models.prototype_classifiers.StreamingLDA",
        "models.ranpac.RanPAC",
        "prompts.components.AttentionWeights",
        "prompts.components.ComponentPool",
        "prompts.components.GrowingRows",
        "prompts.encoders.LSTMEncoder",
        "prompts.encoders.MLPEncoder",
        "prompts.encoders.ProjectorEncoder",
        "prompts.parameterisations.ValuePool",
        "prompts.pools.Pool",
        "prompts.pools.PrependedTokenPool",
        "prompts.pools.SharedTokens",
        "prompts.pools.TokenPool",
        "prompts.prefixes.PrefixPool",
        "prompts.prefixes.SharedPrefix",
        "prompts.selectors.ClassTokenQuery",
        "prompts.selectors.NearestKeys",
        "prompts.selectors.Selection",
        "prompts.selectors.Selector",
        "prompts.task_aware.TaskAware",
        "prompts.task_selectors.BatchwisePrompt",
        "prompts.task_selectors.FrequencyPenalty",
        "prompts.task_selectors.TaskSlots",
        "scenarios.base_split.BaseSplit",
        "scenarios.benchmarks.BenchmarkBuilder",
        "strategies.base.batch.StreamShare",
        "strategies.base.experience.TaskPosition",
        "strategies.base.head.HeadStrategy",
        "strategies.base.loaders.RepeatedBatches",
        "strategies.base.online.OnlineStrategy",
        "strategies.base.prompt.PoolStrategy",
        "strategies.base.prompt.PromptStrategy",
        "strategies.base.prototype.PrototypeStrategy",
        "strategies.base.replay.Replay",
        "strategies.base.settings.Setting",
        "strategies.base.template.StreamTemplate",
        "strategies.plugins.anytime.AnytimeEvaluation",
        "strategies.plugins.multi_label_metrics.MultiLabelMetrics",
        "training.buffers.ClassBalancedBuffer",
        "training.buffers.ReplayBuffer",
        "training.buffers.ReservoirBuffer",
        "training.ewc.OnlineEWC",
        "training.rates.AdaptiveRate",
    }
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


def public_classes(name: str) -> dict[str, type]:
    """Classes that a module defines, by name."""
    members = inspect.getmembers(import_module(name), inspect.isclass)
    return {
        cls: found for cls, found in members if found.__module__ == name and not cls.startswith("_")
    }


def has_example(found: type) -> bool:
    """Whether the docstring of a class, its own, holds an example."""
    return ">>>" in (vars(found).get("__doc__") or "")


@pytest.mark.parametrize("name", OUTSIDE)
def test_every_public_class_has_an_example(name: str) -> None:
    without = {
        f"{name.removeprefix('cl_prompts.')}.{cls}"
        for cls, found in public_classes(name).items()
        if not has_example(found) and not issubclass(found, Exception)
    }
    new = without - LACKING
    assert not new, f"give an example in the docstring of {', '.join(sorted(new))}"


def test_the_list_of_classes_without_an_example_is_true() -> None:
    for entry in LACKING:
        module, _, cls = entry.rpartition(".")
        found = public_classes(f"cl_prompts.{module}")
        assert cls in found, f"{entry} does not exist: take it off LACKING"
        assert not has_example(found[cls]), f"{entry} has its example: take it off LACKING"
