"""Which evaluations a run writes by class and by task.

A row for each class and task after each of T tasks would be a file, and a time, that grow with the
square of T. Up to 200 evaluations all are written so, and of more 200, evenly spaced, with the
last. What is one number (accuracy, forgetting, A_AUC, scores) is written at every evaluation, and
all results are computed from all of them.
"""

from __future__ import annotations

#: evaluations up to which all are written by class and by task
DETAILED = 200


def in_detail(number: int, expected: int) -> bool:
    """Whether an evaluation is written by class and by task.

    >>> [n for n in range(1, 1001) if in_detail(n, 1000)][:3]
    [5, 10, 15]
    >>> sum(in_detail(n, 301) for n in range(1, 302)), in_detail(301, 301)
    (200, True)

    Args:
        number: of the evaluation, the first is 1.
        expected: evaluations of its kind in the whole run.
    """
    if expected <= DETAILED or number >= expected:
        return True
    return number * DETAILED // expected > (number - 1) * DETAILED // expected
