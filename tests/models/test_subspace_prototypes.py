"""EASE's classifier against published numbers and its formulas."""

import pytest
import torch
from torch import Tensor

from cl_prompts.models.adapted import SubspacePrototypes, cosine
from tests.golden_numbers import Golden

GOLDEN = Golden("ease")


def fed(n_tasks: int, **settings: float) -> SubspacePrototypes:
    """The golden prototypes: two classes a task, known up to their own task's subspace."""
    head = SubspacePrototypes(5, 6, 3, **settings)
    prototypes = GOLDEN("completion/prototypes")
    for task in range(n_tasks):
        classes = torch.tensor([2 * task, 2 * task + 1])
        head.observe(prototypes[classes, : task + 1], classes, task)
        head.complete()
    return head


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_published_completion(n_tasks: int) -> None:
    got = fed(n_tasks).prototypes[: 2 * n_tasks, :n_tasks]
    GOLDEN.close(got.flatten(1), f"completion/{n_tasks}tasks/completed")


def test_published_scores() -> None:
    head = fed(3, alpha=GOLDEN.number("head/alpha"))
    scores = head(GOLDEN("head/features").unflatten(1, (3, 5)))
    GOLDEN.close(GOLDEN.number("head/sigma") * scores, "head/scores")


def test_in_the_first_task_scores_are_plain_cosines() -> None:
    head = fed(1)
    features = torch.randn(4, 1, 5)
    want = cosine(features[:, 0], GOLDEN("completion/prototypes")[:2, 0])
    torch.testing.assert_close(head(features)[:, :2], want)
    assert (head(features)[:, 2:] == -torch.inf).all()


def test_pieces_are_one_pass() -> None:
    x: Tensor = torch.randn(30, 1, 5)
    y = torch.arange(30) % 4
    whole = SubspacePrototypes(5, 6, 2)
    pieces = SubspacePrototypes(5, 6, 2)
    whole.observe(x, y, 0)
    for part in torch.arange(30).split(7):
        pieces.observe(x[part], y[part], 0)
    torch.testing.assert_close(pieces.prototypes, whole.prototypes)
    torch.testing.assert_close(whole.prototypes[1, 0], x[y == 1, 0].mean(dim=0))
    twin = SubspacePrototypes(5, 6, 2)
    twin.load_state_dict(whole.state_dict())
    assert torch.equal(twin(x), whole(x))
