"""Prequential accuracy: what is counted, by which state, and that training does not change."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import BaseSGDPlugin

from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.datasets.collate import viewing
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies import AnytimeEvaluation
from cl_prompts.strategies.evaluation import prequential
from cl_prompts.strategies.plugins.budget import Budget
from tests.families.test_resume import as_file, resumed, stopped_after
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, same, weights

#: of a stream, in two batches of each of its tasks
IMAGES = 36
#: one of each statistic, with a solution and without
CLOSED_FORMS = ("ncm", "slda", "ranpac", "recommended", "gacl", "klda", "anacp", "fecam", "rda")


def solves(head: PrototypeClassifier) -> bool:
    """Whether scores need a solution that updates make outdated."""
    return any(getattr(part, "derived", ()) for part in head.modules())


class Oracle(BaseSGDPlugin):
    """Copies the whole model, and predicts each image of the stream with the copy."""

    def __init__(self, anytime: AnytimeEvaluation) -> None:
        super().__init__()
        self.anytime = anytime
        self.copy: Any = None
        self.right: list[bool] = []
        self.labels: list[int] = []
        anytime.listeners.append(lambda *_: self.keep())

    def keep(self) -> None:
        strategy = self.anytime._strategy
        if isinstance(strategy.model, PrototypeViT):
            self.copy = deepcopy(strategy.model).eval()

    def arrival_of_stream_batch(self, strategy: Any, stream: Any, skipped: bool) -> None:
        model, budget = strategy.model, strategy.budget
        if not isinstance(model, PrototypeViT) or budget is not None or not solves(model.head):
            served = None if budget is None else budget.served
            self.copy = deepcopy(served or model).eval()
        with torch.no_grad():
            logits = None if self.copy is None else self.copy(stream.first.images)
        for row, label in enumerate(stream.first.labels.tolist()):
            known = logits is not None and bool(logits[row].isfinite().any())
            self.right.append(known and int(logits[row].argmax()) == label)
            self.labels.append(label)


def predicting(kind: str, wanted: bool | None, budget: float | None = None) -> tuple[Any, ...]:
    anytime = AnytimeEvaluation(Blobs(24, seed=2), n_classes=6, every=12, prequential=wanted)
    oracle = Oracle(anytime)
    # The oracle first, since arriving batches must find the model unchanged.
    plugins = [oracle, anytime, *([] if budget is None else [Budget(passes=budget)])]
    settings = {"train_mb_size": 8, "online_iter": 1}
    return make(kind, plugins=plugins, **settings), anytime, oracle


def noted(function: Any, calls: list[Any]) -> Any:

    def call(*given: Any, **named: Any) -> Any:
        calls.append(function)
        return function(*given, **named)

    return call


@pytest.mark.parametrize("kind", ["mvp", "er", "clib", "linear_probe", "fine_tuning"])
def test_images_are_predicted_by_the_state_before_they_are_trained_on(kind: str) -> None:
    strategy, anytime, oracle = predicting(kind, True)
    fit(strategy, experiences("si_blurry", train=IMAGES))
    found = anytime.results
    assert len(oracle.right) == IMAGES
    assert found["prequential"] == found["prequential_500"] == np.mean(oracle.right)
    labels = np.array(oracle.labels)
    assert found["last_label"] == np.sum(labels[1:] == labels[:-1]) / IMAGES
    assert anytime.prequential.images == IMAGES
    other, silent, _ = predicting(kind, None)
    fit(other, experiences("si_blurry", train=IMAGES))
    assert "prequential" not in silent.results
    assert same(weights(strategy), weights(other))


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_closed_forms_predict_without_a_pass_or_a_solution(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole model that was copied at the last evaluation predicts the same."""
    solved: list[Any] = []
    for name in ("cholesky_ex", "eigh", "pinv"):
        monkeypatch.setattr(torch.linalg, name, noted(getattr(torch.linalg, name), solved))
    strategy, anytime, oracle = predicting(kind, None)
    fit(strategy, experiences("si_blurry", train=IMAGES))
    assert anytime.results["prequential"] == pytest.approx(np.mean(oracle.right))
    assert anytime.results["prequential"] > 0
    assert anytime.prequential.images == 0
    n_solved, n_passes = len(solved), strategy.model.backbone.counter.images
    solved.clear()
    other, *_ = predicting(kind, False)
    fit(other, experiences("si_blurry", train=IMAGES))
    assert len(solved) == n_solved
    assert other.model.backbone.counter.images == n_passes
    assert same(weights(strategy), weights(other))


@pytest.mark.parametrize("kind", ["mvp", "recommended", "ncm", "clib"])
def test_with_a_budget_the_served_state_predicts_skipped_batches_too(kind: str) -> None:
    strategy, anytime, oracle = predicting(kind, True, budget=0.5)
    fit(strategy, experiences("si_blurry", train=IMAGES))
    assert 0 < strategy.budget.trained < IMAGES
    assert len(oracle.right) == IMAGES
    assert anytime.results["prequential"] == pytest.approx(np.mean(oracle.right))
    other, *_ = predicting(kind, False, budget=0.5)
    fit(other, experiences("si_blurry", train=IMAGES))
    assert same(weights(strategy), weights(other))
    assert strategy.loop.cost.macs == other.loop.cost.macs
    closed_form = isinstance(strategy.model, PrototypeViT)
    assert anytime.prequential.images == IMAGES - closed_form * strategy.budget.trained


@pytest.mark.parametrize("kind", ["mvp", "recommended", "klda", "fecam", "anacp"])
def test_a_resumed_run_counts_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prequential, "RECENT", 20)
    whole, anytime, oracle = predicting(kind, True)
    fit(whole, experiences("si_blurry", train=IMAGES))
    assert anytime.results["prequential_500"] == pytest.approx(np.mean(oracle.right[-20:]))
    for batches in (2, 5):
        stream = experiences("si_blurry", train=IMAGES)
        state = stopped_after(predicting(kind, True)[0], stream, batches)
        second, again, _ = predicting(kind, True)
        resumed(second, state, stream)
        assert again.results == anytime.results
        assert again.prequential.macs == anytime.prequential.macs


def test_a_closed_form_that_grew_predicts_on_with_its_last_solution() -> None:
    stream = experiences("class_incremental")
    settings = {"n_classes": 2, "train_mb_size": 4}
    anytime = AnytimeEvaluation(Blobs(24, seed=2), n_classes=6, every=4)
    strategy = fit(make("fecam", plugins=[anytime], **settings), stream[:1])
    state = as_file(strategy.state_dict())
    again = AnytimeEvaluation(Blobs(24, seed=2), n_classes=6, every=4)
    second = make("fecam", plugins=[again], **settings)
    second.load_state_dict(state, stream[:1])
    for one in (strategy, second):
        one.grow(4)
        fit(one, stream[1:])
    assert again.results == anytime.results


@pytest.mark.parametrize("kind", ["joint", "joint_probe", "multi_label_ridge"])
def test_whole_streams_and_several_labels_have_none(kind: str) -> None:
    scenario = "si_blurry_multi_label" if kind == "multi_label_ridge" else "si_blurry"
    strategy = make(kind, scenario)
    arriving = prequential.Prequential(True)
    assert not arriving._predicts(strategy)
    arriving.evaluated(strategy)
    assert arriving.results == {}


def test_images_without_the_key_of_a_view_have_no_augmentation() -> None:
    data = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), lambda x: x + 1, fixed=lambda x: x)
    assert float(data[0][0].sum()) > 0
    with viewing():
        assert float(data[0][0].sum()) == 0
