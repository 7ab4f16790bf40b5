"""L2P: prompts at the input, chosen by keys; slots, votes and diversity by name."""

from __future__ import annotations

import pytest

from cl_prompts.prompts.task_selectors import FrequencyPenalty
from tests.toy_data import experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make


def test_usage_is_counted_once_per_image_and_prompt() -> None:
    strategy = fit(make("l2p"), experiences())
    updates = strategy.online_iter
    assert strategy.model.selector.count.sum() == 2 * updates * strategy.samples_seen
    diverse = make("l2p", "class_incremental", backbone=lively_vit(), key_choice="diverse")
    fit(diverse, experiences("class_incremental"))
    assert isinstance(diverse.model.selector, FrequencyPenalty)
    assert diverse.model.selector.frequency.sum() == pytest.approx(1)
    assert diverse.model.selector.frequency.std() > 0
