"""Labels in items have to say what ``.targets`` says, in whatever form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cl_prompts.datasets.items import CheckedItems, check_item, joined_items, read
from cl_prompts.errors import InputError

ROW = np.array([0, 1, 1, 0])


@pytest.mark.parametrize(
    ("label", "target", "agrees"),
    [
        (2, 2, True),
        (3, 2, False),
        (torch.tensor([3]), 2, False),
        (np.uint16(2), torch.tensor(2), True),
        (2.0, 2, True),
        (torch.tensor(2.5), 2, False),
        ([0, 0, 1, 0], 2, True),  # one-hot
        (torch.tensor([0, 0, 0, 1.0], dtype=torch.bfloat16), 2, False),
        ([0, 0, 2, 0], 2, False),
        (ROW.astype(float), ROW, True),
        (torch.tensor([0, 1, 1, 1]), ROW, False),
        ([2, 1], torch.from_numpy(ROW), True),  # class ids
        ([2, 3], ROW, False),
        ([0, 2, 1], np.array([1, 1, 1]), True),  # all class ids
        ([0, 2, 2], np.array([1, 1, 1]), False),
        ([], ROW, False),
        ([], 0 * ROW, True),
        (1, ROW, False),
        (1, np.array([0, 1, 0, 0]), True),
        ([1], np.array([1]), True),  # a row of one class
        # no labels
        ("cat", 2, True),
        (None, 2, True),
        ({"label": 3}, 2, True),
        ([[1, 2], [3]], 2, True),
        (["a.png"], 2, True),
        (torch.ones(2, 2), 2, True),
    ],
)
def test_a_label_agrees_in_whatever_form(label: Any, target: Any, agrees: bool) -> None:
    items = CheckedItems([("image", label)], [target])
    if agrees:
        check_item("it", 0, ("image", label), target)
        assert type(items[0][1]) is type(label)
        assert np.array_equal(items[0][1], label) or items[0][1] is label
    else:
        with pytest.raises(InputError, match=r"item 0 of the data set has label .* agree"):
            items[0]


def test_an_item_without_a_label_gets_it() -> None:
    assert CheckedItems(["image", ("image",), ["image", 1]], [0, 1, 1])[0] == ("image", 0)
    assert CheckedItems([(), ("image",)], [0, 1])[1] == ("image", 1)
    check_item("it", 0, "image", 3)


def test_what_has_no_targets_is_read_as_it_is() -> None:
    data: Any = TensorDataset(torch.zeros(2), torch.tensor([0, 7]))
    assert read(data, 1)[1] == 7
    data.targets = [0, 6]
    with pytest.raises(InputError, match="item 1 of the data set has label 7, and"):
        read(data, 1)


def test_items_of_one_form_become_a_batch() -> None:
    items = [(torch.zeros(2), 3, 0.5), (torch.ones(2), np.int64(1), 2.5)]
    images, labels, rest = joined_items(items)
    assert images.tolist() == [[0, 0], [1, 1]]
    assert (labels.tolist(), rest.tolist()) == ([3, 1], [0.5, 2.5])
