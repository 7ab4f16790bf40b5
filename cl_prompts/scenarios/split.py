"""Splits of samples into tasks: values that can be printed, indexed, compared and stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.datasets.classes import check_labels, count_labels

Classes = tuple[tuple[int, ...], ...]  # classes of each task


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BaseSplit:
    """The assignment of samples to tasks, and their order.

    The base of ``Split`` (one class per sample) and ``MultiLabelSplit``. A split is a sequence over
    its tasks; ``print`` shows ``describe()``. Two splits are equal when all their fields are.

    Attributes:
        name: name of the stream, such as "Si-Blurry" or "class-incremental".
        tasks: data-set rows of each task in stream order, (n,) int64, read-only. A task may be
            empty, and a row may occur in several tasks.
        counts: samples of each class in each task, (n_tasks, n_classes) int64, read-only.
        n_samples: size of the data set, including samples in no task.
        boundaries: whether task boundaries are announced to the learner, which may then train on a
            task's samples in any order and for several epochs.
        parameters: arguments of the scenario function, such as ``{"seed": 1}``, as JSON values.
            They are printed and stored.

    Example:
        >>> from cl_prompts.scenarios import Split
        >>> split = Split.of("by hand", [0, 1, 0, 1], [[0, 2], [1, 3]])
        >>> split.n_tasks, split.sizes, split[1].tolist()
        (2, [2, 2], [1, 3])
    """

    name: str
    tasks: tuple[np.ndarray, ...]
    counts: np.ndarray
    n_samples: int
    boundaries: bool = False
    parameters: Mapping[str, object] = field(default_factory=dict)

    #: checks labels, given with a name for messages; returns them and the number of classes
    _checked: ClassVar[staticmethod[[ArrayLike, str], tuple[np.ndarray, int]]]

    @classmethod
    def of(
        cls,
        name: str,
        labels: ArrayLike,
        tasks: Iterable[ArrayLike],
        *,
        visible: ArrayLike | None = None,
        **others: Any,
    ) -> Self:
        """Make a split from the rows of each task.

        Args:
            name: see above.
            labels: integer label of each sample, (n,), where each of 0..C-1 must occur; or, for a
                ``MultiLabelSplit``, a 0/1 matrix (n, C), where each class must be positive in at
                least one row.
            tasks: rows of each task, in stream order.
            visible: annotated classes of each task, (n_tasks, C) bool; None for all.
            others: further fields, such as ``boundaries`` and ``parameters``.

        Raises:
            InputError: other labels.
        """
        checked, n_classes = cls._checked(labels, "labels")
        rows = tuple(map(read_only, tasks))
        counts = count_labels(checked, rows, n_classes)
        if visible is not None:
            # Hidden labels do not count.
            counts = np.where(visible, counts, 0)
        return cls(name=name, tasks=rows, counts=counts, n_samples=len(checked), **others)

    def __post_init__(self) -> None:
        """Convert the fields to read-only values."""
        # Parameters as JSON returns them, so that equal splits have equal texts.
        parameters = json.loads(json.dumps(dict(self.parameters)))
        object.__setattr__(self, "tasks", tuple(map(read_only, self.tasks)))
        object.__setattr__(self, "counts", read_only(self.counts))
        object.__setattr__(self, "parameters", parameters)

    @property
    def n_tasks(self) -> int:
        """Number of tasks, including empty ones."""
        return len(self.tasks)

    @property
    def n_classes(self) -> int:
        """Number of classes in the data set, including those in no task."""
        return self.counts.shape[1]

    @property
    def sizes(self) -> list[int]:
        """Training samples of each task."""
        return [len(rows) for rows in self.tasks]

    @property
    def visible(self) -> np.ndarray:
        """Classes that the learner sees in each task, (n_tasks, n_classes) bool."""
        return self.counts > 0

    @property
    def seen(self) -> np.ndarray:
        """Classes visible up to the end of each task, (n_tasks, n_classes) bool."""
        return np.logical_or.accumulate(self.visible)

    @property
    def occurrences(self) -> np.ndarray:
        """Occurrences of each sample over all tasks, (n_samples,) int64."""
        return np.bincount(np.concatenate(self.tasks), minlength=self.n_samples)

    @property
    def ordered(self) -> bool:
        """Whether the order of a task's samples is part of the scenario; if not, shuffle."""
        return not self.boundaries

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.tasks)

    def __getitem__(self, task: Any) -> object:
        """Return the rows of one task, or a tuple of them for a slice."""
        return self.tasks[task]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        both = zip(self.tasks, other.tasks, strict=False)
        return self.plain() == other.plain() and all(np.array_equal(*rows) for rows in both)

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def __str__(self) -> str:
        return self.describe()

    @property
    def title(self) -> str:
        """Name, sizes and parameters in one line."""
        sizes = f"{self.n_tasks} tasks, {self.n_classes} classes, {self.n_samples} samples"
        given = [f"{name}={value}" for name, value in self.parameters.items()]
        return f"{self.name} split: {', '.join([sizes, *given])}"

    def describe(self) -> str:
        """Return a table of samples and visible classes, and the numbers of unusual samples."""
        seen = self.seen.sum(axis=1)
        columns: dict[str, list[object]] = {
            "task": [*range(self.n_tasks), "all"],
            "samples": [*self.sizes, sum(self.sizes)],
            "classes": [*self.visible.sum(axis=1), seen[-1]],
            "new classes": [*np.diff(seen, prepend=0), seen[-1]],
        }
        cells = []
        for name, values in columns.items():
            width = max(len(name), len(str(values[-1])))
            cells.append([str(value).rjust(width) for value in (name, *values)])
        times = self.occurrences
        several, none = np.count_nonzero(times > 1), np.count_nonzero(times == 0)
        notes = f"in several tasks: {several} samples; in no task: {none}"
        return "\n".join([self.title, *map("  ".join, zip(*cells, strict=True)), notes])

    def plain(self) -> dict[str, object]:
        """Return all fields as JSON values, with the sizes of the tasks instead of their rows."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tasks"}
        return json.loads(json.dumps({**kept, "sizes": self.sizes}, default=_plain))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Split(BaseSplit):
    """A split of samples with one class each.

    Made by ``si_blurry_split`` and its relatives, or from your own tasks by ``Split.of``. See
    ``BaseSplit`` for the fields of all splits. ``split[t]`` holds the rows of task t.

    Example:
        >>> split = Split.of("by hand", labels=[0, 1, 0, 1], tasks=[[2, 0], [3, 1]])
        >>> split
        <by hand split: 2 tasks, 2 classes, 4 samples>
        >>> split[0].tolist(), split.counts.tolist()
        ([2, 0], [[2, 0], [0, 2]])

    Attributes:
        disjoint_classes: classes of each home task that occur in no other task, in the order drawn.
        blurry_classes: classes of each home task whose samples may also occur in other tasks.

    Both are empty for a scenario without home tasks.
    """

    disjoint_classes: Classes = ()
    blurry_classes: Classes = ()
    _checked = staticmethod(check_labels)

    def __post_init__(self) -> None:
        """Convert the classes to tuples of integers, one for each task."""
        super().__post_init__()
        for name in ("disjoint_classes", "blurry_classes"):
            by_task = getattr(self, name) or ((),) * self.n_tasks
            classes = tuple(tuple(int(c) for c in classes) for classes in by_task)
            object.__setattr__(self, name, classes)

    @property
    def homes(self) -> np.ndarray:
        """Home task of each class, (n_classes,) int64; -1 for a class without one."""
        homes = np.full(self.n_classes, -1, dtype=np.int64)
        for by_task in (self.disjoint_classes, self.blurry_classes):
            for task, classes in enumerate(by_task):
                homes[list(classes)] = task
        return homes


def read_only(values: ArrayLike) -> np.ndarray:
    """Return a read-only int64 copy."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


def _plain(value: BaseSplit | np.ndarray) -> object:
    """Convert a field that JSON does not know."""
    return value.plain() if isinstance(value, BaseSplit) else value.tolist()
