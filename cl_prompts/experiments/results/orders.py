"""Class orders in words: ranges over orders, and checks that a result does not depend on them."""

from __future__ import annotations

import statistics
from collections import defaultdict

from cl_prompts.experiments.results.aggregates import seeded_values
from cl_prompts.experiments.results.groups import Group

_SHOWN = ("a_auc", "a_last", "map_avg", "map_last")


def order_table(group: Group) -> list[tuple[str, ...]]:
    """Worst, mean and best of A_AUC and A_last over class orders, in percent, by row.

    The value of an order is the mean over seeds; its name stands behind it.

    Returns:
        The headings, and a line for each row with several orders; empty without such rows.
    """
    metrics = [metric for metric in group.metrics if metric.key in _SHOWN]
    lines = []
    for row, runs in group.rows.items():
        names = {run.order for run in runs if run.order}
        cells = [group.names[row], str(len(names))]
        for metric in metrics:
            found: dict[str, list[float]] = defaultdict(list)
            for draw, value in seeded_values(runs, metric).items():
                found[draw[-1]].append(value)
            cells += _range({name: statistics.fmean(values) for name, values in found.items()})
        if len(names) > 1:
            lines.append(tuple(cells))
    if not lines:
        return []
    titles = [metric.title.partition("\u00a0")[0] for metric in metrics]
    heads = [f"{title} {part}" for title in titles for part in ("worst", "mean", "best")]
    return [("strategy", "orders", *heads), *lines]


def _range(by_name: dict[str, float]) -> list[str]:
    if not by_name:
        return ["", "", ""]
    low, high = min(by_name, key=by_name.__getitem__), max(by_name, key=by_name.__getitem__)
    worst, best = (f"{100 * by_name[name]:.1f} ({name})" for name in (low, high))
    return [worst, f"{100 * statistics.fmean(by_name.values()):.1f}", best]


def order_sentences(group: Group) -> list[str]:
    """One sentence for each row whose final score does not depend on the order of the stream."""
    name = "The final mAP" if group.multi_label else "A_last"
    found = []
    for row, runs in group.rows.items():
        checks = [run.summary.get("order_check") for run in runs]
        known = [check for check in checks if check]
        if not known or len(known) < len(checks):
            continue
        done = [check for check in known if check["orders"]]
        how = "its state is sums over samples; not checked in this run"
        if done:
            how = (
                f"checked: largest relative difference of scores over {done[0]['orders']} random"
                f" orders, {max(check['difference'] for check in done):.0e}"
            )
        says = f"{name} of {group.names[row]} does not depend on the order of the stream"
        found.append(f"{says} ({how}).")
    return found
