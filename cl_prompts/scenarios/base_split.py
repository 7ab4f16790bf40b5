"""The base of all splits of samples into tasks: a checked value that can be printed, indexed,
compared and stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from cl_prompts.errors import InputError


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BaseSplit:
    """Which sample of a data set comes in which task, and in which order.

    The base of ``Split`` (one class per sample) and ``MultiLabelSplit``. A split is a sequence over
    its tasks; ``print`` shows ``describe()``. Two splits are equal when all their fields are.

    Attributes:
        name: what such a stream is called, such as "Si-Blurry" or "class-incremental".
        tasks: per task the data-set rows in stream order, (n,) int64, read-only. A task may be
            empty, and a row may come in several tasks.
        counts: samples of each class in each task, (n_tasks, n_classes) int64, read-only.
        n_samples: size of the data set, samples that are in no task included.
        boundaries: whether task boundaries are announced to the learner, which may then pass over
            a task's samples in any order, several times.
        parameters: of the scenario function that made the stream, by name, such as
            ``{"seed": 1}``; values that JSON can hold. They are printed and stored.

    Raises:
        InputError: no task, or a row outside the data set.

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
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields, and bring lists, arrays and JSON into their one read-only form."""
        self._set("tasks", as_tasks(self.tasks, self.n_samples))
        self._set("counts", read_only(self.counts))
        # As JSON gives them back, so that equal splits have equal texts.
        self._set("parameters", json.loads(json.dumps(dict(self.parameters))))

    def _set(self, name: str, value: Any) -> None:
        """Set a field while the value is being made."""
        object.__setattr__(self, name, value)

    @property
    def n_tasks(self) -> int:
        """Number of tasks, empty ones included."""
        return len(self.tasks)

    @property
    def n_classes(self) -> int:
        """Number of classes in the data set, those in no task included."""
        return self.counts.shape[1]

    @property
    def sizes(self) -> list[int]:
        """Training samples of each task."""
        return [len(rows) for rows in self.tasks]

    @property
    def visible(self) -> np.ndarray:
        """Which classes the learner is shown in each task, (n_tasks, n_classes) bool."""
        return self.counts > 0

    @property
    def seen(self) -> np.ndarray:
        """Which classes have been visible up to the end of each task, (n_tasks, n_classes) bool."""
        return np.logical_or.accumulate(self.visible)

    @property
    def occurrences(self) -> np.ndarray:
        """How often each sample of the data set comes, all tasks together, (n_samples,) int64."""
        return np.bincount(np.concatenate(self.tasks), minlength=self.n_samples)

    @property
    def ordered(self) -> bool:
        """Whether the order of samples inside a task is part of the scenario; otherwise training
        shuffles."""
        return not self.boundaries

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Any]:
        return (self[task] for task in range(len(self)))

    def __getitem__(self, task: Any) -> Any:
        """Rows of one task, or a tuple of them for a slice."""
        return self.tasks[task]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def __str__(self) -> str:
        return self.describe()

    @property
    def title(self) -> str:
        """Name, sizes and parameters in one line."""
        given = [f"{name}={value}" for name, value in self.parameters.items()]
        return f"{self.name} split: {', '.join([*self.facts(), *given])}"

    def facts(self) -> list[str]:
        """The sizes in words, for the title."""
        tasks = f"{self.n_tasks} task{'s' * (self.n_tasks > 1)}"
        return [tasks, f"{self.n_classes} classes", f"{self.n_samples} samples"]

    def columns(self) -> dict[str, tuple[Sequence[int], int]]:
        """Columns of the table that ``describe`` prints: one number per task, and one over all."""
        return {"samples": (self.sizes, sum(self.sizes))}

    def notes(self) -> list[str]:
        """Lines below the table that ``describe`` prints."""
        return []

    def describe(self) -> str:
        """A table of the samples in each task, and of those in none."""
        columns = self.columns()
        per_task = zip(*(values for values, _ in columns.values()), strict=True)
        rows = [("task", *columns), *((task, *values) for task, values in enumerate(per_task))]
        rows.append(("all", *(total for _, total in columns.values())))
        return "\n".join([self.title, *_table(rows), *self.notes()])

    def to_json(self) -> str:
        """All fields as JSON text; equal splits have equal texts."""
        return json.dumps(_plain(self))


def as_tasks(tasks: Iterable[Any], n_samples: int) -> tuple[np.ndarray, ...]:
    """Data-set rows per task as read-only arrays (n,) int64.

    Raises:
        InputError: no task, or one that is not a 1-D sequence of rows 0 to n_samples - 1.
    """
    checked = tuple(_rows(task, rows, n_samples) for task, rows in enumerate(tasks))
    if not checked:
        raise InputError("a split needs at least one task")
    return checked


def _rows(task: int, rows: Any, n_samples: int) -> np.ndarray:
    array = np.asarray(rows)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"task {task} must be a 1-D sequence of row numbers, not {array.ndim}-D of type"
            f" {array.dtype}"
        )
    if array.size and not 0 <= array.min() <= array.max() < n_samples:
        wrong = int(array.min() if array.min() < 0 else array.max())
        raise InputError(
            f"task {task} holds row {wrong}, and the data set has the rows 0 to {n_samples - 1}"
        )
    return read_only(array)


def read_only(values: Any) -> np.ndarray:
    """A private int64 copy that refuses to be written to."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


def _plain(value: Any) -> Any:
    """The parts of a split as JSON can hold them."""
    if isinstance(value, BaseSplit):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as lines whose columns are flush right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(str(v).rjust(w) for v, w in zip(row, widths, strict=True)) for row in rows]
