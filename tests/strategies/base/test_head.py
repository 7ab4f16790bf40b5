"""The head as a value: for every method with one, and what its input makes of training."""

from itertools import cycle
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.models.heads import LinearHead
from cl_prompts.strategies import Head, SlowHeads
from cl_prompts.strategies.base.stream import Batch
from tests.strategies.shared import noted
from tests.toy_data import N_CLASSES, Blobs, experiences
from tests.toys import ADAPTED, TABLE, cls_of, fit, make

IMAGES = Blobs(12, seed=7).images
#: one of each way to read the head's input
HEADED = ("mvp", "hide_prompt", "flyprompt", "derpp", "fine_tuning", "joint")


@pytest.mark.parametrize(
    ("kind", "head_input"),
    zip(HEADED, cycle(["whitened", "centred", "standardised"]), strict=False),
)
def test_a_linear_head_on_raw_features_would_say_the_same(kind: str, head_input: str) -> None:
    off = [SlowHeads(decays=())] if kind == "flyprompt" else []
    head = Head(kind="linear", input=head_input)
    strategy = make(kind, head=head, period=None, plugins=off)
    stream = experiences()
    fit(strategy, stream if kind == "joint" else stream[:1])
    model = strategy.model.eval()
    with torch.no_grad():
        want = model(IMAGES)
        shift = model.whitening(torch.zeros(1, model.backbone.dim))
        factor = model.whitening(torch.eye(model.backbone.dim)) - shift
        folded = LinearHead(model.backbone.dim, N_CLASSES)
        folded.weight.copy_(model.head.weight @ factor.T)
        folded.bias.copy_(model.head.bias + (shift @ model.head.weight.T)[0])
        model.head = folded
        model.whitening = None
        torch.testing.assert_close(model(IMAGES), want, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("replayed", [True, False])
def test_every_update_counts_and_every_stream_batch_is_one_batch(replayed: bool) -> None:
    settings = {"buffer_size": 12, "buffer_batch_size": 4, "train_mb_size": 8, "online_iter": 3}
    strategy = make("er", head=Head(input="whitened", replayed=replayed), **settings)
    stream = experiences("class_incremental")
    shown = noted(strategy, "training_loss", lambda _, batch: len(batch.labels), stream)
    whitening = strategy.model.whitening
    seen = strategy.samples_seen
    assert sum(shown) > 3 * seen
    assert float(whitening.count) == (sum(shown) if replayed else 3 * seen)
    assert whitening.batches == len(shown) / 3


def test_whitening_statistics_include_the_current_batch() -> None:
    strategy = make("linear_probe", head=Head(input="whitened"), online_iter=1)

    def features(output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        return output.features.detach(), strategy.model.backbone(batch.images)

    (read, raw), *_ = noted(strategy, "training_loss", features, experiences()[:1])
    mean = raw.double().mean(dim=0)
    covariance = raw.double().T.cov(correction=0)
    system = covariance + covariance.diagonal().mean() * torch.eye(len(mean))
    values, vectors = torch.linalg.eigh(system)
    want = (raw - mean) @ (vectors * values.rsqrt()) @ vectors.T
    torch.testing.assert_close(read.double(), want, atol=1e-4, rtol=1e-4)


def test_the_temperature_is_given_or_learned() -> None:
    fixed = make("one_prompt", head=Head(kind="cosine", tau=0.2)).model
    assert float(fixed.head.sigma) == pytest.approx(5)
    assert "head.sigma" not in fixed.state_dict()
    learned = make("one_prompt", head=Head(kind="cosine", tau=None))
    assert learned.model.head.sigma.item() == 1
    fit(learned, experiences())
    assert learned.model.head.sigma.item() != 1
    assert learned.model.n_learned == fixed.n_learned + 1


@pytest.mark.parametrize("kind", TABLE)
def test_every_method_but_one_reads_several_blocks(kind: str) -> None:
    if kind == "multi_lane":  # its lanes read slots
        assert "features" not in cls_of(kind).settings()
        return
    strategy = make(kind, features="blocks:2")
    model = strategy.model
    width = model.head.dim if hasattr(model.head, "dim") else model.head.weight.shape[1]
    assert width == model.backbone.feature_dim == 2 * model.backbone.dim
    if kind in ADAPTED:
        return
    with torch.no_grad():
        output = model.eval().run(IMAGES)
    assert output.features.shape == (len(IMAGES), width)
