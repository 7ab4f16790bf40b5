"""Model, plugins and evaluator of a strategy, from its settings."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics, refuse_accuracy
from cl_prompts.strategies.base.settings import Settings


def check_arguments(kind: str, unnamed: Sequence[object], settings: Mapping[str, object]) -> None:
    """Refuse the arguments of Avalanche's strategies, which take any model."""
    backbone = settings.get("backbone")
    if unnamed or settings.keys() & {"model", "optimizer", "criterion"}:
        what = "has its own model, optimizer and loss"
    elif not isinstance(backbone, FrozenViT | None):
        what = f"cannot use a {type(backbone).__name__} as backbone"
    else:
        return
    raise InputError(
        f"{kind} {what}: write {kind}(backbone=create_backbone(), n_classes=10), see"
        " docs/guides/avalanche.md"
    )


def built_model(strategy: SupervisedTemplate) -> ContinualModel:
    """Build the method's model on the given backbone."""
    if strategy.backbone is None or strategy.n_classes is None:
        raise InputError("give both backbone= and n_classes=")
    if strategy.multi_label and strategy.class_mask == "batch":
        raise InputError("class_mask=batch is defined for one class per image: leave it out")
    backbone = strategy.backbone.with_features(strategy.features)
    model: ContinualModel = strategy.build_model(backbone, strategy.n_classes)
    model.multi_label = strategy.multi_label
    strategy.fit_model(model)
    return model


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
