"""A recipe proposed for a user's own images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.datasets.survey import Survey
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.trained.training import backbone_for

#: least number of anytime points of a curve
POINTS = 20
_LARGEST_BATCH = 32


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


def stream_for(found: Survey) -> tuple[str, dict[str, Any]]:
    """Return a scenario in words and as settings."""
    if len(found.domains) > 1:
        order = {"domain_order": list(found.domains), "announced": True}
        words = f"{len(found.domains)} domains in sequence"
        return words, {"name": "domain_incremental", **order}
    scenario = "si_blurry_multi_label" if found.multi_label else "si_blurry"
    n_tasks = tasks_for(len(found.classes))
    shares = {"disjoint_percent": 50, "blurry_percent": 10}
    return f"Si-Blurry in {n_tasks} tasks", {"name": scenario, "n_tasks": n_tasks, **shares}


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
    n = len(found.train)
    every = every_for(n)
    chosen, size = backbone_for(found, backbone)
    words, stream = stream_for(found)
    # S-Prompts were published for consecutive domains.
    baseline, prompts = "ncm", "s_prompt" if len(found.domains) > 1 else "mvp"
    if found.multi_label:
        baseline, prompts = "multi_label_ridge", "multi_lane"
    file = {} if weights is None else {"weights": str(weights.resolve())}
    batch = min(_LARGEST_BATCH, every)
    recipe = {
        "dataset": found.settings,
        "scenario": stream,
        "backbone": {"name": chosen, **file, "image_size": size},
        "evaluation": {"every": every},
        "training": {"train_mb_size": batch, "train_epochs": 1, "online_iter": 3, "lr": 5e-3},
        "strategies": {"recommended": {}, baseline: {}, prompts: {}},
        "run": ["recommended", baseline],
        "seeds": [1, 2, 3],
    }
    notes = {
        "n_tasks": f"of {len(found.classes)} classes",
        "image_size": f"median shorter side of the images: {found.shorter_side}, "
        + ("in colour" if found.colourful else "in grey"),
        "announced": "false: the learner does not know where a domain ends",
        "every": f"samples between two anytime points: {n // every} on a stream of {n}",
        "recommended": "closed form, half of all blocks",
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
