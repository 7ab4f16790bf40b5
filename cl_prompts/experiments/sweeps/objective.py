"""Objective and options of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cl_prompts.checks import one_of, whole_number
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.values import as_seeds, parsed
from cl_prompts.experiments.results.metrics import BY_NAME, METRICS, Metric

Sampler = Literal["tpe", "random"]
_MOST = 10_000
#: metrics by whether an image may have several labels
_METRICS = {several: (*METRICS[several], *BY_NAME[several]) for several in METRICS}
#: every metric with a better direction
OBJECTIVES: dict[str, Metric] = {
    metric.key: metric for metric in (*_METRICS[False], *_METRICS[True]) if metric.best is not None
}


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Attributes:
        sampler: Optuna's tree-structured Parzen estimator, or random.
        trials: number of settings to try.
        objective: number of ``summary.json`` to optimise.
        seeds: of runs and streams; the objective is the mean over them. They are not reported.

    >>> SearchOptions(objective="forgetting").direction
    'minimize'
    """

    sampler: Sampler = "tpe"
    trials: int = 20
    objective: str = "a_auc"
    seeds: tuple[int, ...] = (1000,)

    def __post_init__(self) -> None:
        one_of("--sampler", self.sampler, Sampler)
        whole_number("--trials", self.trials, 1, _MOST)
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if not self.seeds:
            raise InputError("--search-seed is empty: give at least one, such as 1000")

    @classmethod
    def of(cls, sampler: Any, trials: Any, objective: Any, seed: Any) -> SearchOptions | None:
        """Read options of the command line, where None is a default; None without a sampler."""
        chosen = {"trials": trials, "objective": objective, "search-seed": seed}
        given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
        if sampler is None:
            for name in given:
                raise InputError(f"--{name} is for a search: add --sampler tpe")
            return None
        if seed is not None:
            given["seeds"] = tuple(as_seeds("--search-seed", parsed(given.pop("search-seed"))))
        return cls(sampler, **given)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Direction of the objective."""
        return "maximize" if OBJECTIVES[self.objective].best is max else "minimize"

    def check(self, *, multi_label: bool, every: int | None) -> None:
        """Refuse an objective that the runs do not have.

        Args:
            multi_label: whether an image may have several labels.
            every: samples between anytime points; None for none.

        Raises:
            InputError: the objective is undefined.
        """
        instead = "choose another, such as " + ("map_last" if multi_label else "a_last")
        if self.objective not in {metric.key for metric in _METRICS[multi_label]}:
            where = f"where an image has {'several classes' if multi_label else 'one class'}"
        elif self.objective in ("a_auc", "forgetting_anytime") and every is None:
            where = "without anytime points"
            instead = f"set evaluation.every, or {instead}"
        else:
            return
        raise InputError(f"--objective {self.objective} is undefined {where}: {instead}")
