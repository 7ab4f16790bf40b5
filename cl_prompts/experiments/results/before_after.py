"""Scores of a run that learned on, before it did and after, by class."""

from __future__ import annotations

from typing import NamedTuple

from cl_prompts.experiments.run_folder.runs import RunRecord


class BeforeAfter(NamedTuple):
    """A row of the table.

    Attributes:
        name: of a class, or of a group of classes.
        before: score of the parent's model on all test images known now; None for what it had not
            learned.
        after: score at the end of the run; None where it has none.
    """

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """Points gained; what is negative was forgotten."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before


def before_after(run: RunRecord) -> list[BeforeAfter]:
    """Rows for all test images, the classes known before and the new ones, each as a mean over its
    classes, for each domain and for each class; empty for a run that learned on from no other."""
    if not run.before:
        return []
    names = run.summary.get("class_names") or list(map(str, range(run.summary["n_classes"])))
    earlier = list(run.before["by_class"])
    # Classes that came since stand behind those that the parent knew.
    earlier += [None] * (len(names) - len(earlier))
    ends = run.metrics[f"task_end_{run.measure}"]
    last = {scope: points[-1][1] for scope, points in ends.items() if points}
    later = [last.get(f"class:{number}") for number in range(len(names))]
    classes = [BeforeAfter(*row) for row in zip(names, earlier, later, strict=True)]
    known = [row for row in classes if row.before is not None and row.after is not None]
    new = [row for row in classes if row.before is None and row.after is not None]
    # With several labels the score is a mean over classes, which the parent has of its own alone.
    before = None if new and run.multi_label else run.before["score"]
    groups = [
        BeforeAfter("all test images", before, last.get("seen")),
        BeforeAfter("classes known before", _mean([r.before for r in known]), _after(known)),
    ]
    groups += [BeforeAfter("new classes", None, _after(new))] if new else []
    groups += [
        BeforeAfter(f"domain {domain}", value, last.get(f"domain:{domain}"))
        for domain, value in run.before.get("by_domain", {}).items()
    ]
    return groups + classes


def _after(rows: list[BeforeAfter]) -> float | None:
    return _mean([row.after for row in rows])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
