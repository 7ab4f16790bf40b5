"""Descriptions of data sets."""

from __future__ import annotations

from cl_prompts.datasets.catalog import DATASETS
from cl_prompts.datasets.descriptions import DESCRIPTIONS


def test_each_data_set_has_its_description_in_the_same_order() -> None:
    assert {name: entry.description for name, entry in DATASETS.items()} == DESCRIPTIONS
    assert list(DATASETS) == list(DESCRIPTIONS)
