"""What a run is judged by: class counts on the device, the anytime curve, and forgetting by its
several definitions.

Accuracies are fractions in [0, 1]. Everything here is plain torch and works without Avalanche.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from cl_prompts.errors import InputError


class ClassAccuracy:
    """Correct and total test samples per class, accumulated on the device without a synchronisation
    per batch.

    Args:
        n_classes: classes of the data set.
        device: where the counts live.

    Example:
        >>> counts = ClassAccuracy(2)
        >>> counts.update(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
        >>> counts.overall(), counts.by_class().tolist()
        (0.5, [1.0, 0.0])
    """

    def __init__(self, n_classes: int, device: torch.device | str = "cpu") -> None:
        self.correct = torch.zeros(n_classes, dtype=torch.int64, device=device)
        self.total = torch.zeros(n_classes, dtype=torch.int64, device=device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (batch, columns), labels (batch,)."""
        hit = (logits.argmax(dim=1) == labels).to(torch.int64)
        self.correct.index_add_(0, labels, hit)
        self.total.index_add_(0, labels, torch.ones_like(hit))

    def overall(self) -> float:
        """Share of correct samples; NaN without any."""
        total = int(self.total.sum())
        return float(self.correct.sum()) / total if total else float("nan")

    def by_class(self) -> Tensor:
        """(classes,) float64 accuracies, NaN for classes without samples; on the CPU."""
        return self.correct.cpu().double() / self.total.cpu()


@dataclass
class Evaluation:
    """One evaluation on the test images of the classes seen so far.

    Attributes:
        samples_seen: stream samples trained on before it.
        accuracy: over all those images; NaN if no class was seen. Multi-label: mean average
            precision (mAP).
        by_class: (classes,) accuracies, NaN for unseen classes. Multi-label: average precisions
            (AP).
        by_class_fixed: multi-label: the same on the fixed test set of each class's own task, which
            does not grow.
        scores: further numbers by name (multi-label: CF1, OF1, ... at each threshold).

    Example:
        >>> evaluation = Evaluation(100, accuracy=0.75, by_class=torch.tensor([1.0, 0.5]))
        >>> evaluation.scores
        {}
    """

    samples_seen: int
    accuracy: float
    by_class: Tensor
    by_class_fixed: Tensor | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class Curve:
    """Everything that was measured along a stream.

    Attributes:
        anytime: evaluations at the anytime points, in order.
        task_ends: one evaluation after each task.

    Example:
        >>> curve = Curve(task_ends=[Evaluation(50, 1.0, torch.tensor([1.0, float("nan")]))])
        >>> curve.task_ends.append(Evaluation(100, 0.75, torch.tensor([0.5, 1.0])))
        >>> a_last(curve), forgetting(curve)
        (0.75, 0.5)
    """

    anytime: list[Evaluation] = field(default_factory=list)
    task_ends: list[Evaluation] = field(default_factory=list)

    def points(self, *, end: bool = True) -> list[Evaluation]:
        """The points of the anytime curve: with ``end``, the end of the stream is one even if no
        threshold falls there."""
        points = list(self.anytime)
        last = self.task_ends[-1] if self.task_ends else None
        if end and last is not None and (not points or points[-1].samples_seen < last.samples_seen):
            points.append(last)
        return [p for p in points if p.accuracy == p.accuracy]

    def state_dict(self) -> dict[str, Any]:
        """Plain lists and tensors."""
        rows = {
            name: [tuple(getattr(e, f.name) for f in fields(e)) for e in getattr(self, name)]
            for name in ("anytime", "task_ends")
        }
        return rows

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("anytime", "task_ends"):
            setattr(self, name, [Evaluation(*values) for values in state[name]])


def a_auc(curve: Curve, *, end: bool = True) -> float:
    """Area under the anytime curve: the plain mean of accuracy over the anytime points (i-Blurry,
    Koh et al., ICLR 2022).

    ``end=False`` leaves the end of the stream out, as the published Si-Blurry code does.
    """
    points = curve.points(end=end)
    return sum(p.accuracy for p in points) / len(points) if points else float("nan")


def a_last(curve: Curve) -> float:
    """Accuracy over all seen classes after the last task."""
    return curve.task_ends[-1].accuracy if curve.task_ends else float("nan")


def a_avg(curve: Curve) -> float:
    """Mean over tasks of the accuracy after each (tasks before any class was seen left out)."""
    ends = [e.accuracy for e in curve.task_ends if e.accuracy == e.accuracy]
    return sum(ends) / len(ends) if ends else float("nan")


def class_forgetting(curve: Curve, *, definition: str = "default") -> Tensor:
    """Forgetting of each class: (classes,) with NaN where it is undefined.

    Definitions:
        ``default``: maximum over earlier task ends minus final accuracy, for classes seen before
        the last task. ``published``: best earlier anytime point minus final, for classes that were
        ever right before. ``published_task_end``: the same over earlier task ends, F_last of the
        Si-Blurry code. ``first``: accuracy at the first task end at which the class was seen, minus
        final.

    Raises:
        InputError: unknown definition.
    """
    if definition not in ("default", "published", "published_task_end", "first"):
        raise InputError(
            f"class forgetting {definition!r} is not known: it is default, published,"
            " published_task_end or first"
        )
    if len(curve.task_ends) < 2:
        width = len(curve.task_ends[0].by_class) if curve.task_ends else 0
        return torch.full((width,), float("nan"), dtype=torch.float64)
    final = curve.task_ends[-1].by_class
    if definition == "published":
        earlier = [
            e.by_class for e in curve.anytime if e.samples_seen < curve.task_ends[-1].samples_seen
        ]
        earlier = earlier or [e.by_class for e in curve.task_ends[:-1]]
    else:
        earlier = [e.by_class for e in curve.task_ends[:-1]]
    history = torch.stack(earlier)
    known = ~history.isnan()
    if definition == "first":
        row = known.int().argmax(dim=0)
        reference = history.gather(0, row[None])[0]
    else:
        reference = history.nan_to_num(nan=-1.0).amax(dim=0)
        known = known & (reference > 0) if definition.startswith("published") else known
    return torch.where(known.any(dim=0), reference - final, torch.full_like(final, float("nan")))


def forgetting(curve: Curve, *, definition: str = "default") -> float:
    """Mean of :func:`class_forgetting` over the classes it is defined for; NaN with fewer than two
    tasks."""
    return _mean(class_forgetting(curve, definition=definition))


def task_accuracy(curve: Curve, new_classes: list[list[int]]) -> Tensor:
    """(tasks, ends): mean class accuracy of each task's classes after each task; NaN before it and
    without classes.

    Args:
        curve: of one run.
        new_classes: per task the classes that first appeared in it.
    """
    table = torch.full((len(new_classes), len(curve.task_ends)), float("nan"), dtype=torch.float64)
    for i, classes in enumerate(new_classes):
        for t, end in enumerate(curve.task_ends):
            if t >= i and classes:
                table[i, t] = end.by_class[list(classes)].nanmean()
    return table


def task_forgetting(
    curve: Curve, new_classes: list[list[int]], *, definition: str = "task"
) -> float:
    """Forgetting over tasks instead of classes, on the classes that first appeared in each.

    Definitions:
        ``task`` (L2P family): maximum over earlier task ends of a task's accuracy minus final, mean
        over tasks but the last;
            negative where a task has improved.
        ``one_step`` (CODA-Prompt's code): 1/(T-1) sum over t >= 1 of the mean over i < t of acc[i,
        t-1] - acc[i, t]; a loss
            per step, hence several times smaller than the others.
        ``first``: accuracy when learnt minus final.

    Raises:
        InputError: unknown definition.
    """
    table = task_accuracy(curve, new_classes)
    n = table.shape[1]
    if definition not in ("task", "one_step", "first"):
        raise InputError(
            f"task forgetting {definition!r} is not known: it is task, one_step or first"
        )
    if n < 2:
        return float("nan")
    if definition == "one_step":
        steps = [_mean(table[:t, t - 1] - table[:t, t]) for t in range(1, n)]
        return _mean(torch.tensor(steps, dtype=torch.float64))
    before, final = table[:-1, :-1], table[:-1, -1]
    reference = (
        before.nan_to_num(nan=-1.0).amax(dim=1) if definition == "task" else before.diagonal()
    )
    return _mean(torch.where(before.isnan().all(dim=1), float("nan"), reference - final))


def results(
    curve: Curve, new_classes: list[list[int]], *, end: bool = True
) -> dict[str, float | None]:
    """The numbers of a finished run; None where one is undefined.

    Keys: ``a_auc``, ``a_last``, ``a_avg``, ``forgetting`` (class-wise), ``task_forgetting``, and by
    name the other definitions ``forgetting_published``, ``forgetting_published_task_end``,
    ``forgetting_first``, ``task_forgetting_one_step``.
    """
    values = {
        "a_auc": a_auc(curve, end=end),
        "a_last": a_last(curve),
        "a_avg": a_avg(curve),
        "forgetting": forgetting(curve),
        "task_forgetting": task_forgetting(curve, new_classes),
        "forgetting_published": forgetting(curve, definition="published"),
        "forgetting_published_task_end": forgetting(curve, definition="published_task_end"),
        "forgetting_first": forgetting(curve, definition="first"),
        "task_forgetting_one_step": task_forgetting(curve, new_classes, definition="one_step"),
    }
    return {name: value if value == value else None for name, value in values.items()}


def multi_label_run_results(
    curve: Curve, new_classes: list[list[int]], *, end: bool = True
) -> dict[str, float | None]:
    """The numbers of a finished multi-label run; None where one is undefined.

    Keys: ``map_avg`` (mean of mAP after each task), ``map_last``, ``a_auc`` (of anytime mAP),
    ``forgetting`` (class-wise, of AP), ``task_forgetting`` (per task, of mAP on the test set seen
    at the time) and ``task_forgetting_fixed`` (on the fixed test set of each task), and the scores
    of the last task (``cf1_80``, ``of1_80``, ``cf1_50``, ...: threshold in percent).
    """
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
        **(curve.task_ends[-1].scores if curve.task_ends else {}),
    }
    return {name: value if value == value else None for name, value in values.items()}


def _mean(values: Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.mean()) if len(values) else float("nan")
