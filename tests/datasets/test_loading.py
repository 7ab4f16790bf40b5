"""Registered data sets out of their entries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cl_prompts.datasets.catalog import DATASETS
from cl_prompts.datasets.loading import load_entry
from cl_prompts.errors import InputError

ARGUMENTS: dict[str, Any] = {
    "image_size": 16,
    "root": None,
    "classes": None,
    "class_order": None,
    "augment": True,
    "augment_on": "loader",
    "seed": 0,
    "download": False,
    "cache": False,
    "cache_gb": 4.0,
    "crop": None,
}


def test_an_entry_gives_its_images_at_the_size_asked_for() -> None:
    data = load_entry("digits", DATASETS["digits"], {}, **ARGUMENTS)
    image, label = data.train[0]
    assert image.shape == (3, 16, 16)
    assert 0 <= label < len(data.classes) == 10
    assert (len(data.train), len(data.test)) == (1442, 355)


def test_chosen_classes_are_renumbered_in_their_order() -> None:
    chosen = ["7", "3"]
    data = load_entry("digits", DATASETS["digits"], {}, **{**ARGUMENTS, "classes": chosen})
    assert list(data.classes) == chosen
    assert set(data.train.targets.tolist()) == {0, 1}


def test_an_embedded_data_set_has_no_root() -> None:
    with pytest.raises(InputError, match=r"digits.*has no folder"):
        load_entry("digits", DATASETS["digits"], {}, **{**ARGUMENTS, "root": "somewhere"})


def test_statistics_are_those_of_the_entry() -> None:
    entry = replace(DATASETS["digits"], mean=(0.1, 0.2, 0.3))
    assert load_entry("digits", entry, {}, **ARGUMENTS).mean == (0.1, 0.2, 0.3)
