"""Streaming LDA: a blurry stream gives the batch solution."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from tests.toys import make


def test_some_shrinkage_is_needed() -> None:
    with pytest.raises(InputError, match="shrinkage"):
        make("slda", shrinkage=0.0)
