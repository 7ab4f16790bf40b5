"""The Si-Blurry sampler itself: from one label per sample to the order of everything."""

from __future__ import annotations

from importlib import import_module
from typing import Literal

import numpy as np

from cl_prompts.checks import one_of, whole_number
from cl_prompts.datasets.labels import count_classes
from cl_prompts.errors import InputError
from cl_prompts.scenarios.split import Split

Leftover = Literal["keep", "drop"]
Rows = list[np.ndarray]  # one int64 array per task: data-set rows, or classes


def blurry_stream(
    labels: np.ndarray,
    n_classes: int,
    *,
    n_tasks: int,
    disjoint_percent: int,
    blurry_percent: int,
    seed: int,
    stochastic: bool,
    leftover: Leftover,
) -> Split:
    """Draw the stream that ``si_blurry_split`` documents.

    Args:
        labels: checked labels (n,) int64, of which some classes may have no sample.
        n_classes: number of classes, those without a sample included.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see
            ``si_blurry_split``.

    Raises:
        InputError: a parameter out of its range.
    """
    n_tasks = whole_number("n_tasks", n_tasks, 1, n_classes, "the number of classes")
    disjoint_percent = whole_number("disjoint_percent", disjoint_percent, 0, 100)
    blurry_percent = whole_number("blurry_percent", blurry_percent, 0, 100)
    seed = whole_number("seed", seed, 0, 2**64 - 1)
    if not isinstance(stochastic, bool):
        raise InputError(f"stochastic must be True or False, not {stochastic!r}")
    one_of("leftover", leftover, Leftover)

    draws = _Draws(seed, n_tasks, stochastic)
    order = draws.permutation(n_classes)
    n_disjoint = n_classes * disjoint_percent // 100 // n_tasks * n_tasks
    n_blurry = (n_classes - n_disjoint) // n_tasks * n_tasks
    disjoint = draws.homes(order[:n_disjoint])
    blurry = draws.homes(order[n_disjoint : n_disjoint + n_blurry])
    rest = order[n_disjoint + n_blurry :]
    tasks, undealt = _published_streams(
        rows_of(labels, disjoint, n_classes),
        rows_of(labels, blurry, n_classes),
        blurry_percent,
        draws,
    )
    if leftover == "keep":
        extra = draws.leftover_homes(rest)
        blurry = [np.concatenate(pair) for pair in zip(blurry, extra, strict=True)]
        additions = rows_of(labels, extra, n_classes)
        for task, stream in enumerate(tasks):
            extra_rows = np.concatenate([undealt[task : task + 1], additions[task]])
            tasks[task] = _insert(stream, extra_rows, draws)
    return Split(
        name="Si-Blurry" if stochastic else "i-Blurry",
        tasks=tuple(tasks),
        counts=count_classes(labels, tasks, n_classes),
        n_samples=len(labels),
        parameters={
            "disjoint_percent": disjoint_percent,
            "blurry_percent": blurry_percent,
            "seed": seed,
            "stochastic": stochastic,
            "leftover": leftover,
        },
        disjoint_classes=tuple(tuple(classes.tolist()) for classes in disjoint),
        blurry_classes=tuple(tuple(classes.tolist()) for classes in blurry),
    )


def rows_of(labels: np.ndarray, classes: Rows, n_classes: int) -> Rows:
    """Return per task the rows with a label among its classes, ascending."""
    n_tasks = len(classes)
    # The smallest integer type lets numpy sort by radix, in linear time.
    task_of_class = np.full(n_classes, n_tasks, dtype=np.min_scalar_type(n_tasks))
    for task, own in enumerate(classes):
        task_of_class[own] = task
    task_of_row = task_of_class[labels]
    sizes = np.bincount(task_of_row, minlength=n_tasks + 1)
    return np.split(np.argsort(task_of_row, kind="stable"), sizes.cumsum()[:-1])[:n_tasks]


class _Draws:
    """The private generator of one split, and what is drawn from it in its mode."""

    def __init__(self, seed: int, n_tasks: int, stochastic: bool) -> None:
        # Here, since listing scenarios takes no torch.
        self._torch = import_module("torch")
        self.generator = self._torch.Generator().manual_seed(seed)
        self.n_tasks = n_tasks
        self.stochastic = stochastic

    def permutation(self, n: int) -> np.ndarray:
        drawn: np.ndarray = self._torch.randperm(n, generator=self.generator).numpy()
        return drawn

    def permuted(self, values: np.ndarray) -> np.ndarray:
        return values[self.permutation(len(values))]

    def below(self, high: int, n: int) -> np.ndarray:
        drawn: np.ndarray = self._torch.randint(high, (n,), generator=self.generator).numpy()
        return drawn

    def cuts(self, high: int) -> np.ndarray:
        """The n_tasks - 1 inner cut points of a random division of ``high`` things."""
        return np.sort(self.below(high, self.n_tasks - 1))

    def homes(self, classes: np.ndarray) -> Rows:
        """Divide classes among tasks; without classes nothing is drawn."""
        if self.stochastic and len(classes):
            return np.split(classes, self.cuts(len(classes)))
        return np.split(classes, self.n_tasks)

    def leftover_homes(self, classes: np.ndarray) -> Rows:
        n = len(classes)
        home = self.below(self.n_tasks, n) if self.stochastic else np.arange(n)
        return [classes[home == task] for task in range(self.n_tasks)]


def _published_streams(
    own: Rows, mine: Rows, blurry_percent: int, draws: _Draws
) -> tuple[Rows, np.ndarray]:
    """Steps 3 to 5 of ``si_blurry_split``: the published streams, and the pool's rest that fixed
    mode does not deal.

    Args:
        own: per task the rows of its disjoint classes.
        mine: per task the rows of its blurry classes.
        blurry_percent: percent of the latter that go into the pool.
        draws: the split's generator.
    """
    if draws.stochastic:
        total = sum(map(len, mine)) * blurry_percent // 100
        cuts = draws.cuts(total) if total else np.zeros(draws.n_tasks - 1, dtype=np.int64)
        gives = np.diff(cuts, prepend=0, append=total)
        ends = gives.cumsum()  # a task gets as many as it was to give, as long as the pool lasts
    else:
        gives = np.array([len(rows) * blurry_percent // 100 for rows in mine])
        ends = np.arange(1, draws.n_tasks + 1) * (gives.sum() // draws.n_tasks)
    pool = draws.permuted(np.concatenate([rows[:n] for rows, n in zip(mine, gives, strict=True)]))
    *gets, undealt = np.split(pool, ends)
    parts = zip(own, mine, gives, gets, strict=True)
    streams = [
        draws.permuted(np.concatenate([rows, blurry[n:], got])) for rows, blurry, n, got in parts
    ]
    return streams, undealt


def _insert(stream: np.ndarray, extra: np.ndarray, draws: _Draws) -> np.ndarray:
    """Put extra rows at random places of a stream that otherwise keeps its order."""
    if not len(extra):
        return stream
    n = len(stream) + len(extra)
    places = draws.permutation(n)[: len(extra)]
    result = np.empty(n, dtype=np.int64)
    result[places] = extra
    result[np.delete(np.arange(n), places)] = stream
    return result
