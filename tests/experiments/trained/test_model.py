"""Models: sums that learn, merge and forget exactly, in any order."""

import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts import Model
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.trained import ledger
from cl_prompts.experiments.trained.arithmetic import Sums
from cl_prompts.experiments.trained.card import Calibration
from cl_prompts.experiments.trained.predicting import UNKNOWN
from tests.experiments.trained.models import CLASSES, blank, images, names, rows, same
from tests.toy_vits import lively_vit

TESTS = images(40, seed=99)
KINDS = ("ncm", "slda", "balanced_ridge", "fecam")


@pytest.mark.parametrize("kind", KINDS)
def test_models_learn_merge_and_forget_exactly(kind: str) -> None:
    seen, called = images(30), names(30)
    called[3:5] = ["emu", "emu"]
    whole = blank(kind).learn(seen, called)
    same(blank(kind).learn(seen[:7], called[:7]).learn(seen[7:], called[7:]), whole, TESTS)
    # The other one has met its classes in another order.
    other = blank(kind, ["cat", "ape", "bee"]).learn(seen[9:], called[9:])
    merged = blank(kind).learn(seen[:9], called[:9]).merge(other)
    assert merged.classes == whole.classes == (*CLASSES, "emu")
    same(merged, whole, TESTS)
    # No other image shows an emu.
    same(whole.forget(seen[:9]), other, TESTS)
    assert whole.classes == tuple(CLASSES)
    merged.forget(class_name="emu").forget(class_name="bee")
    kept = [row for row in range(30) if called[row] in ("ape", "cat")]
    want = blank(kind, ["ape", "cat"]).learn(seen[kept], [called[row] for row in kept])
    same(merged, want, TESTS)


def test_several_labels_are_forgotten_too() -> None:
    seen = images(24)
    called = [["ape", "bee"], ["cat"], [], ["emu", "ape"]] * 6
    model = blank("multi_label_ridge").learn(seen, called)
    model.forget(seen[::4])
    kept = [row for row in range(24) if row % 4]
    # No other image shows a bee.
    want = blank("multi_label_ridge", ["ape", "cat"])
    same(model, want.learn(seen[kept], [called[row] for row in kept]), TESTS)
    with pytest.raises(InputError, match="several classes each: give the images"):
        model.forget(class_name="ape")


