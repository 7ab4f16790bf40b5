"""Caveats of a table: what limits the meaning of its numbers, in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cl_prompts.experiments.results.comparable import version_notes
from cl_prompts.experiments.results.series import curve_of, task_sizes
from cl_prompts.experiments.run_folder.runs import Run

_MAX_TASKS = 6  # small tasks named one by one


def caveats(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Sentences on what limits the meaning of a table's numbers; none where nothing does.

    Args:
        groups: runs of each row, by its label.
    """
    kinds = (_single_seeds, _single_points, _points, _small_tasks, _versions)
    return [sentence for kind in kinds for sentence in kind(groups)]


def _single_seeds(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Rows without a standard deviation."""
    single = [label for label, runs in groups.items() if len(runs) == 1]
    if single:
        who = "Every strategy" if len(single) == len(groups) else _list(single)
        verb = "has" if who != _list(single) or len(single) == 1 else "have"
        yield f'{who} {verb} a single seed: "-" stands where a standard deviation would.'


def _single_points(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Runs whose A_AUC is one accuracy."""
    at_end: list[str] = []
    before: list[str] = []
    for label, runs in groups.items():
        points = [points_of(run) for run in runs]
        if all(len(found) == 1 for found in points):
            ends = [run.summary["task_ends"][-1:] for run in runs]
            (at_end if points == ends else before).append(label)
    advice = "a smaller evaluation.every gives a curve."
    if at_end:
        yield (
            f"The only anytime point of {_list(at_end)} is the end of the stream, so A_AUC ="
            f" A_last; {advice}"
        )
    if before:
        yield f"A_AUC of {_list(before)} is the value at a single anytime point; {advice}"


def _points(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Strategies measured at other samples of the same stream."""
    points: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    sizes: dict[int, list[str]] = defaultdict(list)
    for label, runs in groups.items():
        for run in runs:
            if points_of(run):
                points[run.summary["stream_seed"]].add(tuple(points_of(run)))
                sizes[batch_of(run)].append(label)
    if any(len(different) > 1 for different in points.values()) and len(sizes) > 1:
        batches = _list(
            f"{size} ({_list(dict.fromkeys(labels))})" for size, labels in sorted(sizes.items())
        )
        yield (
            "Anytime points are at the first batch boundary, which is not the same for batches of"
            f" {batches}."
        )


def _small_tasks(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Tasks that do not fill a batch."""
    seen = set()
    for runs in groups.values():
        for run in runs:
            batch = batch_of(run)
            small = [(t, n) for t, n in enumerate(task_sizes(run), start=1) if 0 < n < batch]
            stream = run.summary["stream_seed"]
            if small and (stream, batch) not in seen:
                seen.add((stream, batch))
                tasks = _list(f"task {t} ({n})" for t, n in small[:_MAX_TASKS])
                more = ", and others" if len(small) > _MAX_TASKS else ""
                yield (
                    f"Fewer samples than a batch of {batch} in {tasks}{more} of stream seed"
                    f" {stream}: too few for a complete step."
                )


def _versions(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Versions of packages that differ."""
    for note in version_notes(run for runs in groups.values() for run in runs):
        yield f"{note[0].upper()}{note[1:]}."


def points_of(run: Run) -> list[int]:
    """Samples at its anytime points."""
    return [point for point, _ in curve_of(run)]


def batch_of(run: Run) -> int:
    """Stream samples of a batch; 0 where none is recorded."""
    return int((run.config.get("options") or {}).get("train_mb_size") or 0)


def _list(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
