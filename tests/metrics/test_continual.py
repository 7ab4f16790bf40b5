"""Metrics against hand-made numbers and each other."""

import math

import pytest
import torch

from cl_prompts.metrics import continual as metrics
from cl_prompts.metrics.curve import Curve, Evaluation

NAN = float("nan")


def curve(task_ends: list[list[float]], anytime: list[tuple[int, float]] = ()) -> Curve:
    """Task ends every 10 samples with the given class accuracies; anytime points with a total
    accuracy alone."""
    made = Curve()
    for t, row in enumerate(task_ends):
        values = torch.tensor(row, dtype=torch.float64)
        made.task_ends.append(
            Evaluation(10 * (t + 1), float(values[~values.isnan()].mean()), values)
        )
    for n, value in anytime:
        made.anytime.append(
            Evaluation(n, value, torch.full((len(task_ends[0]),), value, dtype=torch.float64))
        )
    return made


def test_forgetting_by_hand() -> None:
    made = curve([[0.5, 0.2, NAN], [0.4, 0.3, 0.9]])
    assert metrics.class_forgetting(made).tolist()[:2] == pytest.approx([0.1, -0.1])
    assert math.isnan(metrics.class_forgetting(made)[2])  # first seen in the last task
    assert metrics.forgetting(made) == pytest.approx(0.0)
    three = curve([[0.5, NAN], [0.8, 0.6], [0.3, 0.7]])
    assert metrics.forgetting(three) == pytest.approx(((0.8 - 0.3) + (0.6 - 0.7)) / 2)
    assert metrics.forgetting(three, definition="first") == pytest.approx(
        ((0.5 - 0.3) + (0.6 - 0.7)) / 2
    )


def test_anytime_forgetting_takes_the_best_earlier_anytime_point() -> None:
    made = curve([[0.5], [0.6], [0.2]], [(5, 0.9), (25, 0.3), (30, 0.95)])
    assert metrics.forgetting(made, definition="anytime") == pytest.approx(0.7)
    at_ends = metrics.forgetting(made, definition="f_last")
    assert at_ends == pytest.approx(0.4)
    # the third class was never right before
    two = curve([[0.5, 0.2, 0.0], [0.4, 0.3, 0.9]], [(5, 0.95)])
    assert metrics.forgetting(two, definition="f_last") == pytest.approx(0.0)
    # A class that was never right before does not count.
    never = curve([[0.0, 0.5], [0.3, 0.4]])
    assert metrics.forgetting(never, definition="f_last") == pytest.approx(0.1)
    assert math.isnan(metrics.forgetting(never, definition="anytime"))  # no anytime point
    assert metrics.forgetting(never) == pytest.approx((-0.3 + 0.1) / 2)


def test_task_forgetting_definitions() -> None:
    made = curve([[0.9, NAN, NAN], [0.5, 0.8, NAN], [0.7, 0.6, 0.9]])
    new = [[0], [1], [2]]
    table = metrics.task_accuracy(made, new)
    assert table[0].tolist() == pytest.approx([0.9, 0.5, 0.7])
    assert math.isnan(table[1, 0])
    assert metrics.task_forgetting(made, new) == pytest.approx((0.2 + 0.2) / 2)
    # one step: t=1: .9-.5; t=2: mean(.5-.7, .8-.6)
    assert metrics.task_forgetting(made, new, definition="one_step") == pytest.approx(
        (0.4 + 0.0) / 2
    )
    # Classes with 30 and 10 test images: averages over classes and over images differ.
    uneven = Curve(
        task_ends=[
            Evaluation(10 * t + 10, 0.5, torch.tensor(row), images=torch.tensor([30, 10, 20]))
            for t, row in enumerate([[0.9, 0.4, NAN], [0.5, 0.8, 0.7]])
        ]
    )
    for name, want in (("one_step", 0.0), ("one_step_pooled", (0.4 * 30 - 0.4 * 10) / 40)):
        found = metrics.task_forgetting(uneven, [[0, 1], [2]], definition=name)
        assert found == pytest.approx(want, abs=1e-6)
        assert metrics.results(uneven, [[0, 1], [2]])[f"task_forgetting_{name}"] == found
    # Images of a class that is not seen yet have no accuracy to be pooled.
    pooled = metrics.task_accuracy(uneven, [[0, 2], [1]], pooled=True)[0].tolist()
    assert pooled == pytest.approx([0.9, (0.5 * 30 + 0.7 * 20) / 50])
    # A task without new classes is left out.
    empty = curve([[0.9, NAN], [0.5, NAN], [0.4, 0.9]])
    assert metrics.task_forgetting(empty, [[0], [], [1]]) == pytest.approx(0.5)
    # By L2P's definition a task that was never better forgot nothing.
    better = curve([[0.5, NAN], [0.9, 0.8]])
    assert metrics.task_forgetting(better, [[0], [1]], definition="l2p") == 0
    assert metrics.task_forgetting(better, [[0], [1]]) == pytest.approx(-0.4)
    best_later = curve([[0.5, NAN, NAN], [0.9, 0.8, NAN], [0.7, 0.6, 0.9]])
    assert metrics.task_forgetting(best_later, new) == pytest.approx((0.2 + 0.2) / 2)


