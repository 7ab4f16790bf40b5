"""Warnings of libraries are silenced, and others are not."""

from __future__ import annotations

import warnings

from cl_prompts.experiments.runner.libraries import quieten_libraries


def test_only_what_nobody_can_change_is_silenced() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quieten_libraries()
        warnings.warn("no QP solver found on your system", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("the learning rate is odd", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the learning rate is odd"]
