"""Si-Blurry, i-Blurry and disjoint streams, drawn from the labels alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from cl_prompts.checks import one_of, whole_number
from cl_prompts.datasets.classes import check_labels, count_labels, permutation
from cl_prompts.scenarios.split import Split

Leftover = Literal["keep", "drop"]
Order = Sequence[int] | int | None
Rows = list[np.ndarray]  # one int64 array per task, of data-set rows or of classes


def si_blurry_split(
    targets: ArrayLike,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
    class_order: Order = None,
) -> Split:
    """Split labelled samples into tasks with stochastic blurry boundaries.

    Source: Moon et al., ICCV 2023, arXiv 2308.09303, sampler of the published code. With C classes
    there are ``d = C * disjoint_percent // 100 // n_tasks * n_tasks`` disjoint classes, each in one
    task, and ``b = (C - d) // n_tasks * n_tasks`` blurry classes, some of whose samples are
    shuffled among the tasks. The other 0 to ``n_tasks - 1`` classes are left over.

    All random numbers come from one private generator (MT19937, seeded by the low 32 bits of
    ``seed``), in this order. ``perm(k)`` is ``torch.randperm(k)``; ``cuts(h)`` are ``n_tasks - 1``
    sorted draws from 0 to h - 1. Fixed mode is ``stochastic=False``.

    1. ``perm(C)``: the order of classes; the first d are disjoint, the next b blurry.
    2. ``cuts(d)`` if d > 0, then ``cuts(b)`` if b > 0: the home task of each class (fixed mode: no
       draw, equal shares).
    3. ``cuts(K)`` with K = blurry_percent % of all blurry samples, if K > 0: the number of
       lowest-index blurry samples that each task puts into a pool, and the number it gets back
       (fixed mode: no draw; each task gives blurry_percent % of its own, and gets an equal share of
       the pool).
    4. ``perm(len(pool))``: the order in which the pool is dealt.
    5. Per task ``perm(len(task))``: the order of its samples. The published sampler ends here.
    6. ``leftover="keep"`` only: one draw from 0 to n_tasks - 1 per leftover class, its home (fixed
       mode: no draw; the i-th leftover class goes to task i, the i-th of the
       ``len(pool) % n_tasks`` undealt samples to task i).
    7. ``leftover="keep"`` only: per task with added samples ``perm(n)``, n its new size, whose
       first entries are the positions of the added samples. The published samples fill the other
       positions in their order.

    So a "keep" stream without the added samples is the "drop" stream. Leftover classes count as
    blurry, but steps 3 and 4 do not shuffle them: their samples stay in their home task. A task may
    be empty.

    Example:
        >>> from cl_prompts.scenarios import si_blurry_split
        >>> split = si_blurry_split([0, 1, 2, 3] * 25, n_tasks=2, blurry_percent=20, seed=3)
        >>> split.name, split.sizes, split.disjoint_classes
        ('Si-Blurry', [25, 75], ((2,), (3,)))

    Args:
        targets: integer label of each sample, (n,), in the data set's order; each of 0..C-1 must
            occur.
        n_tasks: number of tasks, 1 to C.
        disjoint_percent: percent of the classes that are disjoint ("n" in the paper).
        blurry_percent: percent of the blurry classes' samples that are shuffled ("m"). A shuffled
            sample may return to its home task, so only 4 to 7 % move at 10.
        seed: fixes the split; global random states are neither read nor changed.
        stochastic: True is Si-Blurry; False is i-Blurry with equal shares.
        leftover: "keep" uses all classes and samples; "drop" omits those that the published sampler
            loses (leftover classes; in fixed mode also the undealt rest of the pool), and equals it
            bit for bit.
        class_order: a permutation of 0..C-1, or its seed, instead of the draw in step 1, which is
            made all the same. Disjoint and blurry classes are then spread evenly over the order,
            so that both kinds come in it; leftover classes are its last ones.

    Raises:
        InputError: labels other than 0..C-1, or a parameter out of its range.
    """
    labels, n_classes = check_labels(targets, "targets")
    given = labels, n_classes, n_tasks, disjoint_percent, blurry_percent, seed, stochastic
    return blurry_stream(*given, leftover, class_order)


def i_blurry_split(
    targets: ArrayLike,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    leftover: Leftover = "keep",
    class_order: Order = None,
) -> Split:
    """Split labelled samples into tasks with blurry boundaries and equal numbers of classes.

    ``si_blurry_split`` with ``stochastic=False`` (Koh et al., ICLR 2022, i-Blurry).
    """
    labels, n_classes = check_labels(targets, "targets")
    given = labels, n_classes, n_tasks, disjoint_percent, blurry_percent, seed, False
    return blurry_stream(*given, leftover, class_order)


def disjoint_split(
    targets: ArrayLike,
    *,
    n_tasks: int = 5,
    seed: int = 1,
    leftover: Leftover = "keep",
    class_order: Order = None,
) -> Split:
    """Split labelled samples into tasks of equally many classes, each class in one task.

    ``i_blurry_split`` with ``disjoint_percent=100``. Classes left over by the division are listed
    as blurry, but each stays in one task, too.
    """
    given: dict[str, Any] = {"n_tasks": n_tasks, "seed": seed, "leftover": leftover}
    split = i_blurry_split(targets, disjoint_percent=100, class_order=class_order, **given)
    percents = ("disjoint_percent", "blurry_percent", "stochastic")
    kept = {name: value for name, value in split.parameters.items() if name not in percents}
    return replace(split, name="disjoint", parameters=kept)


def blurry_stream(
    labels: np.ndarray,
    n_classes: int,
    n_tasks: int,
    disjoint_percent: int,
    blurry_percent: int,
    seed: int,
    stochastic: bool,
    leftover: Leftover,
    class_order: Order = None,
) -> Split:
    """Draw the stream of ``si_blurry_split`` from checked labels (n,) int64.

    Unlike there, some of the C classes may have no sample.

    Raises:
        InputError: a parameter out of its range.
    """
    n_tasks = whole_number("n_tasks", n_tasks, 1, n_classes, "the number of classes")
    disjoint_percent = whole_number("disjoint_percent", disjoint_percent, 0, 100)
    blurry_percent = whole_number("blurry_percent", blurry_percent, 0, 100)
    seed = whole_number("seed", seed, 0, 2**64 - 1)
    one_of("leftover", leftover, Leftover)

    draws = _Draws(seed, n_tasks, stochastic)
    # Step 1: the order of classes; the number of disjoint ones is a multiple of n_tasks.
    order = draws.permutation(n_classes)
    n_disjoint = n_classes * disjoint_percent // 100 // n_tasks * n_tasks
    n_blurry = (n_classes - n_disjoint) // n_tasks * n_tasks
    if class_order is not None:
        given = permutation("class_order", f"the {n_classes} classes", n_classes, class_order)
        order = _spread(given, n_disjoint, n_blurry)
    # Step 2: homes of the two kinds.
    disjoint = draws.homes(order[:n_disjoint])
    blurry = draws.homes(order[n_disjoint : n_disjoint + n_blurry])
    rest = order[n_disjoint + n_blurry :]
    # Rows of each home, and of each leftover class, in one pass over the labels.
    rows = rows_of(labels, [*disjoint, *blurry, *rest[:, None]], n_classes)
    # Steps 3 to 5: the published streams.
    tasks, undealt = _published_streams(
        rows[:n_tasks], rows[n_tasks : 2 * n_tasks], blurry_percent, draws
    )
    if leftover == "keep":
        # Steps 6 and 7: homes of the leftover classes, and positions of the added samples.
        home = draws.below(n_tasks, len(rest)) if stochastic else np.arange(len(rest))
        extra = [rest[home == task] for task in range(n_tasks)]
        blurry = [np.concatenate(pair) for pair in zip(blurry, extra, strict=True)]
        of_class = dict(zip(rest.tolist(), rows[2 * n_tasks :], strict=True))
        for task, stream in enumerate(tasks):
            added = [of_class[label] for label in extra[task].tolist()]
            # np.concatenate needs at least one array: undealt[:0] is empty.
            additions = np.sort(np.concatenate([undealt[:0], *added]))
            extra_rows = np.concatenate([undealt[task : task + 1], additions])
            tasks[task] = _insert(stream, extra_rows, draws)
    return Split(
        name="Si-Blurry" if stochastic else "i-Blurry",
        tasks=tuple(tasks),
        counts=count_labels(labels, tasks, n_classes),
        n_samples=len(labels),
        parameters={
            "disjoint_percent": disjoint_percent,
            "blurry_percent": blurry_percent,
            "seed": seed,
            "stochastic": stochastic,
            "leftover": leftover,
            **({} if class_order is None else {"class_order": given.tolist()}),
        },
        disjoint_classes=tuple(tuple(classes.tolist()) for classes in disjoint),
        blurry_classes=tuple(tuple(classes.tolist()) for classes in blurry),
    )


def rows_of(labels: np.ndarray, classes: Rows, n_classes: int) -> Rows:
    """Return the rows with a label among each task's classes, ascending."""
    n_tasks = len(classes)
    # Task of each class, n_tasks for none. The smallest integer type gives a linear radix sort.
    task_of_class = np.full(n_classes, n_tasks, dtype=np.min_scalar_type(n_tasks))
    for task, own in enumerate(classes):
        task_of_class[own] = task
    task_of_row = task_of_class[labels]
    sizes = np.bincount(task_of_row, minlength=n_tasks + 1)
    # The last part holds the rows of no task.
    return np.split(np.argsort(task_of_row, kind="stable"), sizes.cumsum()[:-1])[:n_tasks]


