"""Head, head input and competing classes: one set of settings for every method."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.models.heads import CosineHead, linear_head
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies import strategy_class
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.head_settings import HEAD_SETTINGS, HeadSettings
from tests.toy_data import N_CLASSES, Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import ADAPTED, PROTOTYPES, TABLE, cls_of, fit, make, same, watch, weights

IMAGES = Blobs(12, seed=7).images
WITHOUT = (*PROTOTYPES, *ADAPTED, "multi_lane")
HEADED = [kind for kind in TABLE if kind not in WITHOUT]
NONE = torch.zeros(0, dtype=torch.int64)


def some_batch(strategy: Any, labels: list[int]) -> Batch:
    """A batch of the stream with these labels."""
    columns = [Blobs(len(labels), seed=5).images, torch.tensor(labels)]
    return Batch(columns, strategy.annotated, NONE)


def test_the_names_of_the_settings_are_complete() -> None:
    assert set(HeadSettings.settings()) == {*HEAD_SETTINGS, "class_mask"}


@pytest.mark.parametrize("kind", TABLE)
def test_methods_with_one_trained_head_have_them(kind: str) -> None:
    found = set(HEAD_SETTINGS) & set(cls_of(kind).settings())
    assert found == (set() if kind in WITHOUT else set(HEAD_SETTINGS))


@pytest.mark.parametrize("kind", HEADED)
@pytest.mark.parametrize("head_input", ["centred", "standardised", "whitened"])
def test_a_linear_head_on_raw_features_would_say_the_same(kind: str, head_input: str) -> None:
    settings = {"head": "linear", "head_input": head_input, "period": None, "slow_heads": ()}
    stream = experiences()
    strategy = fit(make(kind, **settings), stream if kind == "joint" else stream[:1])
    model = strategy.model.eval()
    with torch.no_grad():
        want = model(IMAGES)
        shift = model.whitening(torch.zeros(1, model.backbone.dim))
        factor = model.whitening(torch.eye(model.backbone.dim)) - shift
        folded = linear_head(model.backbone.dim, N_CLASSES)
        folded.weight.copy_(model.head.weight @ factor.T)
        folded.bias.copy_(model.head.bias + (shift @ model.head.weight.T)[0])
        model.set_head(folded)
        model.whitening = None
        torch.testing.assert_close(model(IMAGES), want, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("replayed", [True, False])
def test_every_update_counts_and_every_stream_batch_is_one_batch(replayed: bool) -> None:
    settings = {"buffer_size": 12, "buffer_batch_size": 4, "train_mb_size": 8, "online_iter": 3}
    strategy = make("er", head_input="whitened", whitening_replayed=replayed, **settings)
    shown: list[int] = []
    watch(strategy, "training_loss", lambda _, batch: shown.append(len(batch.labels)))
    fit(strategy, experiences("class_incremental"))
    whitening, seen = strategy.model.whitening, strategy.samples_seen
    assert sum(shown) > 3 * seen
    assert float(whitening.count) == (sum(shown) if replayed else 3 * seen)
    assert whitening.batches == len(shown) / 3


def test_the_batch_at_hand_is_in_the_statistics_that_transform_it() -> None:
    strategy = make("linear_probe", head_input="whitened", online_iter=1)
    found: list[tuple[Tensor, Tensor]] = []

    def note(output: Any, batch: Batch) -> None:
        found.append((output.features.detach(), strategy.model.backbone(batch.images)))

    watch(strategy, "training_loss", note)
    fit(strategy, experiences()[:1])
    read, raw = found[0]
    mean, covariance = raw.double().mean(dim=0), raw.double().T.cov(correction=0)
    system = covariance + covariance.diagonal().mean() * torch.eye(len(mean))
    values, vectors = torch.linalg.eigh(system)
    want = (raw - mean) @ (vectors * values.rsqrt()) @ vectors.T
    torch.testing.assert_close(read.double(), want, atol=1e-4, rtol=1e-4)


def test_statistics_change_training_alone_where_they_are_asked_for() -> None:
    plain, raw = make("one_prompt"), make("one_prompt", head_input="raw", tau=0.5)
    assert same(weights(fit(plain, experiences())), weights(fit(raw, experiences())))
    assert plain.model.whitening is None


def test_the_temperature_is_given_or_learned() -> None:
    fixed = make("one_prompt", head="cosine", tau=0.2).model
    assert isinstance(fixed.head, CosineHead)
    assert float(fixed.head.sigma) == pytest.approx(5)
    learned = fit(make("one_prompt", head="cosine", tau=None), experiences())
    assert learned.model.head.sigma.item() != 1
    assert learned.model.n_learned == fixed.n_learned + 1


@pytest.mark.parametrize("kind", ["linear_probe", "mvp"])
def test_slow_heads_decide_in_evaluation_and_train_nothing(kind: str) -> None:
    plain, slow = make(kind), make(kind, slow_heads=(0.5, 0.9))
    for strategy in (plain, slow):
        fit(strategy, experiences())
    learned = {name: v for name, v in weights(slow).items() if not name.startswith("slow.")}
    assert same(weights(plain), learned)
    with torch.no_grad():
        heads = [plain.model.eval()(IMAGES)]
        for j in range(2):
            for name in ("weight", "bias"):
                average = slow.model.slow.get_buffer(f"slow_{name}")[0, j]
                getattr(plain.model.head, name).copy_(average)
            heads.append(plain.model(IMAGES))
        want = torch.stack(heads).softmax(dim=-1).amax(dim=0)
        assert not torch.allclose(want, heads[0].softmax(dim=-1), atol=1e-3)
        torch.testing.assert_close(slow.model.eval()(IMAGES).exp(), want)


def test_a_given_model_brings_its_own() -> None:
    model = PromptedViT(tiny_vit(), N_CLASSES, head=CosineHead(16, N_CLASSES))
    assert make("linear_probe", model=model).model is model
    for name, value in (("head", "cosine"), ("head_input", "centred"), ("slow_heads", (0.5,))):
        with pytest.raises(InputError, match=f"{name} says how a model is built"):
            make("linear_probe", model=model, **{name: value})


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("mvp", {"head": "cosine"}, "head=cosine of MVP needs use_afs=False and use_gsf=False"),
        (
            "clib",
            {"head_input": "whitened", "whitening_replayed": False},
            "CLIB trains on replayed samples alone",
        ),
        ("ncm", {"head_input": "whitened"}, "unknown setting of NCM 'head_input'"),
        ("linear_probe", {"head_input": "white"}, "unknown head_input 'white': did you mean"),
        ("linear_probe", {"ensemble": "max"}, "unknown ensemble 'max': did you mean"),
        ("multi_lane", {"slow_heads": (0.9,)}, "unknown setting of MultiLane 'slow_heads'"),
        (
            "linear_probe",
            {"slow_heads": (0.9,), "multi_label": True},
            "slow_heads decide by the probabilities of a softmax",
        ),
        ("linear_probe", {"tau": 0.0}, "tau is 0.0: it must be positive"),
    ],
)
def test_what_has_no_meaning_is_refused(kind: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(kind, **changes)
    assert make("mvp", head="cosine", use_afs=False, use_gsf=False).model.head.bias is None


# ------------------------------------------------------------------------- class_mask="batch"


@pytest.mark.parametrize(
    "kind", [kind for kind in TABLE if kind not in (*PROTOTYPES, "multi_lane", "joint")]
)
def test_rows_of_classes_outside_the_batch_do_not_move(kind: str) -> None:
    settings = {"class_mask": "batch", "weight_decay": 0.0, "reg_coef": 0.0}
    known = {name: value for name, value in settings.items() if name in cls_of(kind).settings()}
    strategy = make(kind, buffer_size=1, **known) if kind == "clib" else make(kind, **known)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    before = strategy.model.head.weight.detach().clone()
    strategy.model.zero_grad()
    batch = some_batch(strategy, [0, 2, 2, 5])
    strategy.training_loss(strategy.training_output(batch), batch).backward()
    strategy.optimizer.step()
    moved = (strategy.model.head.weight != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False, False, True]


def test_a_batch_of_one_class_changes_nothing_and_is_counted() -> None:
    strategy = make("one_prompt", class_mask="batch", online_iter=1)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    fit(strategy, experiences()[:1])
    strategy.optimizer.state.clear()
    before, count = weights(strategy), int(strategy.single_class_batches)
    strategy.replay.buffer.size = 0
    batch = some_batch(strategy, [3, 3, 3])
    strategy.model.zero_grad()
    loss = strategy.training_loss(strategy.training_output(batch), batch)
    loss.backward()
    strategy.optimizer.step()
    assert loss.item() == 0
    assert same(before, weights(strategy))
    one, *_ = experiences("class_incremental", train=6)  # 2 images, of 2 classes
    strategy.train_mb_size = 1
    fit(strategy, [one])
    assert int(strategy.single_class_batches) == count + len(one.dataset)
    resumed = make("one_prompt", class_mask="batch", online_iter=1)
    resumed.load_state_dict(strategy.state_dict())
    assert int(resumed.single_class_batches) == int(strategy.single_class_batches)


def test_it_is_the_task_mask_where_the_batch_is_the_task() -> None:
    losses = []
    for mask in ("batch", "current"):
        strategy = make("dual_prompt", "class_incremental", class_mask=mask)
        fit(strategy, experiences("class_incremental")[:1])
        labels = strategy.annotated.nonzero().flatten().tolist() * 2
        batch = some_batch(strategy, labels)
        logits = torch.randn(4, N_CLASSES, generator=torch.Generator().manual_seed(1))
        losses.append(strategy.label_loss(logits, batch))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("kind", ["er", "derpp"])
def test_replayed_labels_compete(kind: str) -> None:
    strategy = make(kind, class_mask="batch", online_iter=1)
    strategy.model.observe_classes(torch.arange(N_CLASSES))
    labels = torch.tensor([0, 1, 0, 1, 2, 2, 3, 3])
    images = Blobs(8, seed=5).images
    batch = Batch([images, labels], strategy.annotated, torch.tensor([0, 1, 2, 3]))
    output = strategy.training_output(batch)
    strategy.model.zero_grad()
    strategy.label_loss(output.logits[:4], batch.part(slice(4)), whole=batch).backward()
    moved = (strategy.model.head.weight.grad != 0).any(dim=1)
    assert moved.tolist() == [True] * 4 + [False] * 2


def test_lanes_let_the_classes_of_the_batch_compete() -> None:
    strategy = make("multi_lane", class_mask="batch")
    strategy.observe_classes(torch.tensor([0, 1, 2]))
    strategy.samples_seen = 1000
    strategy.observe_classes(torch.tensor([3, 4, 5]))
    for labels, want in (([3, 5, 0], [3, 5]), ([0, 1, 0], [])):
        batch = some_batch(strategy, labels)
        strategy.model.zero_grad()
        loss = strategy.training_loss(strategy.training_output(batch), batch)
        loss.backward()
        assert loss.isfinite()
        assert (loss.item() > 0) == bool(want)
        grads = [head.weight.grad for head in strategy.model.lanes.lane(1).heads]
        moved = torch.cat(grads).any(dim=1).tolist()
        assert moved == [c in want for c in (3, 4, 5)]


def test_small_batches_are_warned_of_once() -> None:
    with pytest.warns(UserWarning, match="train_mb_size=7: a batch of one class") as caught:
        make("one_prompt", class_mask="batch", train_mb_size=7)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("one_prompt", class_mask="batch", train_mb_size=8)
        make("one_prompt", class_mask="seen", train_mb_size=7)


def test_several_classes_per_image_have_no_batch_mask() -> None:
    says = "class_mask=batch chooses the classes of a softmax"
    with pytest.raises(InputError, match=says):
        make("one_prompt", "mlcil", class_mask="batch")
    model = PromptedViT(tiny_vit(), N_CLASSES, multi_label=True)
    with pytest.raises(InputError, match=says):
        strategy_class("linear_probe")(model=model, class_mask="batch", evaluator=None)
