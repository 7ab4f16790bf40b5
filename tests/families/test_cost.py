"""What a training step and a test image cost each strategy, counted: block passes at toy size,
forwards of ViT-B/16 exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import NearestClassMean
from cl_prompts.strategies import AnytimeEvaluation
from cl_prompts.strategies.coda_prompt import coda_prompt_model
from cl_prompts.strategies.dual_prompt import dual_prompt_model
from cl_prompts.strategies.l2p import l2p_model
from cl_prompts.strategies.mvp import mvp_model
from cl_prompts.strategies.one_prompt import one_prompt_model
from cl_prompts.strategies.s_prompt import s_prompt_model
from tests.conftest import Blobs
from tests.strategies.table import ALL, N_CLASSES, PROTOTYPES, TABLE, benchmark, fit, make

DEPTH = 4
#: block passes of a training image where they are not the ViT's depth: a query pass comes first,
# MVP's ends one block early
QUERYING = dict.fromkeys(
    ("l2p", "dual_prompt", "coda_prompt", "s_prompt", "mvp_published"), 2 * DEPTH
)
QUERYING |= dict.fromkeys(("mvp", "mvp_r", "mvp_plain"), 2 * DEPTH - 1)


@pytest.mark.parametrize("kind", ALL)
def test_training_passes_each_shown_image_through_the_blocks_once_or_twice(kind: str) -> None:
    strategy = fit(make(kind), benchmark().train_stream)
    counter = strategy.model.backbone.counter
    assert counter.blocks == counter.images * QUERYING.get(kind, DEPTH)
    if strategy.buffer.size == 0:
        assert counter.images == strategy.samples_seen * strategy.online_iter


#: images shown by an update on 8 stream samples, once the memory is full and gives half as many
SHOWN = {
    "er": 8 + 4,
    "ewcpp": 8 + 4,
    "rainbow": 8 + 4,
    "mvp_r": 8 + 4,
    "derpp": 8 + 4 + 4,
    "clib": 4,
}


@pytest.mark.parametrize("kind", SHOWN)
def test_replay_costs_its_share_of_a_batch(kind: str) -> None:
    strategy = make(kind, train_mb_size=8, buffer_batch_size=4, buffer_size=8)
    counter, (filling, *rest) = (
        strategy.model.backbone.counter,
        benchmark("class_incremental").train_stream,
    )
    fit(strategy, [filling])
    strategy.boundaries, strategy.period = False, None  # no rehearsal in between
    for experience in rest:
        assert len(experience.dataset) % 8 == 0
        counter.reset()
        updates = strategy.updates
        fit(strategy, [experience])
        shown = (strategy.updates - updates) * SHOWN[kind]
        if kind == "clib":  # besides, the features of the samples that enter its memory
            assert shown < counter.images <= shown + len(experience.dataset)
        else:
            assert counter.images == shown


@pytest.mark.parametrize("kind", ["rainbow", "lwf", "ewcpp"])
def test_task_ends_cost_what_the_method_does_there(kind: str) -> None:
    strategy = fit(make(kind), benchmark().train_stream)
    counter = strategy.model.backbone.counter
    counter.reset()
    strategy.finish_task()
    assert counter.images == (2 * 12 if kind == "rainbow" else 0)  # two passes over its memory


#: of whose test images nothing is left to compute, as long as what has learned stays (MULTI-LANE's
# newest lane moves in training)
ALL_KEPT = (
    "linear_probe",
    "er",
    "derpp",
    "ewcpp",
    "lwf",
    "rainbow",
    "clib",
    "multi_lane",
    *PROTOTYPES,
)
NOTHING_KEPT = ("fine_tuning", "joint", "one_prompt")


@pytest.mark.parametrize("kind", ALL)
def test_later_evaluations_are_cheaper(kind: str) -> None:
    strategy, test = fit(make(kind), benchmark().train_stream), Blobs(24, N_CLASSES, seed=2)
    evaluate, counter = AnytimeEvaluation(test).evaluator, strategy.model.backbone.counter
    costs, counts, reads = [], [], []
    for _ in range(3):
        counter.reset()
        before = test.reads
        counts.append(evaluate(strategy.model, strategy.model.seen).correct)
        costs.append(counter.blocks / 24)
        reads.append(test.reads - before)
    assert all(torch.equal(c, counts[0]) for c in counts)
    if kind in ALL_KEPT:
        assert costs == [DEPTH, 0, 0]
    elif kind in NOTHING_KEPT:
        assert costs == [DEPTH] * 3
    else:
        assert costs == [QUERYING[kind], DEPTH, DEPTH]
    assert reads == ([24, 0, 0] if kind in ALL_KEPT else [24] * 3)


# ------------------------------------------------------------------------------------------- in
# forwards of ViT-B/16


@pytest.fixture(scope="module")
def vit_b() -> FrozenViT:
    """ViT-B/16 without values: enough to count its work."""
    with torch.device("meta"):
        return FrozenViT(VisionTransformer(num_classes=0))


def _one_lane(vit: FrozenViT, n_classes: int) -> MultiLaneViT:
    model = MultiLaneViT(vit, n_classes).to("meta")
    model.open_lane(range(8))
    return model


MODELS: dict[str, Callable[[FrozenViT, int], ContinualModel]] = {
    "mvp": mvp_model,
    "multi_lane": _one_lane,
    "l2p": l2p_model,
    "dual_prompt": dual_prompt_model,
    "coda_prompt": coda_prompt_model,
    "s_prompt": s_prompt_model,
    "one_prompt": one_prompt_model,
    "fine_tuning": lambda vit, n: PromptedViT(vit.thawed(), n),
    "head": PromptedViT,
    "prototypes": lambda vit, n: PrototypeViT(vit, NearestClassMean(vit.dim, n)),
}
#: of forwards: a training step before and with its backward pass, a test image, one of which
# everything is kept that can be
COSTS = {
    "mvp": (1.76, 2.71, 1.76, 0.94),
    "multi_lane": (0.95, 0.96, 0.95, 0.0),
    "l2p": (1.97, 3.06, 1.97, 1.07),
    "dual_prompt": (1.84, 2.79, 1.84, 0.94),
    "coda_prompt": (1.84, 2.79, 1.84, 0.94),
    "s_prompt": (1.84, 2.79, 1.84, 0.94),
    "one_prompt": (0.94, 1.88, 0.94, 0.94),
    "fine_tuning": (0.94, 2.80, 0.94, 0.94),
    "head": (0.94, 0.94, 0.94, 0.0),
    "prototypes": (0.94, 0.94, 0.94, 0.0),
}
#: which row a strategy's step is in; replay multiplies it (SHOWN / 8)
ROWS = {kind: kind for kind in MODELS if kind in TABLE}
ROWS |= dict.fromkeys(("linear_probe", "er", "derpp", "ewcpp", "lwf", "rainbow", "clib"), "head")
ROWS |= {"joint": "fine_tuning", **dict.fromkeys(PROTOTYPES, "prototypes")}


def test_every_strategy_has_a_row() -> None:
    assert set(ROWS) == set(TABLE)


@pytest.mark.parametrize("row", COSTS)
def test_cost_in_forwards_of_vit_b(row: str, vit_b: FrozenViT) -> None:
    batch = 64 if row == "multi_lane" else 1  # its slots cost the same whatever the batch
    model, images = (
        MODELS[row](vit_b, 100).to("meta").train(),
        torch.rand(batch, 3, 224, 224, device="meta"),
    )
    counter, unit = model.backbone.counter, vit_b.forward_macs * batch
    forward, step, test, stored = COSTS[row]
    counter.reset()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        out = _run(model, images)
        assert counter.macs / unit == pytest.approx(
            flops.get_total_flops() / 2 / unit, rel=2e-3
        )  # head and prompts
        loss = _any_loss(model, out)
        if loss is not None:
            loss.backward()
    assert forward - 0.02 < counter.macs / unit < forward
    assert (
        step - 0.02 < flops.get_total_flops() / 2 / unit < step
    )  # a gradient of frozen weights would add 0.9
    model.eval()
    with torch.no_grad():
        counter.reset()
        out = _run(model, images)
        assert test - 0.02 < counter.macs / unit < test
        counter.reset()
        if model.needs_images(out.cacheable):
            model.run(images, out.cacheable)
        assert stored - 0.02 < counter.macs / unit <= stored


def _run(model: ContinualModel, images: Tensor) -> Output:
    if not isinstance(model, PrototypeViT):
        return model.run(images)
    features = model.features(
        images
    )  # its statistics are float64, which cannot be done without values
    return Output(features, features, cacheable={"frozen": features})


def _any_loss(model: Any, out: Output) -> Tensor | None:
    """Of any kind: what goes back through the blocks counts."""
    if isinstance(model, PrototypeViT):
        return None
    if isinstance(model, MultiLaneViT):
        return out.logits.sum()
    loss = model.head(out.features).logsumexp(1).sum()
    return loss if out.selection is None else loss - out.selection.match
