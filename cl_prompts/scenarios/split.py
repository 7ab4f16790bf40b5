"""The split of a data set with one class per sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cl_prompts.datasets.classes import check_labels, count_classes
from cl_prompts.errors import InputError
from cl_prompts.scenarios.base_split import BaseSplit, as_tasks

Classes = tuple[tuple[int, ...], ...]  # per task some classes


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Split(BaseSplit):
    """Which sample of a single-label data set comes in which task, and in which order.

    Made by ``si_blurry_split`` and its relatives, or by ``Split.of`` from tasks of one's own. See
    ``BaseSplit`` for the fields that all splits have. ``split[t]`` are the rows of task t.

    Example:
        >>> split = Split.of("by hand", targets=[0, 1, 0, 1], tasks=[[2, 0], [3, 1]])
        >>> split
        <by hand split: 2 tasks, 2 classes, 4 samples>
        >>> split[0].tolist(), split.counts.tolist()
        ([2, 0], [[2, 0], [0, 2]])

    Attributes:
        disjoint_classes: per task the classes that have their home in it and occur in no other, in
            the order in which they were drawn.
        blurry_classes: per task the classes that have their home in it and of which some samples
            may come in other tasks.

    A scenario without homes leaves both empty.
    """

    disjoint_classes: Classes = ()
    blurry_classes: Classes = ()

    def __post_init__(self) -> None:
        """Bring classes into tuples of integers, one for each task."""
        super().__post_init__()
        for name in ("disjoint_classes", "blurry_classes"):
            by_task = getattr(self, name) or ((),) * self.n_tasks
            if len(by_task) != self.n_tasks:
                raise InputError(f"{name} must list the classes of each of {self.n_tasks} tasks")
            self._set(name, tuple(tuple(int(c) for c in classes) for classes in by_task))

    @classmethod
    def of(
        cls,
        name: str,
        targets: Any,
        tasks: Iterable[Any],
        *,
        boundaries: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> Split:
        """Make a split from the rows of each task, in stream order, and the integer label of each
        sample, (n,), of which every one of 0..C-1 must occur; see ``BaseSplit`` for the rest.

        Raises:
            InputError: labels that are not exactly 0..C-1, no task, or a row that does not exist.
        """
        labels, n_classes = check_labels(targets, "targets")
        rows = as_tasks(tasks, len(labels))
        return cls(
            name=name,
            tasks=rows,
            counts=count_classes(labels, rows, n_classes),
            n_samples=len(labels),
            boundaries=boundaries,
            parameters=parameters or {},
        )

    @property
    def homes(self) -> np.ndarray:
        """Home task of each class, (n_classes,) int64; -1 for a class without one."""
        homes = np.full(self.n_classes, -1, dtype=np.int64)
        for by_task in (self.disjoint_classes, self.blurry_classes):
            for task, classes in enumerate(by_task):
                homes[list(classes)] = task
        return homes

    @property
    def dropped_classes(self) -> tuple[int, ...]:
        """Classes that have no home and occur in no task, ascending."""
        dropped = (self.homes < 0) & ~self.counts.any(axis=0)
        return tuple(np.flatnonzero(dropped).tolist())

    @property
    def visitors(self) -> np.ndarray:
        """Per task the samples whose class has its home in another task, (n_tasks,) int64; all of
        them are of blurry classes."""
        # (n_tasks, n_classes): the class has its home in another task.
        away = (self.homes >= 0) & (np.arange(self.n_tasks)[:, None] != self.homes)
        return np.where(away, self.counts, 0).sum(axis=1)

    @property
    def n_blurry_samples(self) -> int:
        """Samples of blurry classes in the stream."""
        return int(self.counts[:, [c for classes in self.blurry_classes for c in classes]].sum())

    @property
    def moved(self) -> str:
        """How many samples are away from the home of their class, in words."""
        moved = int(self.visitors.sum())
        blurry = self.n_blurry_samples
        ratio = f" ({100 * moved / blurry:.1f} %)" if blurry else ""
        return f"away from home: {moved} of {blurry} blurry samples{ratio}"

    def home_columns(self) -> dict[str, tuple[Sequence[int], int]]:
        """Columns on the classes at home in each task, and the samples that visit it."""
        disjoint = [len(classes) for classes in self.disjoint_classes]
        blurry = [len(classes) for classes in self.blurry_classes]
        visitors = self.visitors.tolist()
        return {
            "disjoint classes": (disjoint, sum(disjoint)),
            "blurry home classes": (blurry, sum(blurry)),
            "visitors": (visitors, sum(visitors)),
        }

    def columns(self) -> dict[str, tuple[Sequence[int], int]]:
        """Samples, and the homes of classes; without blurry classes, the classes that occur."""
        if any(self.blurry_classes):
            return {**super().columns(), **self.home_columns()}
        n_visible = self.visible.sum(axis=1).tolist()
        n_seen = self.seen.sum(axis=1)
        # New classes of a task: how far it moves the number of classes seen.
        new = np.diff(n_seen, prepend=0).tolist()
        return {
            **super().columns(),
            "classes": (n_visible, int(n_seen[-1])),
            "new classes": (new, sum(new)),
        }

    def notes(self) -> list[str]:
        """How much really moved, what comes more than once, and what was dropped."""
        notes = [self.moved] if any(self.blurry_classes) else []
        times = self.occurrences
        if (times > 1).any():
            notes.append(f"more than once: {np.count_nonzero(times > 1)} samples")
        lost = np.count_nonzero(times == 0)
        if not lost:
            return [*notes, "dropped: nothing"]
        classes = ", ".join(map(str, self.dropped_classes)) or "none"
        return [*notes, f"dropped: {lost} samples; classes in no task: {classes}"]
