"""A model in Python: images and labels as users have them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cl_prompts
from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.predicting import Predictions
from tests.experiments.trained.models import blank, images, names, same


def arrays(n: int, seed: int = 0) -> list[np.ndarray]:
    """Pixels (20, 24, 3), of which no two are equal."""
    return [*np.random.default_rng(seed).integers(0, 256, (n, 20, 24, 3), dtype=np.uint8)]


def test_one_class_stands_for_all_images_and_integers_name_classes() -> None:
    model = blank(classes=["cat", "3"]).learn(images(4), "cat")
    assert model.card.per_class == [4, 0]
    model.learn(images(2, 1), 3).learn(images(3, 2), np.array([3, 3, 7]))
    assert model.classes == ("cat", "3", "7")
    assert model.card.per_class == [4, 4, 1]
    wrong: Any
    for wrong in (1.5, [True], [None], [["cat", "3"]]):
        with pytest.raises((InputError, TypeError)):
            model.learn(images(1, 3), wrong)
    with pytest.raises(InputError, match="one for each image, or one class for all"):
        model.learn(images(3, 4), ["cat", "3"])
    several = blank("multi_label_ridge").learn(images(3), [["ape", "bee"], ["cat"], []])
    several.learn(images(2, 1), "ape")
    assert several.card.per_class == [3, 1, 1]


def test_files_pil_images_and_arrays_are_one_image_each(tmp_path: Path) -> None:
    pixels = arrays(6)
    files = [tmp_path / f"{number}.png" for number in range(6)]
    pil = [Image.fromarray(one) for one in pixels]
    for image, file in zip(pil, files, strict=True):
        image.save(file)
    called = names(6)
    by_file = blank().learn(files, called)
    by_pil, by_array = blank().learn(pil, called), blank().learn(np.stack(pixels), called)
    mixed: Any = [files[0], str(files[1]), pil[2], pixels[3]]
    mixed = blank().learn(mixed, called[:4]).learn(pixels[4], called[4]).learn(pil[5], called[5])
    same(by_pil, by_array, files)
    for model in (by_pil, by_array, mixed):
        found = model.predict(pixels).scores
        torch.testing.assert_close(found, by_file.predict(files).scores, atol=1e-5, rtol=1e-5)
    one = [by_file.predict(x).label for x in (files[0], str(files[0]), pil[0], pixels[0])]
    assert one == [by_file.predict(files).labels[0]] * 4
    # Learned pixels are found in either form, and the rest is as if they had not been learned.
    same(by_pil.forget(pixels[:2]), blank().learn(pil[2:], called[2:]), files)
    same(by_array.forget(pil[5]), blank().learn(pixels[:5], called[:5]), files)
    with pytest.raises(InputError, match="never learned"):
        by_array.forget(pixels[5])
    with pytest.raises(InputError, match="learned before"):
        by_array.learn(pil[0], "ape")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\): give uint8 \(h, w, 3\)"),
        ([np.zeros((4, 4), np.uint8)], r"uint8 \(4, 4\): give uint8"),
        ([np.zeros((3, 4, 4), np.uint8)], "give uint8"),
        (Image.new("F", (4, 4)), "PIL image cannot be used: its grey levels"),
        ([np.zeros((2, 2, 4), np.uint8)], r"uint8 \(2, 2, 4\)"),
        ([1.5], "images are paths, PIL images, arrays"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "floats in"),
    ],
)
def test_other_images_are_refused(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        blank().predict(given)


def test_messages_are_in_the_words_of_python() -> None:
    model = blank().learn(images(6), names(6))
    for action in (model.forget, lambda: model.learn(arrays(2))):
        with pytest.raises(InputError) as error:
            action()
        assert "--" not in str(error.value)


def test_a_single_label_is_a_string_and_several_are_a_tuple() -> None:
    model = blank().learn(images(30), names(30))
    found = model.predict(images(4, 1))
    assert all(isinstance(one, str) for one in found.labels)
    assert len(found.labels) == 4
    with pytest.raises(InputError, match="there are 4 images"):
        _ = found.label
    several = blank("multi_label_ridge").learn(images(3), [["ape", "bee"], ["cat"], ["bee"]])
    assert all(isinstance(one, tuple) for one in several.predict(images(4, 1)).labels)
    assert Predictions(("a",), torch.ones(1, 1), ("a",)).label == "a"


def test_the_package_shows_its_public_names_and_a_model_its_content() -> None:
    assert dir(cl_prompts) == sorted(cl_prompts.__all__)
    model = blank().learn(images(30), names(30))
    value = f"{100 * model.card.accuracy.value:.1f}"
    assert repr(model) == f"Model(ncm, 3 classes, 30 images, {value} %)"
    assert repr(blank()) == "Model(ncm, 3 classes)"
