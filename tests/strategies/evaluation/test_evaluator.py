"""Evaluation on the classes seen so far, with what no longer changes cached."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from cl_prompts.datasets.transforms import PrivateRandom
from cl_prompts.errors import InputError, RunError
from cl_prompts.metrics.confidence import confidence
from cl_prompts.metrics.multi_label import fixed_average_precision, images_with, multi_label_results
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.scenarios import disjoint_benchmark
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator
from tests.toy_data import N_CLASSES, Blobs, Scenes, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

SEEN = torch.tensor([True, False, True, True, False, False])


def opened(model: PromptedViT) -> PromptedViT:
    model.observe_classes(torch.arange(N_CLASSES))
    return model


def opened_for(multi_label: bool) -> PromptedViT:
    return opened(PromptedViT(tiny_vit(), N_CLASSES, multi_label=multi_label))


class Flat(nn.Module):
    """An ordinary model, with more columns than there are classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * 16 * 16, N_CLASSES + 2)
        self.dropout = nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.head(images.flatten(1)))


IDS = Blobs(12, seed=2).targets
MATRIX = Scenes(12, seed=2).targets


@pytest.mark.parametrize(
    ("data", "values", "says"),
    [
        (Blobs, {"targets": IDS[:11]}, r"int64 of shape \(11,\) for 12 images"),
        (Blobs, {"targets": [*IDS, 0]}, r"int64 of shape \(13,\)"),
        (Blobs, {"targets": IDS > 2}, "one integer per image in .targets, not bool"),
        (Blobs, {"targets": IDS + 1}, "labels of 7 classes, and the model 6: give the same"),
        (Blobs, {"targets": MATRIX}, "several labels per image, and the model supports one"),
        (Scenes, {"targets": MATRIX[:, :5]}, "labels of 5 classes, and the model 6"),
    ],
)
def test_a_test_set_that_cannot_be_evaluated_is_refused(
    data: type, values: dict[str, Any], says: str
) -> None:
    test = type("Fixed", (data,), {"__len__": lambda self: 12})(12, seed=2)
    for name, value in values.items():
        setattr(test, name, value)
    with pytest.raises(InputError, match=says):
        CachedEvaluator(test).evaluate(opened_for(data is Scenes), torch.ones(6, dtype=torch.bool))


def test_images_of_further_classes_may_count() -> None:
    test = Scenes(48, seed=2)
    model = opened_for(multi_label=True)
    counting = SEEN | (torch.arange(N_CLASSES) == 1)
    found = CachedEvaluator(test).evaluate(model, SEEN, counting=counting)
    shown = images_with(torch.from_numpy(test.targets), counting)
    assert images_with(torch.from_numpy(test.targets), SEEN).sum() < shown.sum()
    with torch.no_grad():
        logits = model(torch.stack([image for image, _ in test]))
    want = multi_label_results(logits, torch.from_numpy(test.targets), SEEN, rows=shown)
    torch.testing.assert_close(found.by_class, want.ap, equal_nan=True)
    assert found.accuracy == pytest.approx(want.mean_ap)


@pytest.mark.parametrize("test", [Blobs(48, seed=2), Scenes(48, seed=2)])
def test_confidence_is_that_in_the_images_of_the_last_evaluation(test: Blobs | Scenes) -> None:
    several = isinstance(test, Scenes)
    model = opened_for(several)
    evaluator = CachedEvaluator(test, batch_size=7)
    evaluator.evaluate(model, torch.ones(N_CLASSES, dtype=torch.bool))
    evaluator.evaluate(model, SEEN)  # of cached parts
    with torch.no_grad():
        logits = model(test.images[evaluator.rows(SEEN)])
    want = (
        confidence(logits, SEEN) if several else confidence(logits.masked_fill(~SEEN, -torch.inf))
    )
    assert evaluator.confidence.sort().values.tolist() == pytest.approx(
        want.sort().values.tolist(), abs=1e-5
    )
    resumed = CachedEvaluator(test, batch_size=7)
    resumed.load_state_dict(evaluator.state_dict(model), model)
    assert torch.equal(resumed.confidence, evaluator.confidence)


def test_any_module_can_be_evaluated_and_gets_its_mode_back() -> None:
    test = Blobs(48, seed=2)
    model = Flat().train()
    evaluator = CachedEvaluator(test)
    found = evaluator.evaluate(model, SEEN, samples_seen=5)
    assert model.training
    assert model.dropout.training
    rows = [i for i, label in enumerate(test.targets.tolist()) if SEEN[label]]
    logits = model.eval()(test.images[rows])[:, :N_CLASSES].masked_fill(~SEEN, -torch.inf)
    right = logits.argmax(dim=1) == torch.from_numpy(test.targets[rows])
    assert found.accuracy == pytest.approx(float(right.float().mean()))
    assert found.samples_seen == 5
    assert evaluator.images == len(rows)
    assert evaluator.macs == 0  # counted for frozen backbones


