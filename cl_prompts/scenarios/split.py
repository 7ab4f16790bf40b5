"""The value that a split of labelled samples into blurry tasks is: printable, indexable,
comparable, storable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cl_prompts.errors import InputError

FORMAT = "cl-prompts blurry split 2"


@dataclass(frozen=True, eq=False, repr=False)
class BlurrySplit:
    """Which sample of a data set comes in which task, and when. Made by ``si_blurry_split`` and its
    relatives.

    A sequence over tasks: ``len(split)`` tasks, ``split[t]`` the data-set rows of task t in stream
    order. ``print`` shows ``describe()``. Two splits are equal when all their fields are.

    Attributes:
        tasks: per task the data-set rows in stream order, (n,) int64, read-only. A task may be
            empty.
        disjoint_classes: per task the classes that occur in it alone, in the order in which they
            were drawn.
        blurry_classes: per task the blurry classes that have their home in it; of their samples
            some may be elsewhere.
        dropped_classes: classes that occur in no task (none unless ``leftover="drop"``).
        counts: samples of each class in each task, (n_tasks, n_classes) int64, read-only.
        n_samples: size of the data set; more than the tasks hold together if something was dropped.
        disjoint_percent, blurry_percent, seed, stochastic, leftover: the parameters of
            ``si_blurry_split``.
        boundaries: whether the learner is told where tasks begin and end, and may shuffle inside
            them (``class_incremental_split``).
    """

    tasks: tuple[np.ndarray, ...]
    disjoint_classes: tuple[tuple[int, ...], ...]
    blurry_classes: tuple[tuple[int, ...], ...]
    dropped_classes: tuple[int, ...]
    counts: np.ndarray
    n_samples: int
    disjoint_percent: int
    blurry_percent: int
    seed: int
    stochastic: bool
    leftover: str
    boundaries: bool = False

    def __post_init__(self) -> None:
        """Bring whatever sequences came in (lists, arrays, JSON) into their one read-only form."""
        set_field = object.__setattr__
        set_field(self, "tasks", tuple(read_only(rows) for rows in self.tasks))
        set_field(self, "counts", read_only(self.counts))
        set_field(self, "dropped_classes", tuple(int(c) for c in self.dropped_classes))
        for name in ("disjoint_classes", "blurry_classes"):
            set_field(
                self, name, tuple(tuple(int(c) for c in classes) for classes in getattr(self, name))
            )

    @property
    def n_tasks(self) -> int:
        return len(self.tasks)

    @property
    def sizes(self) -> list[int]:
        """Training samples of each task."""
        return [len(rows) for rows in self.tasks]

    @property
    def visible(self) -> np.ndarray:
        """Which classes occur in each task, (n_tasks, n_classes) bool."""
        return self.counts > 0

    @property
    def ordered(self) -> bool:
        """Whether the order of samples inside a task is part of the scenario; otherwise training
        shuffles."""
        return not self.boundaries

    @property
    def n_classes(self) -> int:
        """Number of classes in the data set, dropped ones included."""
        return self.counts.shape[1]

    @property
    def homes(self) -> np.ndarray:
        """Home task of each class, (n_classes,) int64; -1 for a dropped class."""
        homes = np.full(self.n_classes, -1, dtype=np.int64)
        for task, classes in enumerate(
            zip(self.disjoint_classes, self.blurry_classes, strict=True)
        ):
            homes[[*classes[0], *classes[1]]] = task
        return homes

    @property
    def visitors(self) -> np.ndarray:
        """Per task the samples whose class has its home in another task, (n_tasks,) int64; all of
        them are blurry."""
        at_home = np.arange(self.n_tasks)[:, None] == self.homes
        return np.where(at_home, 0, self.counts).sum(axis=1)

    @property
    def n_blurry_samples(self) -> int:
        """Samples of blurry classes in the stream."""
        return int(self.counts[:, [c for classes in self.blurry_classes for c in classes]].sum())

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.tasks)

    def __getitem__(self, task: Any) -> Any:
        """Rows of one task, or a tuple of them for a slice."""
        return self.tasks[task]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlurrySplit):
            return NotImplemented
        return self._plain() == other._plain() and all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(self._arrays(), other._arrays(), strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(self._plain().values()))

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """A readable table: what each task holds, how much really moved, and what was dropped."""
        visitors = self.visitors
        disjoint, blurry = (
            [len(c) for c in kind] for kind in (self.disjoint_classes, self.blurry_classes)
        )
        rows: list[tuple[Any, ...]] = [
            ("task", "samples", "disjoint classes", "blurry home classes", "visitors")
        ]
        rows += zip(
            range(self.n_tasks), self.sizes, disjoint, blurry, visitors.tolist(), strict=True
        )
        rows += [("all", sum(self.sizes), sum(disjoint), sum(blurry), visitors.sum())]
        return "\n".join([self._title(), *table(rows), self.moved, self._dropped()])

    def to_json(self) -> str:
        """The whole value as JSON text; ``from_json`` gives an equal value back."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content["tasks"] = [rows.tolist() for rows in self.tasks]
        content["counts"] = self.counts.tolist()
        return json.dumps({"format": FORMAT, **content})

    @classmethod
    def from_json(cls, text: str) -> BlurrySplit:
        """Rebuild what ``to_json`` wrote.

        Raises:
            InputError: the text is not JSON, or not of a blurry split.
        """
        content = parse_json(text, FORMAT, {f.name for f in fields(cls)})
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise InputError(f"a field of this split has the wrong content: {error}") from error

    def _plain(self) -> dict[str, Any]:
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("tasks", "counts")
        }

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return (self.counts, *self.tasks)

    @property
    def kind(self) -> str:
        """What such a split is called."""
        if self.boundaries:
            return "class-incremental"
        if self.n_tasks == 1:
            return "i.i.d."
        return (
            "Si-Blurry"
            if self.stochastic
            else "disjoint"
            if self.disjoint_percent == 100
            else "i-Blurry"
        )

    @property
    def parameters(self) -> str:
        """The parameters of the draw, in words."""
        return (
            f"disjoint {self.disjoint_percent} %, blurry {self.blurry_percent} %, seed {self.seed}"
        )

    @property
    def moved(self) -> str:
        """How many samples are away from the home of their class, in words."""
        moved, blurry = int(self.visitors.sum()), self.n_blurry_samples
        ratio = f" ({100 * moved / blurry:.1f} %)" if blurry else ""
        return f"away from home: {moved} of {blurry} blurry samples{ratio}"

    def _title(self) -> str:
        return (
            f"{self.kind} split: {self.n_tasks} task{'s' * (self.n_tasks > 1)}, {self.n_classes}"
            f" classes, {self.n_samples} samples, {self.parameters}"
        )

    def _dropped(self) -> str:
        lost = self.n_samples - sum(len(rows) for rows in self.tasks)
        if not lost:
            return "dropped: nothing"
        classes = ", ".join(map(str, self.dropped_classes)) or "none"
        return f"dropped: {lost} samples; classes in no task: {classes}"


def read_only(values: Any) -> np.ndarray:
    """A private int64 copy that refuses to be written to."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


def table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as lines whose columns are flush right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(str(v).rjust(w) for v, w in zip(row, widths, strict=True)) for row in rows]


def parse_json(text: str, form: str, names: set[str]) -> dict[str, Any]:
    """The fields of a split out of its JSON text.

    Raises:
        InputError: not JSON, not of this format, or with other fields.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"this is not the JSON text of a split: {error}") from error
    if (
        not isinstance(content, dict)
        or content.pop("format", None) != form
        or set(content) != names
    ):
        raise InputError(f"this JSON text is not a split written by to_json (format {form!r})")
    return content
