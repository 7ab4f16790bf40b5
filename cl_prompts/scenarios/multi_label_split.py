"""The value that a split of multi-label images into tasks is: printable, indexable, comparable,
storable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cl_prompts.errors import InputError
from cl_prompts.scenarios.split import BlurrySplit, parse_json, read_only, table

FORMAT = "cl-prompts multi-label split 1"


@dataclass(frozen=True, eq=False)
class MultiLabelTask:
    """One task: which classes are annotated in it, and its images.

    Attributes:
        classes: label ids that are visible in the task, ascending.
        train_indices: data-set rows in stream order, (n,) int64, read-only.
    """

    classes: tuple[int, ...]
    train_indices: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelSplit:
    """Which image comes in which task, and which of its labels are seen there.

    Made by ``mlcil_split`` and ``si_blurry_multi_label_split``. A sequence over tasks:
    ``len(split)`` tasks, ``split[t]`` a ``MultiLabelTask``. ``print`` shows ``describe()``. Two
    splits are equal when all their fields are.

    In task t the learner sees the labels of the classes that are visible there, ``visible[t]``; any
    other label of the task's images is 0 to it, although the image may well show that class.

    Attributes:
        tasks: per task the data-set rows in stream order, (n,) int64, read-only. A blurry task may
            be empty.
        counts: visible positives of each class in each task, (n_tasks, n_classes) int64, read-only.
            A class is visible in a task exactly where its count is not 0.
        n_samples: images in the training set, those in no task included.
        n_unlabelled: training images without any label; they are in no task.
        n_labels: all labels of the training set. In ``mlcil_split`` each is visible in one task; a
            blurry split hides a part of them.
        test_first: per test image the first task after which one of its classes has been visible,
            (n_test,) int64, read-only, -1 for never; None when no test labels were given.
        anchors: the single-label Si-Blurry stream behind a blurry split (see
            ``si_blurry_multi_label_split``); None for ``mlcil_split``.
    """

    tasks: tuple[np.ndarray, ...]
    counts: np.ndarray
    n_samples: int
    n_unlabelled: int
    n_labels: int
    test_first: np.ndarray | None = None
    anchors: BlurrySplit | None = None

    def __post_init__(self) -> None:
        """Bring whatever sequences came in (lists, arrays, JSON) into their one read-only form."""
        set_field = object.__setattr__
        set_field(self, "tasks", tuple(read_only(rows) for rows in self.tasks))
        set_field(self, "counts", read_only(self.counts))
        if self.test_first is not None:
            set_field(self, "test_first", read_only(self.test_first))

    @property
    def n_tasks(self) -> int:
        return len(self.tasks)

    @property
    def n_classes(self) -> int:
        return self.counts.shape[1]

    @property
    def sizes(self) -> list[int]:
        """Training images of each task."""
        return [len(rows) for rows in self.tasks]

    @property
    def visible(self) -> np.ndarray:
        """Which classes are annotated in each task, (n_tasks, n_classes) bool."""
        return self.counts > 0

    @property
    def seen(self) -> np.ndarray:
        """Which classes have been visible up to the end of each task, (n_tasks, n_classes) bool."""
        return np.logical_or.accumulate(self.visible)

    @property
    def boundaries(self) -> bool:
        """Whether the learner is told where tasks begin and end."""
        return self.anchors is None

    @property
    def ordered(self) -> bool:
        """Whether the order of images inside a task is part of the scenario; otherwise training
        shuffles."""
        return not self.boundaries

    def test_indices(self, task: int) -> np.ndarray:
        """Rows of the cumulative test set after a task, ascending int64: images with a class seen
        by then.

        Labels of classes not seen by then (``seen[task]``) count as 0 in it.

        Raises:
            InputError: the split was made without test labels.
        """
        if self.test_first is None:
            raise InputError(
                "this split knows no test set: make it with test_labels=, the 0/1 matrix of the"
                " test images"
            )
        return np.flatnonzero(
            (self.test_first >= 0) & (self.test_first <= range(self.n_tasks)[task])
        )

    def with_test_labels(self, test_labels: np.ndarray) -> MultiLabelSplit:
        """The same split with a test set, given as its checked 0/1 matrix (n_test, n_classes)."""
        if test_labels.shape[1] != self.n_classes:
            raise InputError(
                f"test_labels has {test_labels.shape[1]} columns and labels {self.n_classes}: both"
                " need one per class"
            )
        # Column t: the image has a class that is seen by the end of task t.
        reached = test_labels.astype(np.float32) @ self.seen.T.astype(np.float32) > 0
        return replace(self, test_first=np.where(reached.any(axis=1), reached.argmax(axis=1), -1))

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[MultiLabelTask]:
        return (self[task] for task in range(self.n_tasks))

    def __getitem__(self, task: Any) -> Any:
        """One task, or a tuple of them for a slice."""
        if isinstance(task, slice):
            return tuple(self[i] for i in range(self.n_tasks)[task])
        return MultiLabelTask(tuple(np.flatnonzero(self.counts[task]).tolist()), self.tasks[task])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiLabelSplit):
            return NotImplemented
        return self._plain() == other._plain() and all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(self._arrays(), other._arrays(), strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._plain())

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """A readable table: what each task holds and shows, and what is in no task."""
        columns: dict[str, list[int]] = {"images": self.sizes}
        if self.anchors is not None:
            columns["disjoint classes"] = [
                len(classes) for classes in self.anchors.disjoint_classes
            ]
            columns["blurry home classes"] = [
                len(classes) for classes in self.anchors.blurry_classes
            ]
            columns["visitors"] = self.anchors.visitors.tolist()
        columns["visible classes"] = self.visible.sum(axis=1).tolist()
        columns["visible labels"] = self.counts.sum(axis=1).tolist()
        sums = [
            sum(values) if name != "visible classes" else int(self.seen[-1].sum())
            for name, values in columns.items()
        ]
        if self.test_first is not None:
            columns["test images"] = [len(self.test_indices(task)) for task in range(self.n_tasks)]
            sums.append(columns["test images"][-1])
        rows = zip(range(self.n_tasks), *columns.values(), strict=True)
        lines = [self._title(), *table([("task", *columns), *rows, ("all", *sums)]), *self._notes()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The whole value as JSON text; ``from_json`` gives an equal value back."""
        content: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        content["tasks"] = [rows.tolist() for rows in self.tasks]
        content["counts"] = self.counts.tolist()
        content["test_first"] = None if self.test_first is None else self.test_first.tolist()
        content["anchors"] = None if self.anchors is None else json.loads(self.anchors.to_json())
        return json.dumps({"format": FORMAT, **content})

    @classmethod
    def from_json(cls, text: str) -> MultiLabelSplit:
        """Rebuild what ``to_json`` wrote.

        Raises:
            InputError: the text is not JSON, or not of a multi-label split.
        """
        content = parse_json(text, FORMAT, {f.name for f in fields(cls)})
        if content["anchors"] is not None:
            content["anchors"] = BlurrySplit.from_json(json.dumps(content["anchors"]))
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise InputError(f"a field of this split has the wrong content: {error}") from error

    def _plain(self) -> tuple[Any, ...]:
        return (
            self.n_tasks,
            self.n_samples,
            self.n_unlabelled,
            self.n_labels,
            self.test_first is None,
            self.anchors,
        )

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return (self.counts, *self.tasks, *(() if self.test_first is None else (self.test_first,)))

    def _title(self) -> str:
        size = (
            f"split: {self.n_tasks} task{'s' * (self.n_tasks > 1)}, {self.n_classes} classes, "
            f"{self.n_samples} images, {self.n_labels} labels"
        )
        if self.anchors is None:
            return f"multi-label class-incremental {size}"
        return f"multi-label {self.anchors.kind} {size}, {self.anchors.parameters}"

    def _notes(self) -> list[str]:
        unlabelled = f"in no task: {self.n_unlabelled} images without any label"
        if self.anchors is None:
            times = np.bincount(np.concatenate(self.tasks), minlength=self.n_samples)
            return [f"in several tasks: {np.count_nonzero(times > 1)} images", unlabelled]
        shown = int(self.counts.sum())
        dropped = self.n_samples - self.n_unlabelled - sum(self.sizes)
        if dropped:
            unlabelled += f", and {dropped} others dropped"
        return [
            self.anchors.moved,
            f"visible: {shown} of {self.n_labels} labels ({100 * shown / self.n_labels:.1f} %)",
            unlabelled,
        ]
