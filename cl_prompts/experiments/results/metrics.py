"""Metrics of tables: where their values stand in a summary, and how they are printed."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Best = Callable[[Iterable[float]], float]


@dataclass(frozen=True)
class Metric:
    """One metric of a table; tables in which no run has a value leave it out.

    Attributes:
        title: heading; that of a score ends in a no-break space and its unit.
        path: keys of its value in ``summary.json``.
        best: ``max`` or ``min``; None for a metric without a direction.
        digits: decimals of costs.
    """

    title: str
    path: tuple[str, ...]
    best: Best | None = None
    digits: int = 0

    @property
    def key(self) -> str:
        """Name of a score in ``results`` of ``summary.json``; empty for costs."""
        return self.path[-1] if self.path[0] == "results" else ""

    @property
    def name(self) -> str:
        """Title without its unit."""
        return self.title.partition("\u00a0")[0]

    def value(self, summary: Any) -> float | None:
        """Return its value; None if it is missing or not finite."""
        for key in self.path:
            summary = (summary or {}).get(key)
        return float(summary) if summary is not None and math.isfinite(summary) else None

    def text(self, values: Sequence[float]) -> str:
        """Write mean and standard deviation over seeds.

        >>> score("top5", "top5").text([0.70, 0.72]), score("top5", "top5").text([0.7])
        ('71.0 ± 1.4', '70.0')
        """
        if not values:
            return "-"
        mean = statistics.mean(values)
        if not self.key:
            return f"{mean:,.{self.digits}f}"
        spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{100 * mean:.1f}{spread}"


def score(title: str, key: str, best: Best | None = None) -> Metric:
    """Return a metric in percent; a no-break space precedes its unit."""
    return Metric(f"{title}\u00a0%", ("results", key), best)


_A_AUC = score("A_AUC", "a_auc", max)
_BY_TASK = (
    score("task forgetting", "task_forgetting", min),
    score("BWT", "bwt", max),
    score("FWT", "fwt", max),
)
COMPUTE = Metric("F an image, training", ("budget", "spent"), digits=2)
SHARE = Metric("share trained", ("budget", "share"), digits=2)
BYTES = Metric("bytes", ("memory", "bytes"))
#: of a table of their own
COSTS = (
    Metric("images/s", ("images_per_second",)),
    Metric("F train", ("forward_passes", "train"), digits=2),
    Metric("F eval", ("forward_passes", "evaluation"), digits=2),
    Metric("F predict", ("forward_passes", "prediction"), digits=2),
    COMPUTE,
    SHARE,
    BYTES,
    Metric("device MB", ("peak_device_memory_mb",)),
)
#: scores of predictions before training
PREQUENTIAL = (
    score("prequential", "prequential", max),
    score("prequential, last 500", "prequential_500", max),
    score("last label", "last_label"),
)
#: scores of training images with wrong labels
NOISE = (score("memorised", "memorised", min), score("recovered", "recovered", max))
#: metrics of reports alone, for which a terminal of 80 columns has no room
WIDE = (*_BY_TASK[1:], *PREQUENTIAL)
#: scores of the first table, by whether an image may have several labels
METRICS = {
    False: (
        _A_AUC,
        score("A_last", "a_last", max),
        *NOISE,
        score("forgetting", "forgetting", min),
        *_BY_TASK,
        *PREQUENTIAL,
    ),
    True: (
        _A_AUC,
        score("avg mAP", "map_avg", max),
        score("last mAP", "map_last", max),
        *NOISE,
        score("CF1", "cf1", max),
        score("OF1", "of1", max),
        *_BY_TASK,
    ),
}
#: scores under the definitions of other papers, see the page on definitions
BY_NAME = {
    False: (
        score("A_avg", "a_avg", max),
        # The headline number of L2P, DualPrompt and MULTI-LANE.
        score("A_last by task", "a_last_by_task", max),
        score("A_avg by task", "a_avg_by_task", max),
        # The only forgetting of the Si-Blurry code.
        score("F_last", "f_last", min),
        score("anytime forgetting", "forgetting_anytime", min),
        # The code of L2P, DualPrompt and MULTI-LANE; then, in two forms, that of CODA-Prompt.
        score("task forgetting, L2P", "task_forgetting_l2p", min),
        score("task forgetting, one step", "task_forgetting_one_step", min),
        score("task forgetting, one step, pooled", "task_forgetting_one_step_pooled", min),
    ),
    True: (
        score("forgetting", "forgetting", min),
        # On the test set in use after the task, which does not grow.
        score("task forgetting, fixed", "task_forgetting_fixed", min),
        score("CF1 at 0.5", "cf1_50", max),
        score("OF1 at 0.5", "of1_50", max),
        # The other CF1 of the literature, at 0.8.
        score("CF1, harmonic", "cf1_harmonic_80", max),
    ),
}


def memory_text(summary: Mapping[str, Any]) -> str:
    """Describe what a strategy stores.

    >>> memory_text({"memory": {"samples": 100, "numbers": 0}, "trainable_parameters": 1290})
    '100 images, 1,290 trained'
    """
    memory = summary.get("memory") or {}
    stored = {"images": memory.get("samples"), "numbers": memory.get("numbers")}
    counts = {**stored, "trained": summary.get("trainable_parameters")}
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "-"
