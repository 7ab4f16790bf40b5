"""Numbers that are not finite are found early, with the samples that they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from cl_prompts.backbones.normalisation import normalisation_of
from cl_prompts.backbones.pixels import check_batch
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError
from cl_prompts.metrics.evaluator import CachedEvaluator
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.scenarios import as_dataset, disjoint_benchmark, mlcil_benchmark
from cl_prompts.strategies.base.faults import (
    LARGEST_WEIGHT,
    blame,
    check_weights,
    not_finite,
    positions,
)
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.stream import checked_collate
from tests.toy_data import Blobs, Scenes, experiences
from tests.toy_vits import tiny_vit
from tests.toys import PROTOTYPES, fit, make

IMAGES = Blobs(6, seed=1).images
LABELS = torch.arange(6)


@pytest.fixture
def model() -> PromptedViT:
    return PromptedViT(tiny_vit(), 6)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES[:, :1], LABELS, "shape"),
        (IMAGES * 255, LABELS, "255|range|\\[0, 1\\]"),
        (IMAGES, LABELS.float(), "targets are float32 of shape .*: give integers 0 to 5"),
    ],
)
def test_a_first_batch_that_cannot_be_learned_from_is_refused(
    model: PromptedViT, images: Any, labels: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        check_batch(model, images, labels)
    check_batch(model, IMAGES, LABELS)


def test_who_normalises_decides_which_pixels_pass() -> None:
    vit = tiny_vit()
    own = FrozenViT(vit.vit, normalisation=normalisation_of("none", vit.vit))
    assert vit.normalises
    assert not own.normalises
    with pytest.raises(InputError, match='unless created with normalisation="none"'):
        check_batch(PromptedViT(vit, 6), IMAGES * 4 - 2, LABELS)
    check_batch(PromptedViT(own, 6), IMAGES * 4 - 2, LABELS)


def test_weights_that_ran_away_are_named(model: PromptedViT) -> None:
    check_weights(model, 40)
    for value in (2 * LARGEST_WEIGHT, float("nan"), -float("inf")):
        with torch.no_grad():
            model.head.weight[1, 2] = value
        with pytest.raises(RunError, match=r"the weights head\.weight reached .* after 40 samples"):
            check_weights(model, 40)
    assert not any(p.requires_grad for p in model.backbone.parameters())  # those are not read


def test_what_is_to_blame_for_a_loss_is_looked_for(model: PromptedViT) -> None:
    broken = IMAGES.clone()
    broken[1, 0, 0, 0], broken[4, 2, 3, 3] = float("nan"), float("inf")
    error = blame(float("nan"), broken, model, first=32)
    assert isinstance(error, RunError)
    says = "the loss became nan at stream positions from 32 on: the images at 33, 36 hold NaN"
    assert str(error).startswith(says)
    assert str(blame(float("inf"), IMAGES, model, 0)).endswith("a smaller learning rate may help")
    with torch.no_grad():
        model.backbone.vit.norm.bias[0] = float("nan")
    found = str(blame(float("nan"), IMAGES, model, 0))
    assert "the frozen features of the images at 0, 1, 2, 3, 4, 5 are not finite" in found


def test_rows_and_positions() -> None:
    values = torch.zeros(4, 2, 2)
    values[2, 1, 0] = float("inf")
    assert not_finite(values) == [2]
    assert positions(list(range(10)), 5) == "5, 6, 7, 8, 9, 10, 11, 12 and 2 more"


@pytest.mark.parametrize("kind", ["linear_probe", *PROTOTYPES])
def test_a_run_stops_with_the_positions_of_its_broken_images(kind: str) -> None:
    scenario = "mlcil" if kind in ("multi_label_ridge", "l3a") else "class_incremental"
    (first, *_) = experiences(scenario)
    strategy = make(kind, scenario)

    def broken(batch: Any) -> None:
        batch.columns[0][3] = float("nan")

    original = strategy.training_output
    strategy.training_output = lambda batch: (broken(batch), original(batch))[1]
    with pytest.raises(RunError, match=r"the images at \d+ hold NaN or infinity"):
        fit(strategy, [first])


class OfOnesOwn(StrategyPlugin):
    """A term of loss in the place of all others, at stream samples from 16 on."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.samples_seen >= 16:
            strategy.loss = self.loss(strategy.output.logits, strategy.batch.labels)


def smoothed(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=0.1)


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.square().mean()


def gradient_of_nan(logits: Tensor, labels: Tensor) -> Tensor:
    # Finite itself: it is the weights of the next update that are not.
    shares = logits.softmax(1)
    return torch.where(shares > 0, shares * shares.log(), 0.0).mean()


@pytest.mark.parametrize("loss", [smoothed, entropy, squared, gradient_of_nan])
def test_a_loss_of_ones_own_that_reads_classes_not_seen_is_named(loss: Any) -> None:
    (first, *_) = experiences("class_incremental")
    strategy = make("linear_probe", "class_incremental", plugins=[OfOnesOwn(loss)])
    says = (
        r"(the loss became (inf|nan) at stream positions from 16|the weights .* reached nan).*"
        r"the 4 classes that were not seen yet have logits of -inf, and a loss in OfOnesOwn has to"
        r" leave them out: take the columns output\.logits\[:, model\.seen\], as"
        r" docs/extending\.md shows"
    )
    with pytest.raises(RunError, match=says):
        fit(strategy, [first])


