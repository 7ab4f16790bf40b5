"""Finished runs taken up again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.utils import save_image

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments import load_run
from cl_prompts.experiments.trained.loading import TrainedRun
from cl_prompts.experiments.trained.predicting import UNKNOWN
from tests.experiments.commands import run, summary
from tests.experiments.fake_runs import fake_run
from tests.few_images import few_images

OWN = "tests.experiments.own_parts"


@pytest.fixture(scope="module")
def trained(mvp_run: Path) -> TrainedRun:
    return load_run(mvp_run, device="cpu")


def test_it_scores_as_the_run_did(trained: TrainedRun, mvp_run: Path) -> None:
    recorded = summary(mvp_run)["results"]["a_last"]
    assert trained.evaluate() == pytest.approx(recorded, abs=1e-9)
    data = trained.data()
    images = torch.stack([data.test[row][0] for row in range(len(data.test))])
    labels = [trained.classes[label] for label in data.test.targets]
    found = trained.predict(images, batch_size=7).labels
    right = sum(name == label for (name,), label in zip(found, labels, strict=True))
    assert right / len(labels) == pytest.approx(recorded, abs=1e-9)


def test_another_test_set_is_not_scored(trained: TrainedRun) -> None:
    fewer = replace(trained.settings, dataset={**trained.settings.dataset, "classes": 3})
    with pytest.raises(InputError, match=r"the test set of the run in .* test images, and had"):
        replace(trained, settings=fewer).evaluate()


def test_scores_are_probabilities_in_the_order_of_the_classes(trained: TrainedRun) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = trained.predict(images)
    assert found.classes == trained.classes == ("0", "1", "2", "3")
    assert found.scores.sum(dim=1) == pytest.approx([1, 1, 1])
    for row in range(3):
        (name, score), *others = found.best(row, 2)
        assert found.labels[row] == (name,)
        assert score == float(found.scores[row].max()) >= others[0][1]


def test_images_of_low_confidence_are_unknown(trained: TrainedRun) -> None:
    test = trained.data().test
    images = torch.stack([test[row][0] for row in range(len(test))])
    plain = trained.predict(images)
    found = trained.predict(images, unknown=0.1)
    assert torch.equal(found.scores, plain.scores)
    low = [label == (UNKNOWN,) for label in found.labels]
    pairs = zip(found.labels, plain.labels, low, strict=True)
    assert all(label == before for label, before, is_low in pairs if not is_low)
    # Those below the threshold that these images themselves have set, and no other.
    assert sum(low) == pytest.approx(0.1 * len(low), abs=1.5)
    more = trained.predict(images, unknown=0.5).labels
    assert sum(label == (UNKNOWN,) for label in more) > 4 * sum(low)


@pytest.mark.parametrize("strategy", ["ncm", "mvp"])
def test_no_known_image_has_a_lower_probability_than_an_unknown_one(
    strategy: str, tmp_path: Path
) -> None:
    with few_images():
        _, (folder,) = run(tmp_path, "digits", f"strategy={strategy}", "seed=1", "online_iter=1")
        trained = load_run(folder, device="cpu")
        test = trained.data().test
    images = torch.stack([test[row][0] for row in range(len(test))])
    found = trained.predict(images, unknown=0.3)
    assert found.calibrated == (strategy == "ncm")
    low = torch.tensor([label == (UNKNOWN,) for label in found.labels])
    assert int(low.sum()) == pytest.approx(0.3 * len(test), abs=1.5)
    best = found.scores.amax(dim=1)
    assert best[low].max() <= best[~low].min()


def test_no_threshold_is_refused_by_a_sentence(
    trained: TrainedRun, mvp_run: Path, tmp_path: Path
) -> None:
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match="too few for less than 1 in"):
        trained.predict(image, unknown=1e-6)
    with pytest.raises(InputError, match="unknown is 1: it must be the share"):
        trained.predict(image, unknown=1)
    named = replace(trained, classes=(UNKNOWN, *trained.classes[1:]))
    with pytest.raises(InputError, match="a class of this run is called 'unknown'"):
        named.predict(image, unknown=0.1)


def test_files_become_what_test_images_became(trained: TrainedRun, tmp_path: Path) -> None:
    image = trained.data().test[0][0]
    save_image(image, tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), [tmp_path / "a.png"]):
        assert torch.allclose(trained.predict(given).scores, trained.predict(image[None]).scores)
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(RunError, match=r"b\.png cannot be read"):
        trained.predict([tmp_path / "b.png"])
    assert trained.predict([]).labels == ()


def test_tensors_that_are_no_images_are_refused(trained: TrainedRun) -> None:
    with pytest.raises(InputError, match="floats in"):
        trained.predict(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(InputError, match="the backbone takes RGB images"):
        trained.predict(torch.zeros(1, 3, 32, 32))
    with pytest.raises(InputError, match="by their paths, or one tensor"):
        trained.predict([torch.zeros(3, 16, 16)])
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1, not 0"):
        trained.predict(torch.zeros(1, 3, 16, 16), batch_size=0)
    assert trained.predict(torch.zeros(0, 3, 16, 16)).labels == ()


def test_loading_draws_no_random_numbers(mvp_run: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_run(mvp_run, device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_strategy_draws_where_it_is_made_is_drawn_again(tmp_path: Path) -> None:
    with few_images():
        code, (folder,) = run(tmp_path, "digits", f"strategy={OWN}:Signed", "seed=1")
        assert code == 0
        before = np.random.get_state()[1].tolist()
        trained = load_run(folder, device="cpu", trust_code=True)
        assert np.random.get_state()[1].tolist() == before
        assert trained.evaluate() == pytest.approx(summary(folder)["results"]["a_last"], abs=1e-6)


@pytest.mark.parametrize(
    ("recipe", "settings", "key"),
    [
        ("digits", ["strategy=coda_prompt", "scenario=class_incremental", "n_tasks=2"], "a_last"),
        ("digit_scenes", ["strategy=multi_label_ridge", "protocol=B0-C5"], "map_last"),
        ("digit_scenes", ["strategy=linear_probe", "protocol=B0-C5", "train_epochs=1"], "map_last"),
    ],
)
def test_announced_tasks_and_several_labels(
    recipe: str, settings: list[str], key: str, tmp_path: Path
) -> None:
    with few_images():
        code, (folder,) = run(tmp_path, recipe, *settings, "seed=1", "online_iter=1")
        assert code == 0
        trained = load_run(folder, device="cpu")
        assert trained.evaluate() == pytest.approx(summary(folder)["results"][key], abs=1e-6)
        test = trained.data().test
    images = torch.stack([test[row][0] for row in range(20)])
    found = trained.predict(images)
    above = trained.strategy.model.score_threshold
    for labels, scores in zip(found.labels, found.scores, strict=True):
        if key == "map_last":
            assert len(labels) == int((scores > (0.5 if above is None else above)).sum())
        values = [float(scores[found.classes.index(label)]) for label in labels]
        assert values == sorted(values, reverse=True)
    low = trained.predict(images, unknown=0.5).labels
    assert {label for label, own in zip(low, found.labels, strict=True) if label != own} == {
        (UNKNOWN,)
    }


def test_runs_on_user_data_predict_tensors_only(tmp_path: Path) -> None:
    own: list[Any] = [f"dataset={OWN}:stripes", f"scenario={OWN}:halves", "strategy=ncm", "seed=1"]
    code, (folder,) = run(tmp_path, "digits", *own, "per_class=5", "normalisation=dataset")
    assert code == 0
    with pytest.raises(InputError, match=f"it names code and would import {OWN}"):
        load_run(folder, device="cpu")
    trained = load_run(folder, device="cpu", trust_code=True)
    with pytest.raises(InputError, match="is not known: give predict a tensor"):
        trained.predict(["a.png"])
    assert trained.evaluate() == pytest.approx(summary(folder)["results"]["a_last"], abs=1e-9)


def test_what_is_no_finished_run_is_refused(runs_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds 9 runs: name the folder of one"):
        load_run(runs_folder)
    with pytest.raises(InputError, match="is failed: finish it with cl-prompts run --resume"):
        load_run(fake_run(tmp_path, "mvp", status="failed"))
