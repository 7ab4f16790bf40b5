"""Metrics of tables: where their values stand in a summary, and how they are printed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: returns a value of a summary; None where undefined
Lookup = Callable[[Mapping[str, Any]], float | None]
Best = Callable[[Iterable[float]], float]


def at(*keys: str) -> Lookup:
    """Return a lookup of nested ``keys``; it returns None for missing and non-finite values."""

    def value(summary: Any) -> float | None:
        for key in keys:
            summary = (summary or {}).get(key)
        return float(summary) if summary is not None and math.isfinite(summary) else None

    return value


@dataclass(frozen=True)
class Metric:
    """One metric of a table.

    Attributes:
        title: heading.
        value: returns its value of a summary.
        best: ``max`` or ``min``; None for a metric without a direction.
        optional: whether tables in which no run has a value leave it out.
        key: name of the value in ``results`` of ``summary.json``; empty for costs.
        digits: decimals of costs.
    """

    title: str
    value: Lookup
    best: Best | None = None
    optional: bool = False
    key: str = ""
    digits: int = 0

    def text(self, values: Sequence[float]) -> str:
        """Write mean and standard deviation over seeds.

        >>> own_score("top5").text([0.70, 0.72]), own_score("top5").text([0.7])
        ('71.0 ± 1.4', '70.0 -')
        """
        if not values:
            return "-"
        mean = statistics.mean(values)
        if not self.key:
            return f"{mean:,.{self.digits}f}"
        spread = f"± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "-"
        return f"{100 * mean:.1f} {spread}"


def _score(title: str, key: str, best: Best | None, *, optional: bool = False) -> Metric:
    """Metric in percent; a no-break space precedes its unit."""
    return Metric(f"{title}\u00a0%", at("results", key), best, optional, key)


def own_score(name: str) -> Metric:
    """Return a metric of the user's own, which has no known direction."""
    return _score(name, name, None, optional=True)


_A_AUC = _score("A_AUC", "a_auc", max, optional=True)
_TASKS_AND_COST = (
    _score("task forgetting", "task_forgetting", min),
    _score("BWT", "bwt", max, optional=True),
    _score("FWT", "fwt", max, optional=True),
    Metric("trainable", at("trainable_parameters")),
    Metric("images/s", at("images_per_second")),
    Metric("F train", at("forward_passes", "train"), digits=2),
    Metric("F eval", at("forward_passes", "evaluation"), digits=2),
    Metric("device MB", at("peak_device_memory_mb"), optional=True),
)
METRICS = (
    _A_AUC,
    _score("A_last", "a_last", max),
    _score("forgetting", "forgetting", min),
    *_TASKS_AND_COST,
)
MULTI_LABEL_METRICS = (
    _A_AUC,
    _score("avg mAP", "map_avg", max),
    _score("last mAP", "map_last", max),
    _score("CF1", "cf1", max),
    _score("OF1", "of1", max),
    *_TASKS_AND_COST,
)
#: scores under the definitions of other papers, see the page on definitions
BY_NAME = (
    _score("A_avg", "a_avg", max, optional=True),
    # The headline number of L2P, DualPrompt and MULTI-LANE.
    _score("A_last by task", "a_last_by_task", max, optional=True),
    _score("A_avg by task", "a_avg_by_task", max, optional=True),
    # The only forgetting of the Si-Blurry code.
    _score("F_last", "f_last", min, optional=True),
    _score("anytime forgetting", "forgetting_anytime", min, optional=True),
    # The code of L2P, DualPrompt and MULTI-LANE; then, in two forms, that of CODA-Prompt.
    _score("task forgetting, L2P", "task_forgetting_l2p", min, optional=True),
    _score("task forgetting, one step", "task_forgetting_one_step", min, optional=True),
    _score(
        "task forgetting, one step, pooled", "task_forgetting_one_step_pooled", min, optional=True
    ),
)
MULTI_LABEL_BY_NAME = (
    _score("forgetting", "forgetting", min, optional=True),
    # On the test set in use after the task, which does not grow.
    _score("task forgetting, fixed", "task_forgetting_fixed", min, optional=True),
    _score("CF1 at 0.5", "cf1_50", max, optional=True),
    _score("OF1 at 0.5", "of1_50", max, optional=True),
    # The other CF1 of the literature, at 0.8.
    _score("CF1, harmonic", "cf1_harmonic_80", max, optional=True),
)


def memory_text(summary: Mapping[str, Any]) -> str:
    """Describe what a strategy stores, in orders of magnitude.

    >>> memory_text({"memory": {"samples": 100, "numbers": 0}, "trainable_parameters": 1290})
    '100 images, 1.3 k trained'
    """
    memory = summary.get("memory") or {}
    counts = {
        "images": memory.get("samples"),
        "numbers": memory.get("numbers"),
        "trained": summary.get("trainable_parameters"),
    }
    return ", ".join(f"{_magnitude(n)} {what}" for what, n in counts.items() if n) or "-"


def _magnitude(count: int) -> str:
    """A count with two significant digits: 1290 is "1.3 k"."""
    rounded = float(f"{count:.2g}")
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:g} {unit}"
    return str(count)
