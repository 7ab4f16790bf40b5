"""Optional libraries: the sentence where one is missing."""

from __future__ import annotations

import math

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.extras import extra


def test_a_library_that_is_there_is_imported() -> None:
    assert extra("math", "x", "it") is math


def test_a_missing_one_is_a_sentence_with_the_command() -> None:
    with pytest.raises(InputError) as told:
        extra("no_such_library", "ray", "--launcher ray")
    assert str(told.value) == (
        "--launcher ray needs no_such_library, which is not installed: pip install"
        " 'cl-prompts[ray]'"
    )
