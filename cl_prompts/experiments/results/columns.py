"""Columns of tables of results: where a value stands in a summary, and how it is written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: finds a value in a summary; None where undefined
Lookup = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Column:
    """Column of a table of results.

    Attributes:
        title: heading.
        value: its value in a summary.
        text: text of the values of all seeds.
        best: picks the best mean; None for a column without a best.
        optional: left out of a table where no run has a value.
        key: name of the value in ``summary.json``.
        definition: sentence for a footnote; empty where the page defines it elsewhere.
    """

    title: str
    value: Lookup
    text: Callable[[Sequence[float]], str]
    best: Callable[[Iterable[float]], float] | None = None
    optional: bool = False
    key: str = ""
    definition: str = ""

    @property
    def file_key(self) -> str:
        """Name of the column in a file."""
        return self.key or self.title.replace("\u00a0", " ").replace(" ", "_")


def percent(values: Sequence[float]) -> str:
    """Mean and sample standard deviation (n-1) in percent; ``-`` where undefined.

    >>> percent([0.70, 0.72])
    '71.0 ± 1.4'
    >>> percent([0.70])
    '70.0 -'
    """
    if not values:
        return "-"
    spread = f"± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "-"
    return f"{100 * statistics.mean(values):.1f} {spread}"


def _mean(digits: int) -> Callable[[Sequence[float]], str]:
    return lambda values: f"{statistics.mean(values):,.{digits}f}" if values else "-"


def at(*keys: str) -> Lookup:
    """Function that looks up nested ``keys`` in a summary; None for what is missing, or no number
    that is finite."""

    def value(summary: Any) -> float | None:
        for key in keys:
            summary = (summary or {}).get(key)
        return float(summary) if summary is not None and math.isfinite(summary) else None

    return value


def _score(
    title: str,
    key: str,
    best: Callable[[Iterable[float]], float],
    definition: str = "",
    *,
    optional: bool = False,
) -> Column:
    """Column of a final number in percent."""
    # A space at which no line is broken.
    heading = f"{title}\u00a0%"
    value = at("results", key)
    return Column(heading, value, percent, best, optional or bool(definition), key, definition)


def own_score(name: str) -> Column:
    """Column of a metric of the user's own, of which nobody knows which value is best."""
    return Column(f"{name}\u00a0%", at("results", name), percent, optional=True, key=name)


_A_AUC = _score("A_AUC", "a_auc", max, optional=True)
_TASKS_AND_COST = (
    _score("task forgetting", "task_forgetting", min),
    _score("BWT", "bwt", max, optional=True),
    _score("FWT", "fwt", max, optional=True),
    Column("trainable", at("trainable_parameters"), _mean(0)),
    Column("images/s", at("images_per_second"), _mean(0)),
    Column("F train", at("forward_passes", "train"), _mean(2)),
    Column("F eval", at("forward_passes", "evaluation"), _mean(2)),
    Column("device MB", at("peak_device_memory_mb"), _mean(0), optional=True),
)
COLUMNS = (
    _A_AUC,
    _score("A_last", "a_last", max),
    _score("forgetting", "forgetting", min),
    *_TASKS_AND_COST,
)
MULTI_LABEL_COLUMNS = (
    _A_AUC,
    _score("avg mAP", "map_avg", max),
    _score("last mAP", "map_last", max),
    _score("CF1", "cf1", max),
    _score("OF1", "of1", max),
    *_TASKS_AND_COST,
)
#: numbers that papers report under other definitions, as docs/definitions.md defines them
BY_NAME = (
    _score(
        "A_avg",
        "a_avg",
        max,
        "mean over task ends of the accuracy over all classes seen, pooled over test images",
    ),
    _score(
        "A_last by task",
        "a_last_by_task",
        max,
        "unweighted mean over tasks of the accuracy on the classes of each, after the last task:"
        " the headline number of L2P, DualPrompt and MULTI-LANE",
    ),
    _score(
        "A_avg by task",
        "a_avg_by_task",
        max,
        "the same mean over the tasks so far, averaged over task ends",
    ),
    _score(
        "F_last",
        "f_last",
        min,
        "forgetting over the classes with an accuracy above 0 at an earlier task end: the only"
        " forgetting of the Si-Blurry code",
    ),
    _score(
        "anytime forgetting",
        "forgetting_anytime",
        min,
        "as F_last, with the best earlier anytime point in the place of the best earlier task end:"
        " this project's own, in no paper",
    ),
    _score(
        "task forgetting, L2P",
        "task_forgetting_l2p",
        min,
        "task forgetting with the final task end among those of the maximum, so never negative, and"
        " accuracies pooled over a task's test images: the code of L2P, DualPrompt and MULTI-LANE",
    ),
    _score(
        "task forgetting, one step",
        "task_forgetting_one_step",
        min,
        "mean decrease of a task's accuracy, the mean over its classes, from one task end to the"
        " next: several times smaller than the others",
    ),
    _score(
        "task forgetting, one step, pooled",
        "task_forgetting_one_step_pooled",
        min,
        "the same with accuracies pooled over a task's test images: the code of CODA-Prompt",
    ),
)
MULTI_LABEL_BY_NAME = (
    _score(
        "forgetting",
        "forgetting",
        min,
        "of a class: its best average precision at an earlier task end minus its final one; mean"
        " over the classes seen before the last task",
    ),
    _score(
        "task forgetting, fixed",
        "task_forgetting_fixed",
        min,
        "task forgetting on the test set that was in use after the task, which does not grow",
    ),
    _score("CF1 at 0.5", "cf1_50", max, "CF1 with labels predicted above a probability of 0.5"),
    _score("OF1 at 0.5", "of1_50", max, "OF1 with labels predicted above a probability of 0.5"),
    _score(
        "CF1, harmonic",
        "cf1_harmonic_80",
        max,
        "harmonic mean of mean precision and mean recall, at 0.8: the other CF1 of the literature",
    ),
)