@given(st.integers(1, 6), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=30)
def test_accuracies_equal_those_of_scikit_learn(n_classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(n, n_classes)), rng.integers(0, n_classes, n)
    test: Any = TensorDataset(torch.from_numpy(logits), torch.from_numpy(labels))
    test.targets = labels
    evaluator = CachedEvaluator(test, batch_size=7)
    found = evaluator.evaluate(nn.Identity(), torch.ones(n_classes, dtype=torch.bool))
    predicted = logits.argmax(1)
    assert found.accuracy == pytest.approx(accuracy_score(labels, predicted))
    for c, value in enumerate(found.by_class.tolist()):
        if (labels == c).any():
            assert value == pytest.approx((predicted[labels == c] == c).mean())
        else:
            assert math.isnan(value)


def test_only_what_is_new_is_computed() -> None:
    test = Blobs(48, seed=2)
    model = opened(PromptedViT(tiny_vit(), N_CLASSES))
    evaluator = CachedEvaluator(test)
    counter = model.backbone.counter
    images = []
    for seen in (SEEN, SEEN, torch.ones(N_CLASSES, dtype=torch.bool)):
        counter.reset()
        evaluator.evaluate(model, seen)
        images.append(counter.images)
    assert images == [24, 0, 24]
    assert test.reads == 48
    assert evaluator.images == 24 + 24 + 48


def test_cached_parts_are_not_mixed_between_networks() -> None:
    test = Blobs(48, seed=2)
    seen = torch.ones(N_CLASSES, dtype=torch.bool)
    vit = tiny_vit()
    models = [
        make("mvp", backbone=vit).model,
        *(make("dual_prompt", backbone=vit, g_blocks=(b,), e_blocks=(2,)).model for b in (1, 0)),
        PromptedViT(vit, N_CLASSES),
        PromptedViT(tiny_vit(), N_CLASSES),
    ]
    shared = CachedEvaluator(test)
    for model in map(opened, models):
        for _ in range(2):  # the second time from the cache
            found = shared.evaluate(model, seen).by_class
            assert torch.equal(found, CachedEvaluator(test).evaluate(model, seen).by_class)


def test_multi_label_scores_are_over_images_that_show_a_seen_class() -> None:
    test = Scenes(40, seed=2)
    test.ignored = Scenes(40, seed=3).targets > test.targets
    model = opened(PromptedViT(tiny_vit(), N_CLASSES, multi_label=True))
    tasks = [[0, 3], [2]]
    found = CachedEvaluator(test, batch_size=7).evaluate(model, SEEN, tasks=tasks)
    ignored = torch.from_numpy(test.ignored)
    data = model(test.images), torch.from_numpy(test.targets).long()
    want = multi_label_results(*data, SEEN, rows=images_with(data[1], SEEN), ignored=ignored)
    fixed = fixed_average_precision(*data, tasks, ignored)
    torch.testing.assert_close(found.by_class_fixed, fixed, equal_nan=True)
    assert found.accuracy == pytest.approx(want.mean_ap)
    assert found.scores["cf1_80"] == pytest.approx(want.scores["cf1_80"], nan_ok=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_told_with_their_images(value: float) -> None:
    class Wrong(Flat):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[:, 5] = float("-inf")  # a masked class
            logits[1, 0] = value
            return logits

    model = Wrong()
    with pytest.raises(RunError, match="the logits of test images 1 are not finite"):
        CachedEvaluator(Blobs(6)).evaluate(model, torch.ones(N_CLASSES, dtype=torch.bool))
    assert model.training  # as before, so that training can continue
    # No image counts.
    found = CachedEvaluator(Blobs(6)).evaluate(Flat(), torch.zeros(N_CLASSES, dtype=torch.bool))
    assert math.isnan(found.accuracy)


class Noisy(Blobs):
    """Images with noise that is drawn anew at each read."""

    noise = PrivateRandom(lambda image: 0.5 * image + 0.5 * torch.rand(image.shape), seed=1)

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return self.noise(image), label


def test_a_random_test_image_is_one_in_all_evaluations_and_processes() -> None:
    data = Noisy(12, seed=2)
    assert not torch.equal(data[0][0], data[0][0])
    model = opened(PromptedViT(tiny_vit(), N_CLASSES))
    found = []
    for workers in (0, 2):
        for _ in range(2):
            evaluator = CachedEvaluator(data, batch_size=5, num_workers=workers)
            evaluator.evaluate(model, model.seen)
            found.append(evaluator.confidence)
            evaluator.close()
    for confidences in found[1:]:
        assert torch.equal(confidences, found[0])
    stream = disjoint_benchmark(Blobs(30, seed=1), data, n_tasks=1).test_stream
    scores = []
    for workers in (0, 0, 2):
        strategy = fit(make("linear_probe"), experiences())
        scores.append(strategy.eval(stream, num_workers=workers))
    assert scores[1] == scores[0] == scores[2]
