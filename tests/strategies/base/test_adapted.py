"""What APER and EASE share: boundaries, dropout by seed, no replay."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toys import ADAPTED, fit, make

every = pytest.mark.parametrize("kind", ADAPTED)


@every
def test_streams_without_boundaries_are_refused(kind: str) -> None:
    strategy = make(kind, boundaries=None)
    with pytest.raises(InputError, match="this stream announces no boundaries: use a class-incre"):
        fit(strategy, experiences())
    fit(make(kind, "class_incremental", boundaries=None), experiences("class_incremental")[:1])


@every
def test_a_buffer_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="keeps prototypes and replays nothing"):
        make(kind, buffer_size=5)
