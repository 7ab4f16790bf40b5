"""What the entries say about themselves."""

from __future__ import annotations

from cl_prompts.datasets.registry import DATASETS, dataset_options
from cl_prompts.datasets.voc import Difficult


def test_every_entry_describes_itself() -> None:
    single = ["digits", "cifar10", "cifar100", "tiny_imagenet", "imagenet_r", "cub200", "folder"]
    assert list(DATASETS) == [*single, "digit_scenes", "voc2007", "coco2014", "coco2017", "csv"]
    for entry in DATASETS.values():
        assert "\n" not in entry.description
        assert bool(entry.origin) == bool(entry.unpack) == bool(entry.folder)


def test_only_voc_has_options_of_its_own() -> None:
    assert [name for name in DATASETS if dataset_options(name)] == ["folder", "voc2007"]
    assert dataset_options("voc2007") == {
        "splits": (str, "trainval/test"),
        "difficult": (Difficult, "negative"),
    }
