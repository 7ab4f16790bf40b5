"""Short and dotted names."""

from __future__ import annotations

import pytest

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from cl_prompts.experiments.names import dataset_function, is_dotted, label_of, labels_of
from tests.experiments import own_parts


def test_labels_are_short_unless_two_would_be_equal() -> None:
    assert not is_dotted("mvp")
    assert is_dotted("a.b:C")
    assert label_of("mvp") == "mvp"
    assert label_of("a.b:C") == "C"
    assert labels_of(["mvp", "a:C", "a:D", "mvp"]) == {"mvp": "mvp", "a:C": "C", "a:D": "D"}
    assert labels_of(["a:C", "b:C", "mvp"]) == {"a:C": "a:C", "b:C": "b:C", "mvp": "mvp"}
    assert labels_of(["mvp", "own:mvp"]) == {"mvp": "mvp", "own:mvp": "own:mvp"}


def test_data_sets_by_name() -> None:
    assert dataset_function("digits") is load_dataset
    assert dataset_function("tests.experiments.own_parts:stripes") is own_parts.stripes
    with pytest.raises(InputError, match="unknown data set 'digit': did you mean 'digits'"):
        dataset_function("digit")
    with pytest.raises(InputError, match="is no function: it should return a DataSet"):
        dataset_function("tests.experiments.own_parts:MEAN")
