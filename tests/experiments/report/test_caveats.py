"""What is odd about a table is said beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_prompts.experiments.report.caveats import batch_of, caveats
from cl_prompts.experiments.run_folder.runs import Run


def a_run(
    points: list[int],
    *,
    seed: int = 1,
    sizes: tuple[int, ...] = (200, 300),
    batch: int = 10,
    **stream: Any,
) -> Run:
    """A run measured at ``points`` of a stream with tasks of these sizes."""
    return Run(
        Path("run"),
        {"stream_seed": seed, "task_ends": [sizes[0], sum(sizes)]},
        {"options": {"train_mb_size": batch}},
        stream={"counts": [[n, 0] for n in sizes], **stream},
        metrics={"anytime_accuracy": {"seen": [(point, 0.5) for point in points]}},
    )


def test_nothing_odd_is_nothing_said() -> None:
    curve = [100, 200, 500]
    runs = [a_run(curve, seed=1), a_run(curve, seed=2)]
    assert caveats({"mvp": runs, "ncm": runs}) == []
    assert caveats({}) == []


def test_single_seeds_are_said() -> None:
    two = [a_run([100, 500], seed=1), a_run([100, 500], seed=2)]
    (one,) = caveats({"mvp": two, "joint": two[:1], "ncm": two[:1]})
    assert one.startswith("joint and ncm have a single seed")
    (every,) = caveats({"mvp": two[:1]})
    assert every.startswith("Every strategy has a single seed")


def test_one_anytime_point_is_said() -> None:
    (end,) = caveats({"mvp": [a_run([500], seed=1), a_run([500], seed=2)]})
    assert end.startswith(
        "The only anytime point of mvp is the end of the stream, so A_AUC = A_last"
    )
    (before,) = caveats({"mvp": [a_run([400], seed=1), a_run([400], seed=2)]})
    assert before.startswith("A_AUC of mvp is the value at a single anytime point")
    assert "A_last" not in before


def test_points_at_other_samples_are_said() -> None:
    small = [a_run([100, 500], seed=seed) for seed in (1, 2)]
    large = [a_run([128, 500], seed=seed, batch=64) for seed in (1, 2)]
    (sentence,) = caveats({"mvp": small, "ncm": large})
    assert sentence.endswith("for batches of 10 (mvp) and 64 (ncm).")


def test_tasks_of_fewer_than_a_batch_are_said_once_per_stream() -> None:
    def runs(batch: int) -> list[Run]:
        sizes = (4, 300)
        return [a_run([100, 304], seed=seed, sizes=sizes, batch=batch) for seed in (1, 2)]

    assert caveats({"mvp": runs(4)}) == []
    found = caveats({"mvp": runs(10), "er": runs(10)})
    assert found == [
        f"Fewer samples than a batch of 10 in task 1 (4) of stream seed {seed}: too few for a"
        " complete step."
        for seed in (1, 2)
    ]


def test_runs_without_options_have_no_batch() -> None:
    assert batch_of(Run(Path("run"), {})) == 0
