"""Kills, full disks, flipped bits and fuzzed settings, as many as one likes.

``python -m tests.experiments.soak`` is all of it, ``python -m tests.experiments.soak kills=60
flips=400 --seed 3`` two parts of it. Every part prints what it did and found, and for each fault
that it found how it came about; the exit code is 1 then. All chance comes from the seed, but for
the moments of ``kills`` and ``pairs``, which are those of a clock.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.experiments import (
    soak_inputs,
    soak_kills,
    soak_lessons,
    soak_signals,
    spoilt_files,
)
from tests.experiments.faults import flipped
from tests.experiments.fuzz import run
from tests.experiments.process import Fault, Kind, Outcome, Process, command
from tests.experiments.toy_runs import FAULTS, Bench, Case, finished, folder_in
from tests.few_images import few, few_images

DEFAULTS = {
    "fuzz": 10_000,
    "inputs": 10_000,
    "kills": 300,
    "boundaries": 1_500,
    "plans": 200,
    "full": 600,
    "limits": 100,
    "flips": 1_500,
    "reports": 300,
    "pairs": 60,
    "lessons": 60,
    "signals": 300,
    "starts": 30,
    "sweeps": 60,
    "searches": 20,
    "warm_ups": 20,
    "shared_files": 80,
    "own_code": 60,
}


def kills(bench: Bench, count: int) -> None:
    """SIGKILL at random moments, up to three times in one run."""
    for chance, case in bench.cases(count):
        seconds = bench.whole(case).outcome.seconds
        arguments, out = bench.run(case)
        for _ in range(chance.choice([1, 1, 2, 3])):
            process = Process(arguments, out)
            process.kill_after(chance.uniform(0, 1.3 * seconds))
            outcome = process.wait()
            bench.counts["kills"] += outcome.killed
            begun = list(out.rglob("config.yaml"))
            if not outcome.killed or not begun or finished(begun[0].parent):
                break
            arguments = ["run", "--resume", str(begun[0].parent), "--trust-code", "--quiet"]
        bench.finish(f"{case} killed", case, out)


def boundaries(bench: Bench, count: int) -> None:
    """SIGKILL at steps of writing, before and half-way."""
    for chance, case in bench.cases(count):
        kind: Kind = chance.choice(["killed before", "killed half-way"])
        fault = Fault(kind, chance.randrange(len(bench.whole(case).outcome.steps)))
        arguments, out = bench.run(case)
        outcome = command(arguments, out, fault=fault)
        bench.counts["kills"] += outcome.killed
        if not outcome.killed:
            bench.judge(f"{case} {fault}", outcome)
        bench.finish(f"{case} {fault}", case, out)


def plans(bench: Bench, count: int) -> None:
    """Commands of two runs, killed at a step of their writing; their plan is finished later."""
    for chance, (kind, scenario) in bench.cases(count):
        other = "ncm" if kind != "ncm" else "slda"
        cases = [(name, scenario.replace("mlcil", "si_blurry")) for name in (kind, other)]
        steps = sum(len(bench.whole(case).outcome.steps) for case in cases)
        arguments, out = bench.run(cases[0])
        arguments[2] = f"strategy={cases[0][0]},{cases[1][0]}"
        arguments += ["--jobs", "1"]  # in the process that is killed; see sweeps() for others
        fault = Fault("killed half-way", chance.randrange(steps))
        bench.counts["kills"] += command(arguments, out, fault=fault).killed
        what = f"plan of {cases} {fault}"
        begun = [file.parent for file in out.glob("*/plan-*.json") if file.stat().st_size]
        if not begun:
            bench.counts["nothing begun"] += 1
            continue
        (above,) = begun
        outcome = command(["run", "--resume", str(above), "--trust-code", "--quiet"], out)
        bench.counts["resumes"] += 1
        if "there is nothing to resume" not in outcome.said and not bench.judge(what, outcome):
            continue
        for case in cases:
            (folder,) = (above / case[0]).iterdir()
            bench.compare(what, case, folder, outcome)


def full(bench: Bench, count: int) -> None:
    """A disk that is full from a step of writing on; then there is room again."""
    for chance, case in bench.cases(count):
        fault = Fault("full", chance.randrange(len(bench.whole(case).outcome.steps)))
        arguments, out = bench.run(case)
        _fail(bench, f"{case} {fault}", case, command(arguments, out, fault=fault), out)


def limits(bench: Bench, count: int) -> None:
    """Files that may not grow beyond a size (RLIMIT_FSIZE); then they may."""
    for chance, case in bench.cases(count):
        # Nothing begins below the bytes that are reserved; few files are greater than the others.
        most = chance.randrange(65_536, 130_000) if chance.random() < 0.8 else chance.randrange(400)
        arguments, out = bench.run(case)
        outcome = command(arguments, out, most_bytes=most)
        _fail(bench, f"{case}, files of at most {most} bytes", case, outcome, out)


def _fail(bench: Bench, what: str, case: Case, outcome: Outcome, out: Path) -> None:
    bench.counts["faults"] += 1
    if outcome.code == 2:
        bench.note("other faults", f"{what}: a fault is no bad input", outcome)
    if not bench.judge(what, outcome, may_fail=True):
        for file in out.rglob("summary.json"):
            status = json.loads(file.read_text())["status"]
            # A finished run may lack its report.
            known = status in ("failed", "finished")
            if not known and "summary.json cannot be written" not in outcome.said:
                bench.note("other faults", f"{what}: its status is {status}", outcome)
    bench.finish(what, case, out)


def flips(bench: Bench, count: int) -> None:
    """One bit of one file of an unfinished run folder; resumed to the same numbers, or refused."""
    for chance, case in bench.cases(count):
        steps = bench.whole(case).outcome.steps
        begun = steps.index("rename .config.yaml.tmp") + 1
        ended = len(steps) - steps[::-1].index("rename .summary.json.tmp")
        arguments, out = bench.run(case)
        fault = Fault("killed before", chance.randrange(begun, ended))
        command(arguments, out, fault=fault)
        what = f"{case} {fault}, {_flip_one(folder_in(out), chance)}"
        bench.counts["flips"] += 1
        bench.finish(what, case, out, may_fail=True)


def _flip_one(folder: Path, chance: random.Random) -> str:
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.stat().st_size]
    file = chance.choice(files)
    bit = chance.randrange(8 * file.stat().st_size)
    file.write_bytes(flipped(file.read_bytes(), bit))
    return f"bit {bit} of {file.name}"


def reports(bench: Bench, count: int) -> None:
    """One bit of one file of a finished run folder; the report is the same, or refused."""
    page = bench.root / "page.html"
    pages: dict[Case, bytes] = {}
    cases = [case for _, case in bench.cases(5)]
    for number, (chance, _) in enumerate(bench.cases(count)):
        case = cases[number % len(cases)]
        folder = bench.whole(case).folder
        arguments = ["report", str(folder), "--out", str(page)]
        if case not in pages:
            bench.judge(f"report of {case}", command(arguments, bench.root, pages=True))
            pages[case] = page.read_bytes()
        page.unlink(missing_ok=True)
        before = {f: f.read_bytes() for f in folder.iterdir() if f.is_file()}
        what = f"report of {case} {_flip_one(folder, chance)}"
        bench.counts["flips"] += 1
        outcome = command(arguments, bench.root, pages=True)
        if bench.judge(what, outcome, may_fail=True) and page.read_bytes() != pages[case]:
            bench.note("differences", what, outcome)
        for file, content in before.items():
            file.write_bytes(content)


def pairs(bench: Bench, count: int) -> None:
    """Two processes on one folder, one of them sometimes killed."""
    for chance, case in bench.cases(count):
        whole = bench.whole(case).outcome
        arguments, out = bench.run(case)
        command(arguments, out, fault=Fault("killed before", len(whole.steps) // 2))
        resume = ["run", "--resume", str(folder_in(out)), "--trust-code", "--quiet"]
        first, second = Process(resume, out), Process(resume, out)
        bench.counts["pairs"] += 1
        if chance.random() < 0.5:
            first.kill_after(chance.uniform(0, whole.seconds / 2))
        for outcome in (first.wait(), second.wait()):
            bench.counts["kills"] += outcome.killed
            if not outcome.killed and not bench.judge(f"{case} twice", outcome, may_fail=True):
                known = ("is being written by another process", "is finished")
                if not any(words in outcome.said for words in known):
                    bench.note("other faults", f"{case} twice", outcome)
        bench.finish(f"{case} twice", case, out)


def fuzz(bench: Bench, count: int) -> None:
    """Recipes and overrides that hypothesis makes up; see :mod:`tests.experiments.fuzz`."""
    counts, problems = run(count, bench.seed, bench.root)
    bench.counts["other faults"] += counts.pop("faults")
    bench.counts.update(counts)
    bench.problems += problems
    if counts["built"] < 0.4 * counts["cases"]:
        bench.counts["other faults"] += 1
        bench.problems.append("too few of them are accepted and built")


def inputs(bench: Bench, count: int) -> None:
    """Spoilt files of users; see :mod:`tests.experiments.spoilt_files`."""
    folder = bench.root / "inputs"
    folder.mkdir()
    counts, problems = spoilt_files.run(count, bench.seed, folder)
    bench.counts["other faults"] += counts.pop("faults")
    bench.counts.update(counts)
    bench.problems += problems


PARTS: dict[str, Callable[[Bench, int], None]] = {
    "fuzz": fuzz,
    "inputs": inputs,
    "kills": kills,
    "boundaries": boundaries,
    "plans": plans,
    "full": full,
    "limits": limits,
    "flips": flips,
    "reports": reports,
    "pairs": pairs,
    "lessons": soak_lessons.lessons,
    "signals": soak_signals.signals,
    "starts": soak_signals.starts,
    "sweeps": soak_kills.sweeps,
    "searches": soak_kills.searches,
    "warm_ups": soak_kills.warm_ups,
    "shared_files": soak_inputs.shared_files,
    "own_code": soak_inputs.own_code,
}


def soak(counts: dict[str, int], seed: int) -> Iterator[tuple[str, Counter[str], list[str]]]:
    """Do the parts, each as often as it says; yield the name of each, its counts and faults."""
    few("digit_scenes", 3, 3)
    with few_images(3, 3), tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root), seed)
        for part, count in counts.items():
            bench.counts = Counter(dict.fromkeys(FAULTS, 0))
            bench.problems = []
            PARTS[part](bench, count)
            yield part, bench.counts, bench.problems


def main() -> int:
    """Do what the command line says; 1 if there were faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.soak")
    listed = " ".join(f"{part}={count}" for part, count in DEFAULTS.items())
    parser.add_argument("parts", nargs="*", metavar="PART=COUNT", help=f"default: {listed}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts = dict(DEFAULTS)
    if args.parts:
        pairs = (text.partition("=") for text in args.parts)
        counts = {part: int(count or DEFAULTS[part]) for part, _, count in pairs}
    faults = 0
    for part, found, problems in soak(counts, args.seed):
        for problem in problems:
            print(f"  {problem}")
        told = ", ".join(f"{name} {number}" for name, number in found.items())
        print(f"{part}={counts[part]}: {told}", flush=True)
        faults += sum(found[name] for name in FAULTS)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