def _spread(order: np.ndarray, n_disjoint: int, n_blurry: int) -> np.ndarray:
    """Disjoint classes, evenly spaced in an order, then blurry ones, then the leftover."""
    n = n_disjoint + n_blurry
    disjoint = np.zeros(len(order), dtype=bool)
    disjoint[np.arange(n_disjoint) * n // max(1, n_disjoint)] = True
    return np.concatenate([order[disjoint], order[~disjoint]])


class _Draws:
    """The private generator of one split."""

    def __init__(self, seed: int, n_tasks: int, stochastic: bool) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.n_tasks = n_tasks
        self.stochastic = stochastic

    def permutation(self, n: int) -> np.ndarray:
        return torch.randperm(n, generator=self.generator).numpy()

    def below(self, high: int, n: int) -> np.ndarray:
        return torch.randint(high, (n,), generator=self.generator).numpy()

    def cuts(self, high: int) -> np.ndarray:
        """Return the n_tasks - 1 inner cut points of a random division of ``high`` items."""
        return np.sort(self.below(high, self.n_tasks - 1))

    def homes(self, classes: np.ndarray) -> Rows:
        """Divide classes among tasks; no classes, no draw."""
        # Equal cuts leave a task without classes, as published.
        if self.stochastic and len(classes):
            return np.split(classes, self.cuts(len(classes)))
        return np.split(classes, self.n_tasks)


def _published_streams(
    own: Rows, mine: Rows, blurry_percent: int, draws: _Draws
) -> tuple[Rows, np.ndarray]:
    """Run steps 3 to 5 of ``si_blurry_split``.

    Args:
        own, mine: rows of each task's disjoint, and of its blurry classes.

    Returns:
        the published streams, and the rest of the pool that fixed mode does not deal.
    """
    if draws.stochastic:
        # Step 3: "m" % of all blurry samples, at random cut points.
        total = sum(map(len, mine)) * blurry_percent // 100
        cuts = draws.cuts(total) if total else np.zeros(draws.n_tasks - 1, dtype=np.int64)
        gives = np.diff(cuts, prepend=0, append=total)
        ends = gives.cumsum()  # a task gets back as many as it gives, while the pool lasts
    else:
        gives = np.array([len(rows) * blurry_percent // 100 for rows in mine])
        ends = np.arange(1, draws.n_tasks + 1) * (gives.sum() // draws.n_tasks)
    # Step 4: the order in which the pool is dealt; step 5: the order in each task.
    pool = np.concatenate([rows[:n] for rows, n in zip(mine, gives, strict=True)])
    *gets, undealt = np.split(pool[draws.permutation(len(pool))], ends)
    streams = []
    for rows, blurry, n, got in zip(own, mine, gives, gets, strict=True):
        task = np.concatenate([rows, blurry[n:], got])
        streams.append(task[draws.permutation(len(task))])
    return streams, undealt


def _insert(stream: np.ndarray, extra: np.ndarray, draws: _Draws) -> np.ndarray:
    """Insert rows at random positions; the others keep their order."""
    if not len(extra):
        return stream
    n = len(stream) + len(extra)
    # The first draws are the positions of the extra rows; the stream fills the others in order.
    places = draws.permutation(n)[: len(extra)]
    result = np.empty(n, dtype=np.int64)
    result[places] = extra
    result[np.delete(np.arange(n), places)] = stream
    return result