def test_accuracy_by_task_does_not_weigh_tasks_by_their_size() -> None:
    made = curve([[0.5, NAN, NAN], [0.4, 1.0, 0.6]])
    new = [[0], [1, 2]]
    assert metrics.accuracy_by_task(made, new).tolist() == pytest.approx([0.5, (0.4 + 0.8) / 2])
    for evaluation in made.task_ends:
        evaluation.images = torch.tensor([100, 30, 10])
    # A task's own accuracy is pooled over its test images.
    second = (30 * 1.0 + 10 * 0.6) / 40
    want = [0.5, (0.4 + second) / 2]
    assert metrics.accuracy_by_task(made, new).tolist() == pytest.approx(want)
    got = metrics.results(made, new)
    assert got["a_last_by_task"] == pytest.approx(want[1])
    assert got["a_avg_by_task"] == pytest.approx(sum(want) / 2)
    assert metrics.task_accuracy(made, new)[1, 1] == pytest.approx(0.8)  # ours: mean over classes


def test_backward_transfer_by_hand() -> None:
    made = curve([[0.5, NAN, NAN], [0.8, 0.6, NAN], [0.3, 0.7, 0.9]])
    assert metrics.backward_transfer(made) == pytest.approx(((0.3 - 0.5) + (0.7 - 0.6)) / 2)
    # Lopez-Paz and Ranzato's formula on tasks of one class: 1/(T-1) sum R[T, i] - R[i, i]
    table = metrics.task_accuracy(made, [[0], [1], [2]])
    literal = sum(float(table[i, 2] - table[i, i]) for i in range(2)) / 2
    assert metrics.results(made, [[0], [1], [2]])["bwt"] == pytest.approx(literal)
    assert math.isnan(metrics.backward_transfer(curve([[0.5]])))
    in_several_labels = metrics.multi_label_run_results(made, [[0], [1], [2]])
    assert in_several_labels["bwt"] == pytest.approx(literal)


def test_forward_transfer_is_what_came_ahead_of_a_classs_home() -> None:
    made = curve([[0.5, 0.2, NAN, NAN], [0.8, 0.6, 0.4, NAN], [0.3, 0.7, 0.9, 0.5]])
    homes = [[0], [1], [2, 3]]
    # Class 1 before task 1: 0.2; classes 2 and 3 before task 2: 0.4, and 0 for the unseen one.
    assert metrics.forward_transfer(made, homes) == pytest.approx((0.2 + 0.4 + 0) / 3)
    got = metrics.results(made, [[0, 1], [2], [3]], home_classes=homes)
    assert got["fwt"] == pytest.approx(0.2)
    assert metrics.results(made, [[0, 1], [2], [3]])["fwt"] is None  # classes without a home
    once = curve([[0.5, NAN], [0.3, 0.7]])
    assert metrics.forward_transfer(once, [[0], [1]]) == 0  # classes that come in one task only
    assert math.isnan(metrics.forward_transfer(curve([[0.5]]), [[0]]))
    untested = curve([[0.5, 0.2, NAN], [0.3, 0.7, NAN]])
    assert metrics.forward_transfer(untested, [[0], [1, 2]]) == pytest.approx(0.2)


def test_one_task_has_no_forgetting() -> None:
    made = curve([[0.9, 0.8]])
    assert math.isnan(metrics.forgetting(made))
    assert metrics.results(made, [[0, 1]])["forgetting"] is None
    assert metrics.results(made, [[0, 1]])["a_last"] == pytest.approx(0.85)
    assert metrics.results(Curve(), [])["a_auc"] is None


def test_a_run_that_saw_all_data_at_once_has_only_final_numbers() -> None:
    made = curve([[0.9, 0.8]], [(5, 0.7)])
    single = metrics.without_course(metrics.results(made, [[0, 1]]))
    assert {name for name, value in single.items() if value is not None} == {"a_last"}
    several = metrics.without_course(metrics.multi_label_run_results(made, [[0, 1]]))
    assert {name for name, value in several.items() if value is not None} == {"map_last"}


def test_scores_of_the_last_task_end_are_results_and_replace_none() -> None:
    made = curve([[0.5, NAN], [0.25, 0.75]])
    made.task_ends[0].scores["worst"] = 0.5
    made.task_ends[1].scores.update(worst=0.25, odd=NAN, a_last=9.0)
    found = metrics.results(made, [[0], [1]])
    assert (found["worst"], found["odd"]) == (0.25, None)
    assert found["a_last"] == pytest.approx(0.5)
