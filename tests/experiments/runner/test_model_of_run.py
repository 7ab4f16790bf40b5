"""The model of a finished run predicts as the run did."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts import Model
from cl_prompts.errors import InputError
from cl_prompts.metrics.multi_label import average_precision
from tests.experiments.commands import held_out, summary
from tests.experiments.own_photos import photo
from tests.few_images import few_images


@pytest.mark.parametrize("name", ["mvp_run", "probe_run"])
def test_a_model_predicts_as_its_run_did(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of images of one label, also of a data set of one's own, whose transform is not known."""
    folder = request.getfixturevalue(name)
    images, labels = held_out(folder)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    model = Model.load(folder, device="cpu", trust_code=True)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    found = model.predict(images).labels
    right = [own == model.classes[label] for own, label in zip(found, labels, strict=True)]
    wanted = summary(folder)["results"]["a_last"]
    assert sum(right) / len(right) == pytest.approx(wanted)
    assert (model.card.accuracy.value, model.card.accuracy.images) == (wanted, len(right))
    if name == "probe_run":
        with pytest.raises(InputError, match="is not known: give a tensor of images"):
            model.predict([photo(tmp_path / "1.png", 1)])


def test_a_model_of_several_labels_predicts_as_its_run_did(scenes_run: Path) -> None:
    with few_images():
        images, targets = held_out(scenes_run)
    scores = Model.load(scenes_run, device="cpu").predict(images).scores
    found = float(average_precision(scores, torch.as_tensor(targets)).nanmean())
    assert found == pytest.approx(summary(scenes_run)["results"]["map_last"])
