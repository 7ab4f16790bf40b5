"""A recipe proposed for a user's own images."""

from __future__ import annotations

import math
import re
import timeit
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import indent
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from cl_prompts.backbones.catalog import BACKBONES, EMBEDDED
from cl_prompts.backbones.devices import threads
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.recipes.values import one_line, yaml_text
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.own_images import Survey
from cl_prompts.experiments.runner.run import takes_one_thread
from cl_prompts.scenarios.registry import find_scenario

#: anytime points that a curve should have at least
POINTS = 20
_LARGEST_BATCH = 32
_SMALL = 48  # pixels: up to here the embedded backbone sees as much as there is
# DINOv3 is newer, but its licence has terms of its own.
PHOTOS = "vit_small_patch14_reg4_dinov2.lvd142m"
SEEDS = (1, 2, 3)
_START = 15.0  # seconds until the first run begins, and for the report


def every_for(n_train: int) -> int:
    """Samples between two anytime points, so that a stream has at least ``POINTS``; a round number
    where that costs little.

    >>> every_for(1442), every_for(100), every_for(7)
    (70, 5, 1)
    """
    every = max(1, n_train // POINTS)
    return every - every % 10 if every >= 30 else every


def batch_for(n_train: int) -> int:
    """Samples of a stream batch: no more than between two anytime points."""
    return min(_LARGEST_BATCH, every_for(n_train))


def tasks_for(found: Survey, scenario: str) -> int:
    """Tasks of a stream: five, or fewer where there are not two classes for each.

    Raises:
        InputError: no number of tasks makes a stream.
    """
    n = len(found.classes)
    most = 5 if n >= 10 else max(2, n // 2)
    for n_tasks in range(most, 0, -1):
        try:
            # Homes of classes are drawn, so a number of tasks has to be possible with every seed.
            for seed in SEEDS:
                make = find_scenario(scenario).make
                make(found.train_targets, found.test_targets, n_tasks=n_tasks, seed=seed)
        except InputError:
            if n_tasks == 1:
                raise
        else:
            return n_tasks
    raise AssertionError("one task is the least")


def backbone_for(found: Survey, name: str | None) -> tuple[str, int]:
    """Backbone and image size: the embedded one for small images in grey, else a small ViT for
    photos, to whose least useful size smaller ones are enlarged.
    """
    letters = found.shorter_side <= _SMALL and not found.colourful
    name = name or (EMBEDDED if letters else PHOTOS)
    if name == EMBEDDED:
        return name, 32
    patch = re.search(r"patch(\d+)", name)
    step = int(patch[1]) if patch else 16
    # Both are multiples of 14, the patches of PHOTOS.
    wanted = 224 if found.shorter_side >= 160 else 98
    return name, round(wanted / step) * step


def strategies_for(found: Survey) -> tuple[str, str, str]:
    """Return the recommended method, a baseline, and a prompt method to compare."""
    if found.multi_label:
        return "recommended", "multi_label_ridge", "multi_lane"
    # S-Prompts were published for consecutive domains.
    return "recommended", "ncm", "s_prompt" if len(found.domains) > 1 else "mvp"


def seconds_for(recipe: Path) -> float:
    """Estimate how long ``cl-prompts run`` takes with a proposed recipe.

    For each strategy it times one forward pass and one solution of the classifier. Weights do not
    change these times, so they are random.
    """
    resources = Resources(quick=True)
    total = _START
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of random weights
        for settings in plan(str(recipe), ["weights=random", f"seed={SEEDS[0]}"]):
            with threads(one=takes_one_thread(settings)):
                total += len(SEEDS) * _seconds_of_run(resources, settings)
    return total


def _seconds_of_run(resources: Resources, settings: RunConfig) -> float:
    run = build_run(settings, resources)
    train, model, device = run.data.train, run.strategy.model, run.strategy.device
    rows = np.linspace(0, len(train) - 1, settings.options["train_mb_size"]).astype(int).tolist()

    def forward() -> Any:
        return model.features(torch.stack([train[row][0] for row in rows]).to(device)).cpu()

    features = forward().to(device)
    labels = torch.as_tensor(np.asarray(train.targets)[rows], device=device)
    annotated = torch.ones(model.n_classes, dtype=torch.bool, device=device)

    def solve() -> None:
        model.learn(features, labels, annotated)
        model.head.logits(features).cpu()

    points = len(train) // settings.evaluation["every"] + run.split.n_tasks
    images = len(train) + len(run.data.test)
    return _fastest(forward) * images / len(rows) + _fastest(solve) * points


def _fastest(work: Callable[[], Any], times: int = 3) -> float:
    return min(timeit.repeat(work, number=1, repeat=times))


def recipe_for(
    found: Survey, name: str, backbone: str | None = None, weights: Path | None = None
) -> str:
    """The recipe as YAML, with a comment on each choice.

    Args:
        found: the images.
        name: of the recipe.
        backbone: its name, where one was asked for.
        weights: their file, where one was given.

    Raises:
        InputError: see :func:`tasks_for`.
    """
    n = len(found.train)
    every = every_for(n)
    chosen, size = backbone_for(found, backbone)
    batch = batch_for(n)
    stream, words = _stream(found)
    file = {} if weights is None else {"weights": str(weights.resolve())}
    hub = "in the package" if chosen == EMBEDDED else "fetched from the hub once"
    notes = {
        "n_tasks": f"of {len(found.classes)} classes",
        "image_size": f"median shorter side of the images: {found.shorter_side}"
        + (", in colour" if found.colourful else ", in grey"),
        "announced": "false: the learner does not know where a domain ends",
        "every": f"samples between two anytime points: {n // every} on a stream of {n}",
    }
    first, baseline, prompts = strategies_for(found)
    roles = {
        first: "closed form, half of all blocks",
        baseline: "baseline",
        prompts: f"prompts, to compare: cl-prompts run {one_line(name)}.yaml strategy={prompts}",
    }
    training = {"train_mb_size": batch, "train_epochs": 1, "online_iter": 3, "lr": 5e-3}
    parts = [
        _section("dataset", found.settings),
        _section("scenario", stream, notes),
        _section(
            "backbone",
            {"name": chosen, **file, "image_size": size},
            {**notes, "name": "" if file else hub},
        ),
        _section("evaluation", {"every": every}, notes),
        _section("training", training),
        _section("strategies", {first: {}, baseline: {}, prompts: {}}, roles),
        _yaml({"run": [first, baseline], "seeds": list(SEEDS)}),
    ]
    name = one_line(name)
    about = one_line("; ".join(found.lines()[:1]))
    return f"""\
# cl-prompts run {name}.yaml
# {name}: {about}, {words}
#
# Proposed by cl-prompts init; every line may be changed. cl-prompts ls lists what there is,
# cl-prompts show strategy mvp what can be set.

{"".join(parts)}"""


def _stream(found: Survey) -> tuple[dict[str, Any], str]:
    """Section "scenario" of a recipe, and the same in words."""
    if len(found.domains) > 1:
        stream = {"name": "domain_incremental", "domain_order": list(found.domains)}
        words = f"one of {len(found.domains)} domains after the other"
        return {**stream, "announced": True}, one_line(words)
    scenario = "si_blurry_multi_label" if found.multi_label else "si_blurry"
    n_tasks = tasks_for(found, scenario)
    shares = {"disjoint_percent": 50, "blurry_percent": 10}
    return {"name": scenario, "n_tasks": n_tasks, **shares}, f"Si-Blurry in {n_tasks} tasks"


def _section(
    name: str, settings: Mapping[str, Any], notes: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A section of a recipe as YAML, with comments on some of its settings."""
    lines = [f"{name}:"]
    for key, value in settings.items():
        line = indent(_yaml({key: value}), "  ").rstrip("\n")
        lines.append(f"{line:<24}  # {notes[key]}" if notes.get(key) else line)
    return "\n".join(lines) + "\n"


def _yaml(value: Mapping[str, Any]) -> str:
    # A line of any length, so that a comment stands behind the whole value.
    return yaml_text(value, allow_unicode=True, width=math.inf)


def warnings_on(found: Survey, asked: str | None = None) -> list[str]:
    """Sentences on a backbone that does not suit the images."""
    if not found.colourful or backbone_for(found, asked)[0] != EMBEDDED:
        return []
    return [
        f"warning: most images are in colour, as photographs are, and {EMBEDDED} has seen rendered"
        f" letters alone: use --backbone {PHOTOS} ({BACKBONES[PHOTOS]})"
    ]
