"""LayUP's classifier: published folds, choices and weights, in any order and batches."""

import pytest
import torch
from torch import Tensor

from cl_prompts.closed_form.layup import FOLDS, RIDGES, LayUP, stratified_folds
from tests.golden_numbers import Golden

GOLDEN = Golden("layup", "later")
TASKS = len({key.split("/")[1] for key in GOLDEN.keys("head/task")})


def task(t: int) -> tuple[Tensor, Tensor]:
    return GOLDEN(f"head/task{t}/features"), GOLDEN(f"head/task{t}/labels")


def fresh(*, intercept: bool = False) -> LayUP:
    size, n_classes = GOLDEN("head/task0/cross").shape
    return LayUP(size, n_classes, intercept=intercept)


def test_candidates_and_folds_are_the_published_ones() -> None:
    assert pytest.approx(GOLDEN("head/candidates").tolist(), rel=1e-12) == RIDGES
    for t in range(TASKS):
        for number, rows in enumerate(stratified_folds(task(t)[1])):
            own = GOLDEN(f"head/task{t}/fold") == number
            assert torch.equal(rows, own.nonzero()[:, 0])


@pytest.mark.parametrize("intercept", [False, True])
def test_published_ridges_and_weights(intercept: bool) -> None:
    layup = fresh(intercept=intercept)
    prefix = "bias_" if intercept else ""
    for t in range(TASKS):
        layup.update(*task(t))
        if not intercept:
            GOLDEN.close_double(layup.fold_accuracies(), f"head/task{t}/accuracy")
            GOLDEN.close_double(layup.statistics.gram, f"head/task{t}/gram")
            GOLDEN.close_double(layup.statistics.cross, f"head/task{t}/cross")
        chosen = layup.choose_ridge()
        assert chosen == pytest.approx(GOLDEN.number(f"head/task{t}/{prefix}ridge"))
        GOLDEN.close_double(layup.solution(), f"head/task{t}/{prefix}weight")
        assert len(layup.held) == 0  # the next choice is on the next task's samples
    inputs = layup.statistics.inputs(GOLDEN("head/test_features"))
    wanted = "head/test_scores_bias" if intercept else "head/test_scores"
    GOLDEN.close_double(inputs @ layup.solution(), wanted)


@pytest.mark.parametrize(("samples", "chooses"), [(FOLDS - 1, False), (FOLDS, True)])
def test_a_choice_needs_as_many_samples_of_a_class_as_there_are_folds(
    samples: int, chooses: bool
) -> None:
    layup = fresh()
    x, y = task(0)
    rows = (y == y[0]).nonzero()[:samples, 0]
    layup.update(x[rows], y[rows])
    assert (layup.choose_ridge() != 100.0) == chooses
