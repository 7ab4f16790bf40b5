"""What a training step and a test image cost each strategy, counted: block passes at toy size,
forwards of ViT-B/16 exactly. The table of toys holds what each of them promises."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cl_prompts.backbones import FrozenViT
from cl_prompts.backbones.mac_counter import MACCounter
from cl_prompts.models import AnalyticRouter, ContinualModel, MultiLaneViT, Output, PrototypeViT
from cl_prompts.scenarios import i_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import finished
from tests.toy_data import Blobs, experiences
from tests.toy_vits import empty_vit_b
from tests.toys import (
    ALL,
    HEAD,
    OTHERS,
    PROTOTYPES,
    REPLAYING,
    TABLE,
    cls_of,
    does_something_at_ends,
    fit,
    make,
)


def begun(kind: str) -> Any:
    """The strategy after one experience of all classes, without rehearsal or teacher."""
    endless = {"period": 10_000} if "period" in ALL[kind].options else {}
    once = {"n_tasks": 1, "disjoint_percent": 0, "blurry_percent": 0}
    return fit(make(kind, **endless), i_blurry_benchmark(Blobs(16), Blobs(6), **once).train_stream)


#: blocks are counted alike on every ViT
PLAIN = [kind for kind in ALL if kind not in OTHERS]


@pytest.mark.parametrize("kind", [kind for kind in REPLAYING if not kind.endswith("_tuned")])
def test_replay_costs_its_share_of_a_batch(kind: str) -> None:
    strategy = make(kind, train_mb_size=8, buffer_batch_size=4, buffer_size=8, online_iter=2)
    counter = strategy.model.backbone.counter
    filling, *rest = experiences("class_incremental")
    fit(strategy, [filling])
    # no rehearsal in between
    strategy.boundaries = False
    strategy.period = None
    for experience in rest:
        assert len(experience.dataset) % 8 == 0
        counter.reset()
        updates = strategy.updates
        fit(strategy, [experience])
        shown = (strategy.updates - updates) * ALL[kind].shown
        shown += len(experience.dataset) * ALL[kind].unasked
        if kind.startswith("clib"):  # besides, the features of the samples that enter its buffer
            assert shown < counter.images <= shown + len(experience.dataset)
        else:
            assert counter.images == shown


@pytest.mark.parametrize("kind", ["rainbow", "lwf", "ewcpp"])
def test_task_ends_cost_what_the_method_does_there(kind: str) -> None:
    strategy = fit(make(kind), experiences())
    counter = strategy.model.backbone.counter
    counter.reset()
    strategy.finish_task()
    assert counter.images == (2 * 12 if kind == "rainbow" else 0)  # two passes over its buffer


@pytest.mark.parametrize("kind", PLAIN)
def test_images_pass_through_the_blocks_once_or_twice_and_less_in_later_tests(kind: str) -> None:
    row = ALL[kind]
    strategy = begun(kind)
    counts = strategy.model.backbone.counter.counts()
    if row.learns != "adapters":
        assert counts["blocks"] == counts["images"] * row.passes
    if row.learns != "adapters" and strategy.buffer.size == 0:
        assert counts["images"] == strategy.samples_seen * (strategy.online_iter + row.unasked)
    if does_something_at_ends(kind):
        strategy = finished(kind, "si_blurry").strategy
    test = Blobs(24, seed=2)
    evaluate = AnytimeEvaluation(test).evaluator.evaluate
    counter = strategy.model.backbone.counter
    costs = []
    right = []
    reads = []
    for _ in range(3):
        counter.reset()
        before = test.reads
        right.append(evaluate(strategy.model, strategy.model.seen).by_class.nan_to_num(-1))
        costs.append(counter.blocks / 24)
        reads.append(test.reads - before)
    assert all(torch.equal(c, right[0]) for c in right)
    assert costs == [row.first_test or row.passes, row.retest, row.retest]
    # A prompted pass needs the images again.
    again = 0 if row.retest == 0 else 24
    assert reads == [24, again, again]


@pytest.fixture(scope="session")  # a module's is made anew for each strategy's group
def vit_b() -> FrozenViT:
    """ViT-B/16 without values: enough to count its work."""
    return empty_vit_b()


def model_of(kind: str, backbone: FrozenViT) -> ContinualModel:
    # The statistics of prototypes are not work of blocks.
    small = ALL[kind].options if kind in PROTOTYPES else {}
    buffer = {"buffer_size": 1} if kind in REPLAYING else {}
    strategy = cls_of(kind)(
        backbone=backbone,
        n_classes=100,
        device=torch.device("meta"),
        evaluator=None,
        **small,
        **buffer,
    )
    model: ContinualModel = strategy.model
    if isinstance(model, MultiLaneViT):
        model.open_lane(range(8))
    router = getattr(model, "selector", None)
    if isinstance(router, AnalyticRouter):
        # Its solution is not work of blocks, and needs values.
        router.scores = lambda query: query.new_zeros(len(query), router.n_experts)
    return model.to("meta").train()


#: a head on a frozen ViT is one model in all methods that train one, and so are prototypes, but for
#: what of the ViT they read; others pass through it as one of these does
OF_ITS_OWN = [
    kind
    for kind, row in TABLE.items()
    if row.vit_b != HEAD or kind in ("linear_probe", "ncm") or "features" in row.options
    if kind not in ("s_prompt", "norga", "hide_prompt", "single_prompt", "joint")
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_ITS_OWN)
def test_cost_in_forwards_of_vit_b(kind: str, vit_b: FrozenViT) -> None:
    batch = 64 if kind == "multi_lane" else 1  # its slots cost the same whatever the batch
    model = model_of(kind, vit_b)
    images = torch.rand(batch, 3, 224, 224, device="meta")
    counter = model.backbone.counter
    unit = vit_b.forward_macs * batch
    forward, step, test, cached = TABLE[kind].vit_b
    counter.reset()
    with sdpa_kernel(SDPBackend.MATH), MACCounter() as products:
        out = run(model, images)
        # head and prompts
        assert counter.macs / unit == pytest.approx(products.macs / unit, rel=2e-3)
        loss = any_loss(model, out)
        if loss is not None:
            loss.backward()
    assert forward - 0.02 < counter.macs / unit < forward
    # A gradient of frozen weights would add 0.9.
    assert step - 0.02 < products.macs / unit < step
    model.eval()
    with torch.no_grad():
        counter.reset()
        out = run(model, images)
        assert test - 0.02 < counter.macs / unit < test
        counter.reset()
        if model.needs_images(out.cacheable):
            model.run(images, out.cacheable)
        assert cached - 0.02 < counter.macs / unit <= cached


def run(model: ContinualModel, images: Tensor) -> Output:
    """A forward pass; without scores where these need values."""
    if not isinstance(model, PrototypeViT):
        return model.run(images)
    features = model.features(images)
    return Output(features, features, cacheable={"frozen": features})


def any_loss(model: Any, out: Output) -> Tensor | None:
    """Of any kind: what goes back through the blocks counts."""
    if isinstance(model, PrototypeViT):
        return None
    if isinstance(model, MultiLaneViT):
        return out.logits.sum()
    loss: Tensor = model.head(out.features).logsumexp(1).sum()
    return loss if out.selection is None else loss - out.selection.match
