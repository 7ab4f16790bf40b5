"""Metrics of continual learning: accuracy, forgetting, transfer.

Accuracies are fractions in [0, 1]. Plain torch, without Avalanche.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from cl_prompts.checks import one_of
from cl_prompts.metrics.curve import Curve

ClassForgetting = Literal["default", "anytime", "f_last", "first"]
TaskForgetting = Literal["task", "l2p", "one_step", "one_step_pooled"]
Tasks = Sequence[Sequence[int]]


def a_auc(curve: Curve, *, end: bool = True) -> float:
    """Mean accuracy over the anytime points (i-Blurry, Koh et al., ICLR 2022); NaN without points.

    ``end=False`` leaves out the end of the stream, as the published Si-Blurry code does.
    """
    points = curve.points(end=end)
    return sum(p.accuracy for p in points) / len(points) if points else float("nan")


def a_last(curve: Curve) -> float:
    """Accuracy over all seen classes after the last task."""
    return curve.task_ends[-1].accuracy if curve.task_ends else float("nan")


def a_avg(curve: Curve) -> float:
    """Mean over tasks of the accuracy after each, once a class was seen."""
    ends = [e.accuracy for e in curve.task_ends if e.accuracy == e.accuracy]  # not NaN
    return sum(ends) / len(ends) if ends else float("nan")


def class_forgetting(curve: Curve, *, definition: ClassForgetting = "default") -> Tensor:
    """Forgetting of each class, (classes,), NaN where it is undefined.

    Definitions:
        ``default``: maximum over earlier task ends minus final accuracy, for classes seen before
            the last task.
        ``f_last``: the same for classes that were ever right before, the only definition of the
            Si-Blurry code (Moon et al., ICCV 2023).
        ``anytime``: the same with the best earlier *anytime point*, undefined without any; our own.
        ``first``: accuracy at the first task end at which the class was seen, minus final.

    Raises:
        InputError: unknown definition.
    """
    one_of("definition of class forgetting", definition, ClassForgetting)
    if len(curve.task_ends) < 2:
        width = len(curve.task_ends[0].by_class) if curve.task_ends else 0
        return torch.full((width,), float("nan"), dtype=torch.float64)
    final = curve.task_ends[-1].by_class
    earlier = [e.by_class for e in curve.task_ends[:-1]]
    if definition == "anytime":
        last = curve.task_ends[-1].samples_seen
        earlier = [e.by_class for e in curve.anytime if e.samples_seen < last]
        earlier = earlier or [torch.full_like(final, float("nan"))]
    history = torch.stack(earlier)
    known = ~history.isnan()
    if definition == "first":
        row = known.int().argmax(dim=0)
        reference = history.gather(0, row[None])[0]
    else:
        reference = history.nan_to_num(nan=-1.0).amax(dim=0)
        if definition in ("anytime", "f_last"):
            # As in the Si-Blurry code, classes that were never right do not count.
            known = known & (reference > 0)
    return torch.where(known.any(dim=0), reference - final, torch.full_like(final, float("nan")))


def forgetting(curve: Curve, *, definition: ClassForgetting = "default") -> float:
    """Mean of the defined :func:`class_forgetting`; NaN with fewer than two tasks."""
    return _mean(class_forgetting(curve, definition=definition))


def task_accuracy(curve: Curve, new_classes: Tasks, *, pooled: bool = False) -> Tensor:
    """(tasks, ends) accuracy on each task's classes after each task.

    NaN before the task, and for tasks without classes.

    Args:
        curve: of one run.
        new_classes: the classes that first appeared in each task.
        pooled: over the test images of the task's classes, as published code tests a task;
            otherwise the mean over classes.
    """
    ends = curve.task_ends
    table = torch.full((len(new_classes), len(ends)), float("nan"), dtype=torch.float64)
    if not ends:
        return table
    values = torch.stack([end.by_class for end in ends]).double()
    counts = torch.stack(
        [torch.ones_like(end.by_class) if end.images is None else end.images for end in ends]
    ).double()
    # Vectorised over ends: there may be a thousand tasks.
    for i, classes in enumerate(new_classes[: len(ends)]):
        if classes:
            rows = values[i:, list(classes)]
            if pooled:
                images = counts[i:, list(classes)]
                # sum_c n_c a_c / sum_c n_c
                right = (rows * images).nansum(dim=1)
                table[i, i:] = right / images.masked_fill(rows.isnan(), 0).sum(dim=1)
            else:
                table[i, i:] = rows.nanmean(dim=1)
    return table


def latest_task_accuracy(curve: Curve, new_classes: Tasks) -> Tensor:
    """(tasks,) the last column of :func:`task_accuracy`, without computing the others."""
    latest = curve.task_ends[-1].by_class.double()
    means = [
        latest[list(c)].nanmean() if c else latest.new_tensor(float("nan")) for c in new_classes
    ]
    return torch.stack(means) if means else latest.new_empty(0)


def accuracy_by_task(curve: Curve, new_classes: Tasks) -> Tensor:
    """(ends,) unweighted mean of task accuracies over the tasks so far, after each task.

    The headline number of L2P, DualPrompt and MULTI-LANE. It differs from the pooled accuracy where
    tasks have test sets of different size.
    """
    table = task_accuracy(curve, new_classes, pooled=True)
    return torch.tensor(
        [_mean(table[: t + 1, t]) for t in range(table.shape[1])], dtype=torch.float64
    )


def task_forgetting(
    curve: Curve, new_classes: Tasks, *, definition: TaskForgetting = "task"
) -> float:
    """Forgetting over tasks, on the classes that first appeared in each.

    Definitions:
        ``task``: maximum over earlier task ends of a task's accuracy minus final, mean over tasks
            but the last; negative if a task has improved.
        ``l2p`` (published code of L2P, DualPrompt and MULTI-LANE): the maximum includes the final
            accuracy, hence never negative; accuracies are pooled over a task's test images.
        ``one_step``: 1/(T-1) sum over t >= 1 of the mean over i < t of acc[i, t-1] - acc[i, t]; a
            decrease per step, hence several times smaller than the others. A task's accuracy is the
            mean over its classes.
        ``one_step_pooled`` (CODA-Prompt's code): the same with accuracies pooled over a task's test
            images; it differs where classes have test sets of different size.

    Raises:
        InputError: unknown definition.
    """
    one_of("definition of task forgetting", definition, TaskForgetting)
    pooled = definition in ("l2p", "one_step_pooled")
    table = task_accuracy(curve, new_classes, pooled=pooled)
    n = table.shape[1]
    if n < 2:
        return float("nan")
    if definition in ("one_step", "one_step_pooled"):
        steps = [_mean(table[:t, t - 1] - table[:t, t]) for t in range(1, n)]
        return _mean(torch.tensor(steps, dtype=torch.float64))
    before = table[:-1, :-1]
    final = table[:-1, -1]
    among = table[:-1] if definition == "l2p" else before
    # -1, below any accuracy, for ends before the task.
    reference = among.nan_to_num(nan=-1.0).amax(dim=1)
    return _mean(torch.where(before.isnan().all(dim=1), float("nan"), reference - final))


def backward_transfer(curve: Curve) -> float:
    """Backward transfer (BWT; Lopez-Paz and Ranzato, NeurIPS 2017, arXiv 1706.08840), by class.

    Minus the forgetting of definition ``first``: the mean over classes seen before the last task of
    final accuracy minus accuracy at the first task end with the class. By class, so that it is
    defined where classes come in several tasks; for disjoint tasks of equal size it is the
    published number. NaN with fewer than two tasks.
    """
    return -forgetting(curve, definition="first")


def forward_transfer(curve: Curve, home_classes: Tasks) -> float:
    """Forward transfer (FWT; Lopez-Paz and Ranzato, NeurIPS 2017, arXiv 1706.08840), by class.

    Mean over the classes of all tasks but the first of the accuracy at the task end *before* their
    home task. The untrained model's accuracy, which the definition subtracts, is 0, since all
    classes are masked; so are classes not seen yet. Hence FWT is 0 if each class comes in one task
    only; on blurry streams it measures learning from samples ahead of a class's home. NaN with
    fewer than two tasks. Classes without test images are left out.

    Args:
        curve: of one run.
        home_classes: the home classes of each task.
    """
    found: list[float] = []
    ends = curve.task_ends
    measured = {c for end in ends for c in (~end.by_class.isnan()).nonzero()[:, 0].tolist()}
    for before, classes in zip(ends, list(home_classes)[1:], strict=False):
        tested = [c for c in classes if c in measured]
        found += before.by_class[tested].nan_to_num(nan=0.0).tolist()
    return _mean(torch.tensor(found, dtype=torch.float64))


def results(
    curve: Curve, new_classes: Tasks, *, end: bool = True, home_classes: Tasks | None = None
) -> dict[str, float | None]:
    """Metrics of a finished run; None where one is undefined.

    Keys: the last task's ``scores``, if any; ``a_auc``, ``a_last``, ``a_avg``, ``forgetting``
    (class-wise), ``task_forgetting``, ``bwt``, ``fwt``; ``a_last_by_task`` and ``a_avg_by_task``
    (:func:`accuracy_by_task`, final and mean over task ends); and the other definitions of
    forgetting, ``f_last``, ``forgetting_anytime``, ``task_forgetting_l2p``,
    ``task_forgetting_one_step`` and ``task_forgetting_one_step_pooled``.

    Args:
        curve: of the run.
        new_classes: the classes that first appeared in each task.
        end: whether the end of the stream is an anytime point, see :func:`a_auc`.
        home_classes: see :func:`forward_transfer`; None: classes have no home, and FWT is None.
    """
    by_task = accuracy_by_task(curve, new_classes)
    fwt = float("nan") if home_classes is None else forward_transfer(curve, home_classes)
    values = {
        **(curve.task_ends[-1].scores if curve.task_ends else {}),
        "a_auc": a_auc(curve, end=end),
        "a_last": a_last(curve),
        "a_avg": a_avg(curve),
        "a_last_by_task": float(by_task[-1]) if len(by_task) else float("nan"),
        "a_avg_by_task": _mean(by_task),
        "forgetting": forgetting(curve),
        "task_forgetting": task_forgetting(curve, new_classes),
        "bwt": backward_transfer(curve),
        "fwt": fwt,
        # Definitions of forgetting in papers: docs/reference/definitions.md
        "f_last": forgetting(curve, definition="f_last"),
        "forgetting_anytime": forgetting(curve, definition="anytime"),
        "task_forgetting_l2p": task_forgetting(curve, new_classes, definition="l2p"),
        "task_forgetting_one_step": task_forgetting(curve, new_classes, definition="one_step"),
        "task_forgetting_one_step_pooled": task_forgetting(
            curve, new_classes, definition="one_step_pooled"
        ),
    }
    return {name: value if value == value else None for name, value in values.items()}


def multi_label_run_results(
    curve: Curve, new_classes: Tasks, *, end: bool = True
) -> dict[str, float | None]:
    """Metrics of a finished multi-label run; None where one is undefined.

    Keys: ``map_avg`` (mean of mAP after each task), ``map_last``, ``a_auc`` (of anytime mAP),
    ``forgetting`` and ``bwt`` (class-wise, of AP), ``task_forgetting`` (per task, of mAP on the
    test set seen at the time), ``task_forgetting_fixed`` (on the fixed test set of each task), and
    the last task's scores (``cf1_80``, ``of1_80``, ``cf1_50``, ...: threshold in percent; ``cf1``,
    ``of1``, ...: at the model's own threshold).
    """
    # AP falls as cumulative test sets grow; on the task's own test images only the model changes.
    fixed = Curve(
        task_ends=[
            replace(e, by_class=e.by_class_fixed)
            for e in curve.task_ends
            if e.by_class_fixed is not None
        ]
    )
    values = {
        "map_avg": a_avg(curve),
        "map_last": a_last(curve),
        "a_auc": a_auc(curve, end=end),
        "forgetting": forgetting(curve),
        "task_forgetting": task_forgetting(curve, new_classes),
        "task_forgetting_fixed": task_forgetting(fixed, new_classes),
        "bwt": backward_transfer(curve),
        **(curve.task_ends[-1].scores if curve.task_ends else {}),
    }
    return {name: value if value == value else None for name, value in values.items()}


def without_course(results: Mapping[str, float | None]) -> dict[str, float | None]:
    """Set metrics that need several task ends to None, for joint training.

    These are the anytime curve, averages over tasks, transfer and forgetting.

    Args:
        results: of :func:`results` or :func:`multi_label_run_results`.

    Example:
        >>> without_course({"map_avg": 0.6, "map_last": 0.6})
        {'map_avg': None, 'map_last': 0.6}
    """
    return {name: None if _NEEDS_COURSE.match(name) else value for name, value in results.items()}


_NEEDS_COURSE = re.compile("a_auc|[a-z]+_avg|.*_by_task|bwt|fwt|f_last|forgetting|task_forgetting")


def _mean(values: Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.mean()) if len(values) else float("nan")
