"""Columns of tables of results: where a value stands in a summary, and how it is written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: finds a value in a summary; None where undefined
Lookup = Callable[[Mapping[str, Any]], float | None]
Best = Callable[[Iterable[float]], float]


def at(*keys: str) -> Lookup:
    """Function that looks up nested ``keys`` in a summary; None for what is missing, or no number
    that is finite."""

    def value(summary: Any) -> float | None:
        for key in keys:
            summary = (summary or {}).get(key)
        return float(summary) if summary is not None and math.isfinite(summary) else None

    return value


@dataclass(frozen=True)
class Column:
    """Column of a table of results.

    Attributes:
        title: heading.
        value: its value in a summary.
        best: picks the best mean; None for a column without a best.
        optional: left out of a table where no run has a value.
        key: name of the value in ``summary.json``; empty for what is not a result.
        definition: sentence for a footnote; empty where the page defines it elsewhere.
        digits: behind the point, of what is not in percent.
    """

    title: str
    value: Lookup
    best: Best | None = None
    optional: bool = False
    key: str = ""
    definition: str = ""
    digits: int = 0

    def text(self, values: Sequence[float]) -> str:
        """Text of the values of all seeds.

        >>> own_score("top5").text([0.70, 0.72]), own_score("top5").text([0.7])
        ('71.0 ± 1.4', '70.0 -')
        """
        if not values:
            return "-"
        mean = statistics.mean(values)
        if not self.key:
            return f"{mean:,.{self.digits}f}"
        # The sample standard deviation (n-1).
        spread = f"± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "-"
        return f"{100 * mean:.1f} {spread}"


def _score(
    title: str, key: str, best: Best | None, definition: str = "", *, optional: bool = False
) -> Column:
    """Column of a final number in percent."""
    # A space at which no line is broken.
    heading = f"{title}\u00a0%"
    shown = optional or bool(definition)
    return Column(heading, at("results", key), best, shown, key, definition)


def own_score(name: str) -> Column:
    """Column of a metric of the user's own, of which nobody knows which value is best."""
    return _score(name, name, None, optional=True)


_A_AUC = _score("A_AUC", "a_auc", max, optional=True)
_TASKS_AND_COST = (
    _score("task forgetting", "task_forgetting", min),
    _score("BWT", "bwt", max, optional=True),
    _score("FWT", "fwt", max, optional=True),
    Column("trainable", at("trainable_parameters")),
    Column("images/s", at("images_per_second")),
    Column("F train", at("forward_passes", "train"), digits=2),
    Column("F eval", at("forward_passes", "evaluation"), digits=2),
    Column("device MB", at("peak_device_memory_mb"), optional=True),
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
_AVERAGE = "mean over task ends of the accuracy over all classes seen, pooled over test images"
_BY_TASK = (
    "unweighted mean over tasks of the accuracy on the classes of each, after the last task: the"
    " headline number of L2P, DualPrompt and MULTI-LANE"
)
_BY_TASK_AVERAGE = "the same mean over the tasks so far, averaged over task ends"
_F_LAST = (
    "forgetting over the classes with an accuracy above 0 at an earlier task end: the only"
    " forgetting of the Si-Blurry code"
)
_ANYTIME = (
    "as F_last, with the best earlier anytime point in the place of the best earlier task end: this"
    " project's own, in no paper"
)
_L2P = (
    "task forgetting with the final task end among those of the maximum, so never negative, and"
    " accuracies pooled over a task's test images: the code of L2P, DualPrompt and MULTI-LANE"
)
_ONE_STEP = (
    "mean decrease of a task's accuracy, the mean over its classes, from one task end to the next:"
    " several times smaller than the others"
)
_POOLED = "the same with accuracies pooled over a task's test images: the code of CODA-Prompt"
#: numbers that papers report under other definitions, as docs/definitions.md defines them
BY_NAME = (
    _score("A_avg", "a_avg", max, _AVERAGE),
    _score("A_last by task", "a_last_by_task", max, _BY_TASK),
    _score("A_avg by task", "a_avg_by_task", max, _BY_TASK_AVERAGE),
    _score("F_last", "f_last", min, _F_LAST),
    _score("anytime forgetting", "forgetting_anytime", min, _ANYTIME),
    _score("task forgetting, L2P", "task_forgetting_l2p", min, _L2P),
    _score("task forgetting, one step", "task_forgetting_one_step", min, _ONE_STEP),
    _score("task forgetting, one step, pooled", "task_forgetting_one_step_pooled", min, _POOLED),
)
_LOST_AP = (
    "of a class: its best average precision at an earlier task end minus its final one; mean over"
    " the classes seen before the last task"
)
_FIXED = "task forgetting on the test set that was in use after the task, which does not grow"
_HARMONIC = (
    "harmonic mean of mean precision and mean recall, at 0.8: the other CF1 of the literature"
)
MULTI_LABEL_BY_NAME = (
    _score("forgetting", "forgetting", min, _LOST_AP),
    _score("task forgetting, fixed", "task_forgetting_fixed", min, _FIXED),
    _score("CF1 at 0.5", "cf1_50", max, "CF1 with labels predicted above a probability of 0.5"),
    _score("OF1 at 0.5", "of1_50", max, "OF1 with labels predicted above a probability of 0.5"),
    _score("CF1, harmonic", "cf1_harmonic_80", max, _HARMONIC),
)
