"""A recipe proposed for a user's own images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from timeit import repeat

import torch

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import threads
from cl_prompts.datasets.survey import Survey
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.run import takes_one_thread
from cl_prompts.experiments.trained.training import backbone_for

#: least number of anytime points of a curve
POINTS = 20
_LARGEST_BATCH = 32
SEEDS = (1, 2, 3)
_START = 15.0  # seconds to import the package and to write the report


def every_for(n_train: int) -> int:
    """Return the samples between two anytime points, at least ``POINTS`` of which fit a stream.

    >>> every_for(1442), every_for(100), every_for(7)
    (70, 5, 1)
    """
    every = max(1, n_train // POINTS)
    return every - every % 10 if every >= 30 else every


def tasks_for(n_classes: int) -> int:
    """Return five tasks, or fewer if there are fewer than two classes for each.

    >>> tasks_for(10), tasks_for(6), tasks_for(3), tasks_for(1)
    (5, 3, 2, 1)
    """
    return min(n_classes, 5, max(2, n_classes // 2))


def strategies_for(found: Survey) -> tuple[str, str, str]:
    """Return the recommended method, a baseline, and a prompt method to compare."""
    if found.multi_label:
        return "recommended", "multi_label_ridge", "multi_lane"
    # S-Prompts were published for consecutive domains.
    return "recommended", "ncm", "s_prompt" if len(found.domains) > 1 else "mvp"


def minutes_for(recipe: Path) -> int:
    """Estimate how many minutes ``cl-prompts run`` takes with a proposed recipe.

    For each strategy it times one forward pass and one solution of the classifier, with random
    weights.
    """
    resources, seconds = Resources(quick=True), 0.0
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of random weights
        for settings in plan(str(recipe), ["weights=random", f"seed={SEEDS[0]}"]):
            with threads(one=takes_one_thread(settings)):
                seconds += _seconds_of_run(settings, resources)
    return math.ceil((_START + len(SEEDS) * seconds) / 60)


def _seconds_of_run(settings: RunConfig, resources: Resources) -> float:
    run = build_run(settings, resources)
    train, model = run.data.train, run.strategy.model
    n, size = len(train), min(settings.options["train_mb_size"], len(train))
    images = torch.stack([train[row][0] for row in range(size)]).to(run.strategy.device)
    features = model.features(images)
    labels = torch.as_tensor(train.targets[:size], device=features.device)
    annotated = torch.ones(model.n_classes, dtype=torch.bool, device=features.device)

    def solution() -> torch.Tensor:
        model.learn(features, labels, annotated)
        return model.head.logits(features)

    def fastest(work: Callable[[], torch.Tensor]) -> float:
        return min(repeat(lambda: work().cpu(), number=1, repeat=3))

    points = n // settings.evaluation["every"] + run.split.n_tasks
    forward = fastest(lambda: model.features(images)) / size * (n + len(run.data.test))
    return forward + points * fastest(solution)


def recipe_for(
    found: Survey, name: str, backbone: str | None = None, weights: Path | None = None
) -> str:
    """Return the recipe as YAML, with a comment on each choice.

    Args:
        found: the images.
        name: of the recipe.
        backbone: the backbone that the user wants; None for a proposal.
        weights: file of its weights.
    """
    n, n_classes = len(found.train), len(found.classes)
    every = every_for(n)
    chosen, size = backbone_for(found, backbone)
    first, baseline, prompts = strategies_for(found)
    file = {} if weights is None else {"weights": str(weights.resolve())}
    batch = min(_LARGEST_BATCH, every)
    if len(found.domains) > 1:
        words = f"{len(found.domains)} domains in sequence"
        order = {"domain_order": list(found.domains), "announced": True}
        stream = {"name": "domain_incremental", **order}
    else:
        words = f"Si-Blurry in {tasks_for(n_classes)} tasks"
        scenario = "si_blurry_multi_label" if found.multi_label else "si_blurry"
        shares = {"disjoint_percent": 50, "blurry_percent": 10}
        stream = {"name": scenario, "n_tasks": tasks_for(n_classes), **shares}
    recipe = {
        "dataset": found.settings,
        "scenario": stream,
        "backbone": {"name": chosen, **file, "image_size": size},
        "evaluation": {"every": every},
        "training": {"train_mb_size": batch, "train_epochs": 1, "online_iter": 3, "lr": 5e-3},
        "strategies": {first: {}, baseline: {}, prompts: {}},
        "run": [first, baseline],
        "seeds": list(SEEDS),
    }
    colours = "in colour" if found.colourful else "in grey"
    notes = {
        "n_tasks": f"of {n_classes} classes",
        "image_size": f"median shorter side of the images: {found.shorter_side}, {colours}",
        "announced": "false: the learner does not know where a domain ends",
        "every": f"samples between two anytime points: {n // every} on a stream of {n}",
        first: "closed form, half of all blocks",
        baseline: "baseline",
        prompts: f"prompts, to compare: cl-prompts run {name}.yaml strategy={prompts}",
    }
    if weights is None:
        notes["backbone"] = "in the package" if chosen == EMBEDDED else "downloaded once"
    lines = []
    # Lines of any length, so that a comment is behind the whole value.
    for line in yaml_text(recipe, allow_unicode=True, width=math.inf).splitlines():
        note = notes.get(line.partition(":")[0].strip())
        lines.append(f"{line:<24}  # {note}" if note else line)
    body = "\n".join(lines)
    return f"""\
# cl-prompts run {name}.yaml
# {name}: {found.lines()[0]}, {words}
#
# Proposed by cl-prompts init; every line may be changed. cl-prompts ls lists methods and scenarios,
# cl-prompts show strategy mvp the settings of one.

{body}
"""
