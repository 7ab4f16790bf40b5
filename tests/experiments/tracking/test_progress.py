"""What is shown of runs under way."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cl_prompts.experiments.runner import running
from cl_prompts.experiments.tracking.progress import Display


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), width=40)


def test_a_log_has_a_line_a_minute_and_one_at_the_end(log: Console) -> None:
    time = Time()
    display = Display(log, 30, time)
    run = display.begin(7, "mvp seed 2")
    time.now += 20  # building takes its time, and does not count for the pace
    run.advance(0, 1000, None)
    for second in range(1, 126):
        time.now += 1
        run.advance(4 * second, 1000, second / 200)
    run.advance(1000, 1000, 0.6334)
    display.end(7, "finished")
    assert written(log) == [
        "run 7 of 30, mvp seed 2, 16 %, A_AUC 20.0, about 4 min left",
        "run 7 of 30, mvp seed 2, 40 %, A_AUC 50.0, about 2 min left",
        "run 7 of 30, mvp seed 2, finished",
    ]


def test_a_resumed_run_has_the_pace_of_this_process(log: Console) -> None:
    time = Time()
    display = Display(log, 1, time)
    run = display.begin(1, "er seed 1")
    run.advance(900, 1000, None)
    time.now += 60
    run.advance(950, 1000, None)
    assert written(log) == ["run 1 of 1, er seed 1, 95 %, about 1 min left"]


def test_every_outcome_has_its_message(log: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[BaseException | None] = [None, ZeroDivisionError(), KeyboardInterrupt()]

    def complete(run: int, *_: object) -> None:
        if error := ends[run]:
            raise error

    monkeypatch.setattr(running, "complete", complete)
    jobs: Any = [
        SimpleNamespace(number=n + 1, label=f"er [a] seed {n}", run=n, outcome=lambda: "finished")
        for n in range(3)
    ]
    monkeypatch.setattr(running, "jobs_of", lambda _: jobs)
    display = Display(log, 3, Time())
    with pytest.raises(KeyboardInterrupt):
        list(running.Runs([], log).ends(display))
    assert written(log) == [
        "run 1 of 3, er [a] seed 0, finished",
        "run 2 of 3, er [a] seed 1, failed",
        "run 3 of 3, er [a] seed 2, stopped",
    ]
    assert not display._runs


def test_a_terminal_has_bars_that_go_when_it_is_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console, 4) as display:
        run = display.begin(2, "mvp [x]\n seed 2")
        run.advance(0, 100, None)
        run.advance(61, 100, 0.633)
        display.refresh()
        display.end(2, "finished")
    shown = "\n".join(written(console))
    assert "run 2 of 4, mvp [x] seed 2" in shown
    assert "61%, A_AUC 63.3" in shown
    assert shown.count("seed 2, finished") == 1
    assert not display._runs
