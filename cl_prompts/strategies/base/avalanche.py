"""Avalanche's evaluators, plugins and evaluation, as strategies use them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.utils.data import DataLoader

from cl_prompts.backbones.pixels import check_pixels, check_targets
from cl_prompts.datasets.collate import HeldOutItems
from cl_prompts.errors import InputError
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import finite
from cl_prompts.strategies.base.experience import classes_of, highest_class
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.evaluation.evaluator import check_finite


def multi_label_evaluator() -> EvaluationPlugin:
    """Return Avalanche's default evaluator with multi-label scores instead of accuracy."""
    return EvaluationPlugin(
        loss_metrics(minibatch=False, epoch=True, experience=True, stream=True),
        MultiLabelMetrics(),
        loggers=[InteractiveLogger()],
    )


def chosen_evaluator(given: Any, *, multi_label: bool) -> Any:
    """Return the evaluator for the setting: without metrics for None, multi-label if needed."""
    if given is None:
        with warnings.catch_warnings():
            # Avalanche warns of an evaluator without loggers, which None asks for.
            warnings.filterwarnings("ignore", message="No loggers specified")
            return EvaluationPlugin()
    return multi_label_evaluator if multi_label and given is default_evaluator else given


def with_own_plugins(own: Iterable[StrategyPlugin], given: Iterable[Any]) -> list[Any]:
    """Return the method's own plugins and the given ones.

    A given plugin replaces the method's own of its class, whose settings become its defaults.
    """
    plugins = list(given)
    # A plugin that is listed twice would act twice on each event.
    kinds = Counter(type(plugin) for plugin in plugins if isinstance(plugin, StrategyPlugin))
    for kind, times in kinds.items():
        if times > 1:
            raise InputError(f"plugins= lists {kind.__name__} {times} times: give it once")
    missing = []
    for default in own:
        same = [plugin for plugin in plugins if isinstance(plugin, type(default))]
        for plugin in same:
            given = plugin.explicit
            plugin.assign({**default.explicit, **given})
            # Only the user's values are explicit: another method adds its own.
            plugin.explicit = given
        if not same:
            # A copy, since the class shares its plugins among all its strategies.
            missing.append(type(default)(**default.explicit))
    return missing + plugins


class AvalancheEvaluation(SupervisedTemplate):
    """The methods of a strategy that ``strategy.eval(stream)`` of Avalanche calls."""

    growing: bool
    _evaluated = 0  # test images of the experience
    _beyond = 0  # test classes for which a growing head has no row yet

    def _before_eval_exp(self, **kwargs: Any) -> None:
        own = highest_class([self.experience]) if self.growing else 0
        self._beyond = max(0, own + 1 - self.model.n_classes)
        self._evaluated = 0
        super()._before_eval_exp(**kwargs)

    def make_eval_dataloader(
        self, num_workers: int = 0, pin_memory: bool | None = None, **kwargs: Any
    ) -> None:
        """Make the loader of test images, without augmentation."""
        data: Any = self.adapted_dataset
        self.dataloader = DataLoader(
            HeldOutItems(data, data.targets),
            self.eval_mb_size,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            # A private generator, so that evaluation does not change training.
            generator=torch.Generator(),
        )

    def forward(self) -> Tensor:
        """Return logits, with a large finite negative for masked classes.

        Losses and metrics of Avalanche would be NaN with -inf.
        """
        model, images = self.model, self.mb_x
        if not self._evaluated:
            vit, n_classes = model.backbone, model.n_classes + self._beyond
            check_pixels(images, vit.image_size, normalised=not vit.normalises)
            check_targets(self.mb_y, n_classes, multi_label=model.multi_label)
        logits = model.run(images).logits
        check_finite(torch.arange(self._evaluated, self._evaluated + len(logits)), logits)
        self._evaluated += len(logits)
        return finite(F.pad(logits, (0, self._beyond), value=-torch.inf))

    def criterion(self) -> Tensor:
        """Return the evaluation loss: plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)
