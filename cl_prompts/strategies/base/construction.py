"""Model, plugins and evaluator of a strategy, from its settings."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch.optim import Optimizer

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics, refuse_accuracy
from cl_prompts.strategies.base.settings import Settings


def check_arguments(kind: str, unnamed: Sequence[object], settings: Mapping[str, object]) -> None:
    """Refuse the arguments of Avalanche's strategies, which take any model."""
    wanted = {"backbone": FrozenViT, "model": ContinualModel, "optimizer": Optimizer}
    other = [name for name, own in wanted.items() if not isinstance(settings.get(name), own | None)]
    if unnamed or other or "criterion" in settings:
        what = "takes its arguments by name"
        if other:
            what = f"cannot use a {type(settings[other[0]]).__name__} as {other[0]}"
        if "criterion" in settings:
            what = "has its own loss, so leave criterion out (training_loss changes it)"
        raise InputError(
            f"{kind} {what}: write {kind}(backbone=create_backbone(), n_classes=10), see"
            " docs/guides/avalanche.md"
        )


def given_or_built(strategy: SupervisedTemplate) -> ContinualModel:
    """Return the given model, or build the method's own on the given backbone."""
    model: ContinualModel | None = strategy.model
    given = [value for value in (strategy.backbone, strategy.n_classes) if value is not None]
    if len(given) != (2 if model is None else 0):
        raise InputError("give either model= or both backbone= and n_classes=")
    if model is None:
        backbone = strategy.backbone.with_features(strategy.features)
        model = strategy.build_model(backbone, strategy.n_classes)
        model.multi_label = strategy.multi_label
        strategy.fit_model(model)
    if model.multi_label and "multi_label" not in strategy.settings():
        raise InputError(f"{type(strategy).__name__} is defined for one class per image")
    if model.multi_label and strategy.class_mask == "batch":
        raise InputError("class_mask=batch is defined for one class per image: leave it out")
    return model


def check_settings(strategy: SupervisedTemplate) -> None:
    """Refuse settings of any strategy that contradict each other."""
    kind = type(strategy).__name__
    if strategy.class_mask == "current" and not strategy.masks_classes:
        raise InputError(f"{kind} does not support class_mask=current: leave it out")
    if strategy.keeps and strategy.buffer_size:
        raise InputError(
            f"{kind} replays no samples but has {strategy.keeps}: leave out buffer_size"
        )


def chosen_evaluator(
    given: EvaluationPlugin | Callable[[], EvaluationPlugin] | None, *, multi_label: bool
) -> EvaluationPlugin:
    """Return the evaluator for the setting: without metrics for None, multi-label if needed."""
    if given is None:
        with warnings.catch_warnings():
            # Avalanche warns of an evaluator without loggers, which None asks for.
            warnings.filterwarnings("ignore", message="No loggers specified")
            return EvaluationPlugin()
    if multi_label and given is default_evaluator:
        losses = loss_metrics(minibatch=False, epoch=True, experience=True, stream=True)
        return EvaluationPlugin(losses, MultiLabelMetrics(), loggers=[InteractiveLogger()])
    evaluator = given() if callable(given) else given
    if multi_label:
        refuse_accuracy(evaluator)
    return evaluator


def with_own_plugins(own: Iterable[Settings], given: Iterable[BasePlugin]) -> list[BasePlugin]:
    """Return the method's own plugins and the given ones.

    A given plugin replaces the method's own of its class, whose settings become its defaults.
    """
    plugins = list(given)
    missing: list[BasePlugin] = []
    for default in own:
        same = [plugin for plugin in plugins if isinstance(plugin, type(default))]
        for plugin in same:
            given_here = plugin.explicit
            plugin.assign({**default.explicit, **given_here})
            # Only the user's values are explicit: another method adds its own.
            plugin.explicit = given_here
        if not same:
            # A copy, since the class shares its plugins among all its strategies.
            missing.append(type(default)(**default.explicit))
    return missing + plugins
