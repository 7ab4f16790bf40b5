"""Parts of the soak run that kill one process of several, and commands of no single run."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tests.experiments.process import Outcome, Process, command
from tests.experiments.toy_runs import Bench, Case


def sweeps(bench: Bench, count: int) -> None:
    """Processes of a sweep are killed one after another, or the sweep with all of them, which is
    then begun again."""
    for chance, (kind, scenario) in bench.cases(count):
        scenario = scenario.replace("mlcil", "si_blurry")
        other = "ncm" if kind != "ncm" else "slda"
        cases = [(kind, scenario), (other, scenario)]
        seconds = bench.whole(cases[0]).outcome.seconds
        arguments, out = bench.run(cases[0])
        arguments = ["sweep", arguments[1], f"strategy={kind},{other}", *arguments[3:]]
        process = Process(arguments, out)
        what = f"sweep of {cases}"
        kills = chance.choice([1, 2])  # a run that is killed three times has failed
        _wait_for(out, "config.yaml")
        for _ in range(kills):
            time.sleep(chance.uniform(0, 0.7 * seconds))
            bench.counts["kills"] += _kill_a_child(process.pid, chance)
        if chance.random() < 0.4:
            _kill_all(process.pid)
        outcome = process.wait()
        if outcome.killed:
            bench.counts["sweeps killed"] += 1
            outcome = command(arguments, out)
            bench.counts["resumes"] += 1
        if bench.judge(what, outcome):
            _compare_all(bench, what, cases, out, outcome)


def _compare_all(bench: Bench, what: str, cases: list[Case], out: Path, outcome: Outcome) -> None:
    """Compare the runs of several cases with the undisturbed ones."""
    for case in cases:
        # One that a kill left before its environment.json was there is left alone, and said so.
        folders = [file.parent for file in out.glob(f"*/{case[0]}/*/summary.json")]
        if len(folders) != 1:
            bench.note("other faults", f"{what}: {len(folders)} folders of {case[0]}", outcome)
        for folder in folders:
            bench.compare(what, case, folder, outcome)


def searches(bench: Bench, count: int) -> None:
    """A search is killed and begun again; it comes to the table of one that nothing disturbed."""
    if find_spec("optuna") is None:
        bench.counts["left out, without Optuna"] += 1
        return
    space = ["strategy=linear_probe", "lr=1e-4..1e-1", "--sampler", "random", "--trials", "2"]
    space += ["--objective", "a_last", "--search-seed", "7"]
    tables: list[list[str]] = []
    seconds = 0.0
    for number in range(count + 1):
        chance = random.Random(f"{bench.seed} {number}")
        out = bench.root / f"search{number}"
        arguments = ["sweep", str(bench.root / "si_blurry.yaml"), *space, "--out", str(out)]
        arguments.append("--quiet")
        process = Process(arguments, bench.root)
        if number:
            time.sleep(chance.uniform(0, 1.2 * seconds))
            _kill_all(process.pid)
        outcome = process.wait()
        seconds = seconds or outcome.seconds
        bench.counts["kills"] += outcome.killed
        if outcome.killed:
            outcome = command(arguments, bench.root)
        if bench.judge(f"search {number}", outcome):
            (table,) = out.glob("*/search-*.csv")
            rows = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
            tables.append(rows)  # without the folders
            if rows != tables[0]:
                bench.note("differences", f"search {number}: {rows} for {tables[0]}", outcome)


def warm_ups(bench: Bench, count: int) -> None:
    """A warm-up is killed; its file is not there, or whole, and a second one makes the same."""
    short = ["--tasks", "2", "--epochs", "2", "--held-out", "0.25"]
    wanted = b""
    seconds = 0.0
    for number in range(count + 1):
        chance = random.Random(f"{bench.seed} {number}")
        out = bench.root / f"warm{number}.safetensors"
        arguments = ["warm-up", str(bench.root / "si_blurry.yaml"), *short, "--out", str(out)]
        process = Process(arguments, bench.root)
        if number:
            process.kill_after(chance.uniform(0, 1.2 * seconds))
        outcome = process.wait()
        bench.counts["kills"] += outcome.killed
        if outcome.killed:
            if out.exists() and out.read_bytes() != wanted:
                bench.note("differences", f"warm-up {number}, killed", outcome)
            out.unlink(missing_ok=True)
            outcome = command(arguments, bench.root)
        if bench.judge(f"warm-up {number}", outcome):
            wanted = wanted or out.read_bytes()
            seconds = seconds or outcome.seconds
            if out.read_bytes() != wanted:
                bench.note("differences", f"warm-up {number}", outcome)


def _wait_for(out: Path, name: str) -> None:
    """Wait until there is a file of a name below a folder."""
    for _ in range(3000):
        if next(out.rglob(name), None) is not None:
            return
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    """Processes that a process has begun."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.is_file() else []


def _kill_all(pid: int) -> None:
    """Kill a process and those that it has begun, which as forks would not see it die."""
    children = _children(pid)
    os.kill(pid, signal.SIGKILL)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _kill_a_child(pid: int, chance: random.Random) -> bool:
    """Kill one of the processes that a process has begun, if there is any."""
    found = _children(pid)
    if found:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
    return bool(found)