def test_a_thousand_operations_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn, forget and merge at random: the model is that of the images that remain."""
    # Calibration, which solves five times, has tests of its own.
    nothing = Calibration(), None
    monkeypatch.setattr(Sums, "calibrated", lambda _: nothing)
    # Pixels in the place of features, since forward passes are the same for all operations.
    monkeypatch.setattr(
        "cl_prompts.experiments.trained.arithmetic.features_of",
        lambda network, items, _: torch.stack(items).flatten(1)[:, : network.backbone.feature_dim],
    )
    seen, draws = images(60), random.Random(1)
    called = names(60, [*CLASSES, "emu"])
    new = partial(blank, "slda", backbone=lively_vit(depth=1))
    model = new().learn(seen[:20], called[:20])
    held = set(range(20))
    for _ in range(1000):
        absent = sorted(set(range(60)) - held)
        if draws.random() < 0.5 and absent:
            some = draws.sample(absent, min(len(absent), draws.randint(1, 4)))
            if draws.random() < 0.8:
                model.learn(seen[some], [called[row] for row in some])
            else:
                model.merge(new().learn(seen[some], [called[row] for row in some]))
            held |= set(some)
        elif len(held) > 20:
            some = draws.sample(sorted(held), draws.randint(1, 4))
            model.forget(seen[some])
            held -= set(some)
    kept = sorted(held)
    same(model, new().learn(seen[kept], [called[row] for row in kept]), TESTS)
    assert len(model.card.history) > 900
    assert model.card.history[-1].images == len(kept) == sum(model.card.per_class)


def test_a_sample_of_features_is_uniform_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, called = images(40), names(40)
    monkeypatch.setattr("cl_prompts.experiments.trained.model.SAMPLED", 10)
    model = blank().learn(seen[:30], called[:30]).learn(seen[30:], called[30:])
    assert rows(model.ledger) == 10
    model.forget(seen[:30])
    assert rows(model.ledger) < 10
    # The features of the others are not stored, so that a class needs its images.
    with pytest.raises(InputError, match="are not stored: give a folder"):
        model.forget(class_name="ape")
    model.forget(seen, class_name="ape")
    assert model.classes == ("bee", "cat")
    kept = blank()
    kept.card.keep_features = True
    kept.learn(seen, called).forget(class_name="ape")
    assert rows(kept.ledger) == len(kept.ledger) == 26
    assert ledger.SAMPLED == 2000


def test_the_same_images_are_learned_once_and_forgotten_once() -> None:
    seen, called = images(12), names(12)
    model = blank().learn(seen, called)
    before = model.card.model_dump()
    more = blank().learn(torch.cat([seen, images(1, 7)]), [*called, "ape"])
    twice = images(1, 5).expand(2, -1, -1, -1)
    for says, action in (
        ("2 of 2 images were learned before", lambda: model.learn(seen[:2], called[:2])),
        ("is a copy of image 0", lambda: model.learn(twice, ["ape", "ape"])),
        ("forget them in one of the models", lambda: model.merge(model)),
        ("12 of 13 images were learned before", lambda: model.merge(more)),
        ("2 of 2 images were never learned by", lambda: model.forget(images(2, seed=3))),
        ("no image would remain", lambda: model.forget(seen)),
        ("give images to forget, or a class", model.forget),
        ("unknown class 'bea': did you mean 'bee'", lambda: model.forget(class_name="bea")),
        ("there are 2 images and 1 labels", lambda: model.learn(images(2, 1), ["ape"])),
        ("exactly one label per image", lambda: model.learn(images(1, 1), [["ape", "bee"]])),
        (
            "names 'ape' and 'Ape' of this model differ only",
            lambda: model.learn(images(1, 1), ["Ape"]),
        ),
    ):
        with pytest.raises(InputError, match=says):
            action()
    assert model.card.model_dump() == before
    model.forget(seen[:2])
    with pytest.raises(InputError, match="never learned by this model, or are forgotten already"):
        model.forget(seen[:2])


def test_methods_and_tensors_that_do_not_fit_are_refused() -> None:
    held = blank("rda").learn(images(30), names(30))
    model, other = (blank(k).learn(images(6, s), names(6)) for k, s in (("ncm", 0), ("slda", 2)))
    single: Any = [torch.zeros(3, 16, 16)]
    for says, action in (
        (r"mvp learns by gradients\. Train it", lambda: blank("mvp").learn(TESTS, names(40))),
        ("method is 'ncm' in one model", lambda: model.merge(other)),
        ("images cannot be taken out of ske", lambda: held.forget(images(30)[:2])),
        ("floats in", lambda: model.predict(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))),
        ("the backbone takes RGB images", lambda: model.predict(torch.zeros(1, 3, 32, 32))),
        ("or one tensor", lambda: model.predict(single)),
    ):
        with pytest.raises(InputError, match=says):
            action()
    assert model.predict(torch.zeros(0, 3, 16, 16)).labels == ()


def test_scores_are_probabilities_calibrated_on_predictions_in_five_parts() -> None:
    seen, called = images(60), names(60)
    model = blank("balanced_ridge").learn(seen, called)
    card = model.card
    # The order of learning does not matter.
    other = blank("balanced_ridge").learn(seen[30:], called[30:])
    other.learn(seen[:30], called[:30])
    sure = other.card.calibration.confidence
    assert sure == pytest.approx(card.calibration.confidence, abs=1e-4)
    assert (card.accuracy.images, card.accuracy.how) == (60, "leave-one-out")
    assert len(card.calibration.confidence) == 60
    found = model.predict(TESTS)
    assert found.scores.sum(dim=1) == pytest.approx([1.0] * 40)
    assert int(model.assessment.confusion.sum()) == 60


@pytest.mark.parametrize("kind", ["ncm", "rda"])
def test_no_known_image_has_a_lower_probability_than_an_unknown_one(kind: str) -> None:
    steps = torch.linspace(0, 1, 3)[torch.arange(90) % 3]
    seen = (images(90) / 5 + steps[:, None, None, None] * 0.8).clamp(0, 1)
    model = blank(kind).learn(seen[:60], names(60))
    assert model.card.calibration.temperature is not None
    found = model.predict(seen[60:], unknown=0.2)
    low = torch.tensor([label == UNKNOWN for label in found.labels])
    assert 0 < int(low.sum()) < 30
    sure = found.scores.amax(dim=1)
    assert float(sure[low].max()) <= float(sure[~low].min())
    with pytest.raises(InputError, match="too few for less than 1 in 61"):
        model.predict(TESTS, unknown=1e-6)


def test_files_are_read_with_their_labels(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(RunError, match=r"b\.png cannot be read"):
        blank().predict([tmp_path / "b.png"])


def test_a_model_whose_replacement_was_killed_is_restored(mvp_run: Path, tmp_path: Path) -> None:
    shutil.copytree(mvp_run / "model", tmp_path / ".digits.old")  # between the two renames
    assert Model.load(tmp_path / "digits", device="cpu").classes == ("0", "1", "2", "3")
    assert not (tmp_path / ".digits.old").exists()
