"""A recipe proposed for a user's own images."""

import math
from collections.abc import Mapping
from pathlib import Path

from cl_prompts.datasets.survey import Survey
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.trained.training import backbone_for, patch_of

#: least number of anytime points of a curve
POINTS = 20
_LARGEST_BATCH = 32


def every_for(n_train: int) -> int:
    """Return the samples between two anytime points, at least ``POINTS`` of which fit a stream.

    >>> every_for(1442), every_for(100), every_for(7)
    (72, 5, 1)
    """
    return max(1, n_train // POINTS)


def tasks_for(n_classes: int) -> int:
    """Return five tasks, or fewer if there are fewer than two classes for each.

    >>> tasks_for(10), tasks_for(6), tasks_for(3), tasks_for(1)
    (5, 3, 2, 1)
    """
    return min(n_classes, 5, max(2, n_classes // 2))


def other_sizes(name: str, size: int) -> str:
    """Say what the next image sizes cost; a forward pass costs about as much as it has patches.

    >>> other_sizes("vit_small_patch14_dinov2", 98)
    'image_size=98; image_size=84 costs about 0.73 times as much compute, image_size=112 1.31 times'
    """
    less, more = ((size + step) ** 2 / size**2 for step in (-patch_of(name), patch_of(name)))
    return (
        f"image_size={size}; image_size={size - patch_of(name)} costs about {less:.2f} times as"
        f" much compute, image_size={size + patch_of(name)} {more:.2f} times"
    )


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
    n, n_tasks = len(found.train), tasks_for(len(found.classes))
    every = every_for(n)
    chosen, size = backbone_for(found, backbone)
    file = {} if weights is None else {"weights": str(weights.resolve())}
    batch = min(_LARGEST_BATCH, every)
    colours = "in colour" if found.colourful else "in grey"
    baseline, prompts = "ncm", "mvp"
    words = f"Si-Blurry in {n_tasks} tasks"
    scenario = "si_blurry_multi_label" if found.multi_label else "si_blurry"
    stream: dict[str, object] = {"n_tasks": n_tasks, "disjoint_percent": 50, "blurry_percent": 10}
    if len(found.domains) > 1:
        # S-Prompts were published for consecutive domains.
        scenario, prompts = "domain_incremental", "s_prompt"
        stream = {"domain_order": list(found.domains), "announced": True}
        words = f"{len(found.domains)} domains in sequence"
    if found.multi_label:
        baseline, prompts = "multi_label_ridge", "multi_lane"
    return f"""\
# cl-prompts run {name}.yaml
# {name}: {found.lines()[0]}, {words}
#
# Proposed by cl-prompts init; every line may be changed. cl-prompts ls lists methods and scenarios,
# cl-prompts show strategy mvp the settings of one.

dataset: {_flow(found.settings)}
scenario: {_flow({"name": scenario, **stream})}
# median shorter side of the images: {found.shorter_side}, {colours}
backbone: {_flow({"name": chosen, **file, "image_size": size})}
# samples between two anytime points: {n // every} on a stream of {n}
evaluation: {_flow({"every": every})}
training: {_flow({"train_mb_size": batch, "train_epochs": 1, "online_iter": 3, "lr": 5e-3})}
strategies:
  recommended: {{}}  # closed form, half of all blocks
  {baseline}: {{}}  # baseline
  {prompts}: {{}}  # prompts, to compare: cl-prompts run {name}.yaml strategy={prompts}
run: [recommended, {baseline}]
seeds: [1, 2, 3]
"""


def _flow(settings: Mapping[str, object]) -> str:
    """Settings on one line of YAML."""
    text = yaml_text(settings, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.rstrip()
