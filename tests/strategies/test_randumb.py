"""RanDumb on a stream: shrinkage that is found, and the released form."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from tests.toy_data import N_CLASSES
from tests.toys import make


def test_the_released_form_keeps_a_matrix_a_class_and_refuses_too_many() -> None:
    head = make("randumb_class").model.head
    assert tuple(head.classes.scatters.shape) == (N_CLASSES, 40, 40)
    with pytest.raises(InputError, match=r"RanDumb keeps one matrix a class.*a width of at most"):
        make("randumb_class", width=400, memory_gib=1e-4)
