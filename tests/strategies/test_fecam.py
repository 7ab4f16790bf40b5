"""FeCAM on a stream: the distances of the batch solution, and its settings."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from tests.toys import make


def test_settings_reach_the_classifier() -> None:
    head = make("fecam", off_diagonal=10.0, form="toolbox").model.head
    assert (head.diagonal, head.off_diagonal, head.form) == (1.0, 10.0, "toolbox")
    with pytest.raises(InputError, match=r"FeCAM keeps a covariance and an inverse a class"):
        make("fecam", memory_gib=1e-6)
