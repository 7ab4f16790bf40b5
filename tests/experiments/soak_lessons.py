"""Part of the soak run that kills runs that learn on."""

from __future__ import annotations

from pathlib import Path

from tests.experiments.own_photos import photos
from tests.experiments.process import Fault, command
from tests.experiments.toy_runs import Bench, Case, Whole, differences, finished, folder_in


def lessons(bench: Bench, count: int) -> None:
    """SIGKILL at steps of writing of a run that learns on; it is resumed, and compared with one
    that nothing disturbed."""
    later = _later(bench.root / "later")
    wholes: dict[Case, Whole] = {}
    for chance, (kind, scenario) in bench.cases(count):
        case = (
            kind.replace("joint_probe", "slda").replace("joint", "ncm"),
            scenario.replace("mlcil", "si_blurry"),
        )
        parent = bench.whole(case).folder
        if case not in wholes:
            arguments, out = _lesson(bench, case, parent, later)
            outcome = command(arguments, out, count=True)
            if not bench.judge(f"{case} learns on", outcome):
                continue
            wholes[case] = Whole(folder_in(out), outcome)
        fault = Fault("killed half-way", chance.randrange(len(wholes[case].outcome.steps)))
        what = f"{case} learns on, {fault}"
        arguments, out = _lesson(bench, case, parent, later)
        outcome = command(arguments, out, fault=fault)
        bench.counts["kills"] += outcome.killed
        if not outcome.killed:
            bench.judge(what, outcome)
        begun = [file.parent for file in out.rglob("config.yaml")]
        if not begun:
            bench.counts["nothing begun"] += 1
            continue
        if not finished(begun[0]):
            outcome = command(["run", "--resume", str(begun[0]), "--trust-code", "--quiet"], out)
            bench.counts["resumes"] += 1
            if not bench.judge(what, outcome):
                continue
        if wrong := differences(wholes[case].folder, begun[0]):
            bench.note("differences", f"{what}: {', '.join(wrong)}", outcome)


def _lesson(bench: Bench, case: Case, parent: Path, later: Path) -> tuple[list[str], Path]:
    """Arguments of a run that learns on, and the new folder that it writes to."""
    _, out = bench.run(case)
    arguments = ["learn", str(parent), str(later), "--trust-code", "--out", str(out), "--quiet"]
    return arguments, out


def _later(root: Path) -> Path:
    """Images of two classes that no stream had."""
    for number, part in enumerate(("train", "test")):
        photos(root / part, {"new": 8, "newer": 8}, first=5000 * number)
    return root