@pytest.mark.parametrize("parts", [[], [OfOnesOwn(smoothed)]])
@pytest.mark.parametrize("lost", [False, True])
def test_other_losses_ask_for_a_smaller_learning_rate(
    model: PromptedViT, parts: list[Any], lost: bool
) -> None:
    logits = torch.full((6, 6), float("nan") if lost else 0.0)
    found = str(blame(float("inf"), IMAGES, model, 0, logits, parts))
    model.observe_classes(LABELS)
    whole = str(blame(float("inf"), IMAGES, model, 0, logits, parts))
    assert (
        whole
        == "the loss became inf at stream positions from 0 on: a smaller learning rate may help"
    )
    assert (found == whole) == (not parts)


class OneOdd(Blobs):
    """Blobs of which one image is changed."""

    def __init__(self, n: int, seed: int, change: Any = None) -> None:
        super().__init__(n, seed=seed)
        self.change = change

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        odd = self.change is not None and index == len(self) - 1
        return (self.change(image) if odd else image), label


ODD = [
    (lambda image: image * 255, r"pixels reach from .*: give images in \[0, 1\]"),
    (lambda image: image * 4 - 2, "leave out the normalisation"),
    (lambda image: image[:, :8], "images are 8 x 16 pixels: the backbone takes 16 x 16"),
    (lambda image: image[:1], "give RGB|repeat the channel"),
    (lambda image: (image * 255).byte(), "images are uint8"),
    (lambda image: image.to(torch.float8_e4m3fn), "images are float8_e4m3fn: give floats"),
    (lambda image: image.tolist(), "images are a list: give a tensor"),
    (lambda image: image.half(), "are torch.float16 and torch.float32: give all of one type"),
    (lambda image: image.numpy().astype(">f4"), "images are arrays that torch cannot take"),
    (
        lambda image: image.numpy(),
        "are array float32 and torch.float32: give all of one",
    ),
    (lambda image: image.to_sparse(), "images are sparse_coo: give tensors that hold each pixel"),
    (lambda image: image.to("meta"), "images are without values: give tensors that hold each"),
]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("change", "says"), ODD[:1] + ODD[2:3])
def test_any_training_image_is_looked_at(change: Any, says: str, workers: int) -> None:
    stream = disjoint_benchmark(OneOdd(72, 1, change), Blobs(30, seed=2), n_tasks=1).train_stream
    with pytest.raises(InputError, match=says) as found:
        make("er", online_iter=1).train(stream[0], num_workers=workers)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("change", "says"), ODD)
def test_any_image_is_looked_at(change: Any, says: str) -> None:
    test = OneOdd(30, 2, change)
    (last,) = disjoint_benchmark(Blobs(72, seed=1), test, n_tasks=1).test_stream
    strategy = make("linear_probe")
    seen = torch.ones(6, dtype=torch.bool)
    evaluator = CachedEvaluator(test, batch_size=8)
    for call in (
        lambda: strategy.eval([last], num_workers=0),
        lambda: evaluator(strategy.model, seen),
    ):
        with pytest.raises(InputError, match=says):
            call()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_test_image_that_is_not_finite_stops_avalanches_evaluation(value: float) -> None:
    train, test = Blobs(72, seed=1), Blobs(30, seed=2)
    stream = disjoint_benchmark(train, test, n_tasks=1)
    strategy = fit(make("ncm", eval_mb_size=4), list(stream.train_stream))
    strategy.eval(list(stream.test_stream), num_workers=0)
    test.images[10, 0, 3, 3] = value
    with pytest.raises(RunError, match=r"the logits of test images \[?10\]? are not finite"):
        strategy.eval(list(stream.test_stream), num_workers=0)


def test_replayed_images_are_looked_at() -> None:
    data = OneOdd(72, 1)
    (first,) = disjoint_benchmark(data, Blobs(30, seed=2), n_tasks=1).train_stream
    strategy = fit(make("er", online_iter=1, buffer_size=72), [first])
    data.change = lambda image: image + 7
    with pytest.raises(InputError, match="pixels reach from"):
        strategy.replay.read(torch.arange(72), 0)


def test_labels_of_items_have_to_agree_with_targets() -> None:
    data = Blobs(72, seed=1)
    mine = as_dataset(data, Blobs(30, seed=2))
    (first,) = disjoint_benchmark(data, Blobs(30, seed=2), n_tasks=1).train_stream
    data.targets = data.targets[::-1]
    said = r"item \d+ of .* has label \d, and .targets says \d: make the two agree"
    with pytest.raises(InputError, match=said):
        fit(make("linear_probe"), [first])
    with pytest.raises(InputError, match=said):
        [mine.train[i] for i in range(72)]


