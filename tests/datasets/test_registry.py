"""``load_dataset``: arguments, options, crops and cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cl_prompts
from cl_prompts.datasets import DataSet, ImageSet, as_dataset, dataset_options, find_dataset
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.registry import augmentation_of, dataset_of_function
from tests.datasets.toys import load, refusal, write_csv


def write_wide(root: Path) -> Path:
    """Images of 400 x 300 pixels whose outer ninths are bright."""
    root = write_csv(root, train=["a.png,cat;dog;eel"], test="images/b.png,cat;dog;eel\n")
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 128, (300, 400, 3), dtype=np.uint8)
        pixels[:, :40] = pixels[:, -40:] = 255
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
    return root


def test_crops_keep_whole_images_or_what_published_ones_show(tmp_path: Path) -> None:
    root = write_wide(tmp_path)
    published = load("csv", root, image_size=56)
    whole = load("csv", root, image_size=56, crop="whole", augment=True)
    assert published.test[0][0][:, :, 0].mean() < 0.6
    for image in (whole.test[0][0], whole.train[0][0]):
        assert image.shape == (3, 56, 56)
        assert image[:, :, [0, -1]].min() > 0.95
    # Squares are cut as published for ImageNet-R.
    square = load("csv", root, image_size=56, crop="square", augment=True)
    expected = augmentation_of("imagenet_r").test(56)(decode(str(root / "images" / "b.png")))
    assert torch.equal(square.test[0][0], expected)
    # Both ends of a wide image are never shown.
    assert square.train[0][0][:, :, [0, -1]].min() < 0.95


@cl_prompts.dataset
def blobs(image_size: int, seed: int, n_classes: int = 3, root: str | None = None) -> DataSet:
    images = torch.full((n_classes, 3, image_size, image_size), seed / 10)
    part = ImageSet(images, np.arange(n_classes), None)
    return as_dataset(part, part, name=f"blobs of {root}")


@cl_prompts.dataset
def deaf() -> DataSet:
    return blobs(4, 0)


@cl_prompts.dataset
def stubborn(shape: str, **others: int) -> list[str]:
    return [shape, *others]


no_function = 3


def test_a_function_is_given_what_it_declares() -> None:
    name = f"{__name__}:blobs"
    data = dataset_of_function(name, {}, image_size=6, seed=4)
    assert str(data) == "blobs of None: 3 classes, 3 training and 3 test images"
    assert torch.equal(data.train[0][0], torch.full((3, 6, 6), 0.4))
    data = dataset_of_function(name, {"n_classes": 2, "root": "here"}, image_size=6, seed=0)
    assert str(data) == "blobs of here: 2 classes, 2 training and 2 test images"
    deaf = dataset_of_function(f"{__name__}:deaf", {}, image_size=6)
    assert deaf.test[0][0].shape == (3, 4, 4)
    assert find_dataset(name) is blobs
    assert dataset_options(name) == {"n_classes": (int, 3), "root": (str | None, None)}


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        ("stubborn", {"shape": "round", "augment": False}, "must return a DataSet, not list"),
        ("no_function", {}, "'{}:no_function' is not declared as a data set: if it is yours"),
        ("write_csv", {}, "'{}:write_csv' is not declared as a data set: if it is yours"),
        ("blob", {}, "unknown data set in module {} 'blob': did you mean 'blobs'?"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(
    function: str, options: dict[str, Any], sentence: str
) -> None:
    said = refusal(lambda: dataset_of_function(f"{__name__}:{function}", options))
    assert sentence.format(__name__) in said
