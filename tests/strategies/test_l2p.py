"""L2P: prompts at the input, chosen by keys; slots and votes by name."""

from cl_prompts.prompts.task_selectors import BatchwisePrompt
from tests.toy_data import experiences
from tests.toys import fit, make


def test_usage_is_counted_once_per_image_and_prompt() -> None:
    strategy = fit(make("l2p"), experiences())
    updates = strategy.online_iter
    assert strategy.model.selector.count.sum() == 2 * updates * strategy.samples_seen


def test_the_head_reads_prompts_and_a_vote_is_a_choice() -> None:
    assert make("l2p").model.head_input == "prompt"
    for vote in ("training", "always"):
        selector = make("l2p", batchwise_prompt=vote).model.selector
        assert isinstance(selector, BatchwisePrompt)
        assert selector.in_evaluation == (vote == "always")
    assert not isinstance(make("l2p").model.selector, BatchwisePrompt)