class Labelled(Blobs):
    """Toy images, whose items go on with other entries."""

    def __init__(self, n: int, seed: int, entries: Any) -> None:
        super().__init__(n, seed=seed)
        self.entries = entries

    def __getitem__(self, row: int) -> Any:
        return super().__getitem__(row)[0], *self.entries(int(self.targets[row]))


def test_labels_of_avalanches_own_benchmarks_have_to_agree_with_targets() -> None:
    good, wrong = (
        as_classification_dataset(Labelled(72, 1, lambda y, off=off: [(y + off) % 6]))
        for off in (0, 1)
    )
    stream = benchmark_from_datasets(train=[good, wrong], test=[wrong])
    strategy = fit(make("er", buffer_size=20, online_iter=1), [stream.train_stream[0]])
    evaluator = CachedEvaluator(Labelled(72, 1, lambda y: [(y + 1) % 6]), batch_size=8)
    calls = (
        lambda: strategy.train(stream.train_stream[1], num_workers=0),
        lambda: strategy.eval(list(stream.test_stream), num_workers=0),
        lambda: evaluator(strategy.model, torch.ones(6, dtype=torch.bool)),
        lambda: strategy.replay.read(torch.arange(20), 0),
    )
    for call in calls:
        if call is calls[-1]:
            strategy.replay._items.sources[0] = wrong
        with pytest.raises(InputError, match=r"item \d+ of the data set has label \d, and"):
            call()


def test_labels_of_several_a_image_have_to_agree_with_targets() -> None:
    data = Scenes(24)
    stream = mlcil_benchmark(data, data, protocol="B0-C2").train_stream
    fit(make("linear_probe", "mlcil"), [stream[0]])
    data.targets = 1 - data.targets  # the stream has taken a copy
    with pytest.raises(InputError, match=r"item \d+ of the data set has label \[.*, and .targets"):
        fit(make("linear_probe", "mlcil"), [stream[0]])


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (lambda y: [str(y)], "items hold '[0-5]' as entry 2: give nothing but numbers behind"),
        (lambda y: [None], "items hold None as entry 2"),
        (lambda y: [{"label": y}], "items hold {'label': [0-5]} as entry 2"),
        (lambda y: [[y, y]], r"item \d+ of the data set has label \[[0-5], [0-5]\]"),
        (lambda y: [np.str_(y)], "items hold .* as entry 2"),
        (lambda y: [y, "a.png"], "items hold 'a.png' as entry 3"),
        (
            lambda y: [y, torch.zeros(y + 1)],
            r"entries of shapes \[\(\), \([1-6],\).* behind",
        ),
    ],
)
def test_what_no_batch_can_hold_is_refused(entries: Any, says: str) -> None:
    odd = as_classification_dataset(Labelled(72, 1, entries))
    stream = benchmark_from_datasets(train=[odd], test=[odd])
    strategy = make("linear_probe")
    for call in (
        lambda: fit(strategy, list(stream.train_stream)),
        lambda: strategy.eval(list(stream.test_stream), num_workers=0),
    ):
        with pytest.raises(InputError, match=says):
            call()


@pytest.mark.parametrize("kind", [torch.uint64, torch.uint8, torch.int32])
def test_integers_of_another_type_are_refused(kind: torch.dtype) -> None:
    labels = (torch.arange(24) % 6).to(kind)
    data = TensorDataset(torch.rand(24, 3, 16, 16), labels)
    data.targets = labels
    stream = disjoint_benchmark(data, data, n_tasks=1)
    strategy = make("linear_probe")
    said = rf"targets are {str(kind).removeprefix('torch.')}: give int64, as targets.to\(\)"
    for call in (
        lambda: fit(strategy, list(stream.train_stream)),
        lambda: strategy.eval(list(stream.test_stream), num_workers=0),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_test_labels_beyond_the_head_are_refused() -> None:
    test = disjoint_benchmark(Blobs(72, seed=1), Blobs(30, seed=2), n_tasks=1).test_stream
    strategy = make("linear_probe", n_classes=5)
    with pytest.raises(InputError, match="label 5 occurs, but n_classes is 5"):
        strategy.eval(list(test), num_workers=0)


class JoinedByItself(Blobs):
    """Data that join their items by a function of their own."""

    def collate_fn(self, items: Any) -> Any:
        return default_collate(items)


def test_data_that_join_items_by_themselves_are_refused() -> None:
    own, plain = JoinedByItself(30), Blobs(30, seed=2)
    for build in (
        lambda: disjoint_benchmark(own, plain, n_tasks=1),
        lambda: disjoint_benchmark(plain, own, n_tasks=1),
        lambda: CachedEvaluator(own),
        lambda: checked_collate(own, None),
    ):
        with pytest.raises(InputError, match=r"has a collate_fn of its own.* leave it out"):
            build()


def test_labels_of_any_batch_have_one_type() -> None:
    class Later(Blobs):
        later = False

        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image, float(label) if self.later else label

    data = Later(72)
    stream = disjoint_benchmark(data, Blobs(30, seed=2), n_tasks=1).train_stream
    strategy = make("ncm")
    strategy.between_batches = lambda: setattr(data, "later", True)
    with pytest.raises(InputError, match=r"targets are float.*: give int64"):
        strategy.train(stream[0], num_workers=0)
