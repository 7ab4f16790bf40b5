"""Si-Blurry, i-Blurry, disjoint and i.i.d. streams: who sees which sample when, as pure index
arithmetic on labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cl_prompts.datasets.labels import check_labels
from cl_prompts.scenarios.si_blurry_sampler import Leftover, blurry_stream
from cl_prompts.scenarios.split import Split


def si_blurry_split(
    targets: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
) -> Split:
    """Split labelled samples into tasks with stochastic blurry boundaries.

    Source: Moon et al., ICCV 2023, arXiv 2308.09303, sampler of the published code. With C classes
    there are ``d = C * disjoint_percent // 100 // n_tasks * n_tasks`` disjoint classes, which live
    in one task each, and ``b = (C - d) // n_tasks * n_tasks`` blurry ones, of which a part of the
    samples is shuffled among the tasks. The other 0 to ``n_tasks - 1`` classes are left over.

    All randomness comes from one private generator (MT19937, seeded by the low 32 bits of
    ``seed``), drawn in this order; ``perm(k)`` is ``torch.randperm(k)``, ``cuts(h)`` are
    ``n_tasks - 1`` sorted draws from 0 to h - 1:

    1. ``perm(C)``: the order of classes; the first d are disjoint, the next b blurry.
    2. ``cuts(d)`` if d > 0, then ``cuts(b)`` if b > 0: which task is home of which classes (fixed
       mode: no draw, equal shares).
    3. ``cuts(K)`` with K = blurry_percent % of all blurry samples, if K > 0: how many of its
       lowest-index blurry samples each task gives into a pool, and how many it gets back (fixed
       mode: no draw; each task gives blurry_percent % of its own, and gets an equal share of the
       pool).
    4. ``perm(len(pool))``: the order in which the pool is dealt.
    5. Per task ``perm(len(task))``: the order of its samples. Here the published sampler ends.
    6. ``leftover="keep"`` only: one draw from 0 to n_tasks - 1 per leftover class, its home (fixed
       mode: no draw; the i-th leftover class goes to task i, the i-th of the
       ``len(pool) % n_tasks`` undealt samples to task i).
    7. ``leftover="keep"`` only: per task that gets any of these samples ``perm(n)``, n its new
       size, whose first entries are their positions; the published samples fill the others in their
       order.

    So taking the added samples out of a "keep" stream leaves the "drop" stream. Leftover classes
    count as blurry, but the shuffling of steps 3 and 4 is over when they come: their samples stay
    in their home task. A task may be empty.

    Example:
        >>> from cl_prompts.scenarios import si_blurry_split
        >>> split = si_blurry_split([0, 1, 2, 3] * 25, n_tasks=2, blurry_percent=20, seed=3)
        >>> split.name, split.sizes, split.disjoint_classes
        ('Si-Blurry', [25, 75], ((2,), (3,)))

    Args:
        targets: integer label of each sample, (n,), in the data set's order; every one of 0..C-1
            must occur.
        n_tasks: number of tasks, 1 to C.
        disjoint_percent: percent of the classes that are disjoint ("n" in the paper).
        blurry_percent: percent of the blurry classes' samples that are shuffled ("m"). A shuffled
            sample may fall back into its home task, so only 4 to 7 % really move at 10;
            ``describe()`` tells the effective ratio.
        seed: fixes the split; global random states are neither read nor changed.
        stochastic: True is Si-Blurry, False is i-Blurry with equal shares.
        leftover: "keep" loses no class and no sample; "drop" leaves out what the published sampler
            loses (leftover classes; in fixed mode also the undealt rest of the pool) and equals it
            bit for bit.

    Raises:
        InputError: labels that are not exactly 0..C-1, or a parameter out of its range.
    """
    labels, n_classes = check_labels(targets, "targets")
    return blurry_stream(
        labels,
        n_classes,
        n_tasks=n_tasks,
        disjoint_percent=disjoint_percent,
        blurry_percent=blurry_percent,
        seed=seed,
        stochastic=stochastic,
        leftover=leftover,
    )


def i_blurry_split(
    targets: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    leftover: Leftover = "keep",
) -> Split:
    """Split labelled samples into tasks with blurry boundaries and equal numbers of classes.

    ``si_blurry_split`` with ``stochastic=False`` (Koh et al., ICLR 2022, i-Blurry).
    """
    return si_blurry_split(
        targets,
        n_tasks=n_tasks,
        disjoint_percent=disjoint_percent,
        blurry_percent=blurry_percent,
        seed=seed,
        stochastic=False,
        leftover=leftover,
    )


def disjoint_split(
    targets: Any, *, n_tasks: int = 5, seed: int = 1, leftover: Leftover = "keep"
) -> Split:
    """Split labelled samples into tasks with every class in one task, equally many in each.

    ``i_blurry_split`` with ``disjoint_percent=100``. Classes left over by the division count as
    blurry by name, but they too stay whole in one task.
    """
    split = i_blurry_split(
        targets, n_tasks=n_tasks, disjoint_percent=100, seed=seed, leftover=leftover
    )
    return replace(split, name="disjoint", parameters={"seed": seed, "leftover": leftover})


def iid_split(targets: Any, *, seed: int = 1) -> Split:
    """Put all samples into one task in a seeded random order: the stream of the joint upper
    bound."""
    split = i_blurry_split(targets, n_tasks=1, disjoint_percent=0, blurry_percent=0, seed=seed)
    return replace(split, name="i.i.d.", parameters={"seed": seed})
