"""Items of data sets, and how they become batches."""

import numpy as np
import pytest
import torch

from cl_prompts.datasets.collate import LabelledItems, collate
from cl_prompts.errors import InputError


def test_an_item_without_a_label_gets_it() -> None:
    assert LabelledItems(["image", ("image",), ["image", 1]], [0, 1, 1])[0] == ("image", 0)
    assert LabelledItems([(), ("image",)], [0, 1])[1] == ("image", 1)
    assert LabelledItems([("image", 3)], [3])[0] == ("image", 3)


def test_items_of_one_form_become_a_batch() -> None:
    items = [(torch.zeros(2), 3, 0.5), (torch.ones(2), np.int64(1), 2.5)]
    images, labels, rest = collate(items)
    assert images.tolist() == [[0, 0], [1, 1]]
    assert (labels.tolist(), rest.tolist()) == ([3, 1], [0.5, 2.5])


def test_items_that_cannot_be_collated_are_refused() -> None:
    with pytest.raises(InputError, match=r"items have 'a\.png' as entry 3"):
        collate([(torch.zeros(2), 1, "a.png")])
    with pytest.raises(InputError, match="items cannot be collated"):
        collate([(torch.zeros(2), 1), (torch.zeros(3), 1)])
