"""L2P: prompts at the input, chosen by keys; slots, votes and diversity by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.prompts.task_selectors import BatchwisePrompt, FrequencyPenalty
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make

IMAGES = Blobs(12, seed=7).images


def test_usage_is_counted_once_per_image_and_prompt() -> None:
    strategy = fit(make("l2p"), experiences())
    updates = strategy.online_iter
    assert strategy.model.selector.count.sum() == 2 * updates * strategy.samples_seen
    diverse = fit(
        make("l2p", "class_incremental", key_choice="diverse"), experiences("class_incremental")
    )
    assert isinstance(diverse.model.selector, FrequencyPenalty)
    assert diverse.model.selector.frequency.sum() == pytest.approx(1)
    assert diverse.model.selector.frequency.std() > 0


@pytest.mark.parametrize("kind", ["l2p", "dual_prompt"])
def test_only_a_vote_at_test_time_makes_logits_depend_on_batch_mates(kind: str) -> None:
    differences = {}
    for vote in ("training", "always"):
        strategy = make(kind, "class_incremental", batchwise_prompt=vote, lr=0.01)
        model = fit(strategy, experiences("class_incremental")).model.eval()
        selector = model.selector
        assert isinstance(selector, BatchwisePrompt)
        keys = strategy.model.selector.inner
        keys = getattr(keys, "inner", keys).key
        with torch.no_grad():  # images would choose differently
            keys.copy_(model.encode(IMAGES[: len(keys)], {}).parts["frozen"])
            alone = torch.cat([model(image[None]) for image in IMAGES])
            differences[vote] = (alone - model(IMAGES)).abs().max()
            chosen = model.run(IMAGES).selection.index
        assert (len(chosen.unique(dim=0)) == 1) == (vote == "always")
    assert differences["training"] < 1e-5 < 1e-3 < differences["always"]


def test_the_head_reads_the_mean_of_the_prompts_outputs() -> None:
    model = make("l2p").model
    assert model.readout == "prompt"
    tokens = model.backbone.embed(IMAGES)
    out = model.run(IMAGES)
    plan = model.pools[0].build(out.selection)
    states = model.backbone.norm(model.backbone.blocks(tokens, plan))
    want = states[:, -4:].mean(dim=1)  # two prompts of two tokens
    torch.testing.assert_close(out.features, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"top_k": 5}, "top_k is 5: it must be between 1 and"),
        ({"copy_keys": True}, "copy_keys copies keys from slot to slot"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("l2p", **changes)
