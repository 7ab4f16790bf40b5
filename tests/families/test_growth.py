"""A strategy expanded after a stream equals one built with all classes."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Subset

from cl_prompts.scenarios import benchmark_from_split
from cl_prompts.scenarios.joined import joined_split
from cl_prompts.scenarios.registry import find_scenario
from cl_prompts.strategies import AnytimeEvaluation
from cl_prompts.strategies.base.growth import growing_parts
from cl_prompts.strategies.evaluation.feature_sample import FeatureSample
from tests.families.runs import begin, finished, scores
from tests.families.test_sums import CLOSED
from tests.toy_data import (
    ANNOUNCED,
    MULTI_LABEL_SCENARIOS,
    N_CLASSES,
    TASKS,
    Blobs,
    Scenes,
    benchmark,
)
from tests.toys import ALL, TABLE, cases, close, fit, make, trained_on, weights

#: classes of the later stream: one that the first stream has, and two new ones
LATER = [2, 6, 7]
NEW = 2
#: whose options hold something of each class, or of each task
GROWING = ("l2p_slots", "lwf_batch", "rainbow_chosen", "linear_probe_whitened", "lwf_whitened")
GROWING += ("dual_prompt_standardised", "dual_prompt_slow", "one_prompt_written")
GROWING += ("s_prompt_averaged", "s_prompt_routed", "single_prompt_slca", "clib_whitened")
GROWING += ("klda_members", "randumb_class", "anacp_class", "vq_prompt_regulated", "mvp_dinov3")
CASES = cases(
    "si_blurry",
    "class_incremental",
    "mlcil",
    but=lambda cls: cls.whole_stream,
    variants=GROWING,
    once=True,
)


def two_streams(scenario: str) -> list[Any]:
    """The experiences of the families' stream of 6 classes, and those of a later one of three."""
    multi_label = scenario in MULTI_LABEL_SCENARIOS
    kind = Scenes if multi_label else Blobs
    first: Any = kind(72, seed=1)
    all_of_later: Any = kind(48, N_CLASSES + NEW, seed=5)
    targets = np.asarray(all_of_later.targets)
    if multi_label:
        first.targets = np.pad(first.targets, ((0, 0), (0, NEW)))  # of classes that come later
        rows = np.flatnonzero(targets[:, LATER].any(axis=1))
        local = targets[rows][:, LATER]
    else:
        rows = np.flatnonzero(np.isin(targets, LATER))
        local = np.searchsorted(LATER, targets[rows])
    settings = {"mlcil": {"protocol": "B0-C3"}, "class_incremental": {"n_tasks": 1}}
    later = find_scenario(scenario).make(local, local, **settings.get(scenario, {"n_tasks": 2}))
    both: Any = ConcatDataset([first, Subset(all_of_later, rows.tolist())])
    both.targets = np.concatenate([first.targets, targets[rows]])
    split = joined_split(benchmark(scenario).split, later, both.targets, LATER)
    return list(benchmark_from_split(both, both, split).train_stream)


def tasks_of_later(kind: str, scenario: str) -> int:
    """Announced tasks of the later stream; methods that need boundaries take its own."""
    if scenario in ANNOUNCED:
        return 1
    return 2 if ALL[kind].options.get("boundaries") else 0


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_growth_between_two_streams_comes_to_the_same_as_before_them(
    kind: str, scenario: str
) -> None:
    """But for rounding, since sums run over another number of classes. Statistics come to the same
    as with all classes from the start, too."""
    stream = two_streams(scenario)
    more = NEW, tasks_of_later(kind, scenario)
    first = begin(kind, scenario)
    first.grow(*more)
    fit(first, stream)
    second = copy.deepcopy(finished(kind, scenario).strategy)
    second.plugins = [p for p in second.plugins if not isinstance(p, AnytimeEvaluation)]
    second.grow(*more)
    fit(second, stream[TASKS:])
    seen = [6, 7]
    assert first.model.seen[seen].all()
    assert second.model.n_classes == N_CLASSES + NEW
    images = Blobs(24, N_CLASSES + NEW, seed=9).images
    torch.testing.assert_close(scores(first, images), scores(second, images), rtol=5e-3, atol=5e-3)
    assert first.samples_seen == second.samples_seen
    assert torch.equal(first.buffer.slots, second.buffer.slots)
    if ALL[kind].learns == "prototypes":
        whole = fit(begin(kind, scenario, n_classes=N_CLASSES + NEW), stream)
        for other in (first, whole):
            close(weights(second), weights(other))


@pytest.mark.parametrize("kind", CLOSED)
def test_a_closed_form_with_a_sample_of_features_learns_new_classes(kind: str) -> None:
    """As a run with augmentation does. The sample equals that of a run with all classes."""
    scenario = "si_blurry_multi_label" if kind in {"multi_label_ridge", "l3a"} else "si_blurry"
    stream, found = two_streams(scenario), []
    for grown in (True, False):
        classes = N_CLASSES if grown else N_CLASSES + NEW
        sample = FeatureSample()
        strategy = make(kind, scenario, n_classes=classes, plugins=[sample])
        fit(strategy, benchmark(scenario).train_stream if grown else stream[:TASKS])
        if grown:
            strategy.grow(NEW, tasks_of_later(kind, scenario))
        fit(strategy, stream[TASKS:])
        found.append(sample)
    (features, places, labels), theirs = (sample.samples for sample in found)
    assert torch.equal(features, theirs[0])
    assert torch.equal(places, theirs[1])
    assert torch.equal(labels > 0, theirs[2] > 0)
    new = labels[:, -NEW:].any() if strategy.model.multi_label else (labels >= N_CLASSES).any()
    assert new


@pytest.mark.parametrize("kind", [*TABLE, *GROWING])
def test_every_tensor_declares_the_axis_that_counts_classes(kind: str) -> None:
    scenario = trained_on(kind)[0]
    smaller, larger = (make(kind, scenario, n_classes=n) for n in (N_CLASSES, N_CLASSES + 1))
    pairs = list(zip(_tensors(smaller), _tensors(larger), strict=True))
    assert pairs
    for (name, axis, value), (_, _, other) in pairs:
        shape = [size + 1 if i == axis else size for i, size in enumerate(value.shape)]
        assert list(other.shape) == shape, name


def _tensors(strategy: Any) -> Iterator[tuple[str, int | None, Tensor]]:
    """Saved tensors of a strategy and its plugins: name, class axis and value."""
    for owner in growing_parts(strategy):
        axes = getattr(owner, "class_axes", {})
        if isinstance(owner, nn.Module):
            held = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        else:
            names = owner.state.names if hasattr(owner, "state") else ()
            held = [(name, getattr(owner, name)) for name in names]
        for name, value in held:
            if isinstance(value, Tensor):
                yield f"{type(owner).__name__}.{name}", axes.get(name), value
