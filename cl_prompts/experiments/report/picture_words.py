"""What pictures show, in words with numbers: their alternative texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def of_stream(stream: Any, sizes: Sequence[int], unit: str) -> str:
    """Tasks and classes of a stream.

    Args:
        stream: fields that ``stream_figure`` draws.
        sizes: images of each task.
        unit: of its counts.

    >>> stream = {"counts": [[3, 0], [1, 4]], "disjoint_classes": [[], [1]],
    ...           "blurry_classes": [[0], []]}
    >>> of_stream(stream, [3, 5], "samples")
    '8 samples of 2 classes, 1 disjoint and 1 blurry; tasks of 3 and 5 images'
    """
    counts = np.asarray(stream["counts"])
    kinds = {
        kind: sum(len(task) for task in stream.get(f"{kind}_classes", ()))
        for kind in ("disjoint", "blurry")
    }
    told = " and ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
    n = int(counts.any(axis=0).sum())
    return (
        f"{int(counts.sum()):,} {unit} of {n} {'class' if n == 1 else 'classes'}"
        f"{', ' + told if told else ''}; {_tasks(sizes)}"
    )


def _tasks(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"one task of {sizes[0]:,} images"
    if len(sizes) > 8:
        return f"{len(sizes)} tasks of {min(sizes):,} to {max(sizes):,} images"
    *most, last = (f"{n:,}" for n in sizes)
    return f"tasks of {', '.join(most)} and {last} images"


def of_usage(counts: ArrayLike, entropy: ArrayLike) -> str:
    """Uses of prompts.

    Args:
        counts: (tasks, prompts) uses.
        entropy: (tasks,) in bits, NaN for a task without any.

    >>> of_usage([[1, 3], [2, 2]], [0.81, 1.0])
    '2 prompts, entropy of a task 0.81 to 1.00 bits of 1.00; most used is prompt 1, 62 % of all'
    """
    values = np.asarray(counts, float)
    bits = np.asarray(entropy, float)
    total = values.sum(axis=0)
    n = len(total)
    if np.isnan(bits).all() or not total.sum():
        return f"{n} prompts, none used"
    most = int(total.argmax())
    return (
        f"{n} prompts, entropy of a task {np.nanmin(bits):.2f} to {np.nanmax(bits):.2f} bits of"
        f" {np.log2(n):.2f}; most used is prompt {most}, {100 * total[most] / total.sum():.0f} % of"
        " all"
    )


def of_keys(similarity: ArrayLike) -> str:
    """Cosines between different keys.

    >>> of_keys([[1, 0.5], [0.5, 1]])
    '2 keys, cosine between two of them from 0.50 to 0.50, mean 0.50'
    """
    values = np.asarray(similarity, float)
    others = values[~np.eye(len(values), dtype=bool)]
    others = others[~np.isnan(others)]
    if not len(others):
        return f"{len(values)} key"
    return (
        f"{len(values)} keys, cosine between two of them from {others.min():.2f} to"
        f" {others.max():.2f}, mean {others.mean():.2f}"
    )


def of_buffer(counts: ArrayLike, unit: str) -> str:
    """What a buffer held at the end.

    Args:
        counts: (tasks, classes).
        unit: of the counts.

    >>> of_buffer([[4, 0], [2, 2]], "samples")
    'after the last task 4 samples, 2 to 2 of each of 2 classes'
    """
    last = np.asarray(counts, float)[-1]
    held = last[last > 0]
    if not len(held):
        return "empty after the last task"
    return (
        f"after the last task {held.sum():.0f} {unit}, {held.min():.0f} to {held.max():.0f} of each"
        f" of {len(held)} classes"
    )


def of_examples(images: ArrayLike, truth: ArrayLike, predicted: ArrayLike) -> str:
    """Labels that were found, missed and wrongly predicted.

    >>> of_examples([0, 0], [[1, 0], [1, 1]], [[1, 1], [0, 1]])
    '2 images, 2 labels found, 1 missed, 1 wrongly predicted'
    """
    true = np.asarray(truth, bool)
    guessed = np.asarray(predicted, bool)
    return (
        f"{len(np.asarray(images))} images, {int((true & guessed).sum())} labels found,"
        f" {int((true & ~guessed).sum())} missed, {int((guessed & ~true).sum())} wrongly predicted"
    )
