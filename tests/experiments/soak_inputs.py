"""Runs whose files or own code are changed before they are resumed, or between two seeds."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.experiments.inputs import EDITS, Edit, write_inputs
from tests.experiments.process import Fault, Outcome, command
from tests.experiments.toy_runs import Bench, differences, folder_in

#: words of what is said of own code
_OF_CODE = "source of module"


def shared_files(bench: Bench, count: int) -> None:
    """Files that several runs share, and images of own data, changed between and within them."""
    files = {name: edit for name, edit in EDITS.items() if _OF_CODE not in edit[2]}
    _change(bench, count, files)


def own_code(bench: Bench, count: int) -> None:
    """Own code that is edited between and within runs."""
    code = {name: edit for name, edit in EDITS.items() if _OF_CODE in edit[2]}
    _change(bench, count, code)


def _change(bench: Bench, count: int, edits: dict[str, Edit]) -> None:
    wholes: dict[str, tuple[Path, Outcome]] = {}
    with _folder(bench.root / "shared"):
        for number in range(count):
            chance = random.Random(f"{bench.seed} {number}")
            name = list(edits)[number % len(edits)]
            write_inputs()
            key = repr(edits[name][0])
            if key not in wholes:
                wholes[key] = _run(bench, f"whole {len(wholes)} {name}", edits[name], count=True)
            _one(bench, f"{number} {name}", edits[name], chance, *wholes[key])


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Work in a folder whose modules can be imported, and are never kept as bytecode."""
    path.mkdir(exist_ok=True)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(path))
    try:
        with contextlib.chdir(path):
            yield
    finally:
        sys.path.remove(str(path))
        sys.dont_write_bytecode = before


def _run(
    bench: Bench,
    out: str,
    edit: Edit,
    seed: int = 1,
    fault: Fault | None = None,
    count: bool = False,
) -> tuple[Path, Outcome]:
    folder = Path(out).absolute()
    folder.mkdir(exist_ok=True)
    arguments = ["run", "digits", *edit[0], f"seed={seed}", "--out", str(folder), "--quiet"]
    outcome = command(arguments, folder, fault=fault, count=count)
    if fault is None:
        bench.judge(f"{out}, seed {seed}", outcome)
    return folder, outcome


def _one(
    bench: Bench, what: str, edit: Edit, chance: random.Random, whole: Path, outcome: Outcome
) -> None:
    """Kill a run, change what it is made of, resume it; put that back, and resume it again."""
    steps = outcome.steps
    first = steps.index("rename .checkpoint.tmp") + 1
    ended = len(steps) - steps[::-1].index("rename .summary.json.tmp")
    fault = Fault("killed before", chance.randrange(first, ended))
    out, ended_as = _run(bench, what, edit, fault=fault)
    bench.counts["kills"] += ended_as.killed
    folder = folder_in(out)
    resume = ["run", "--resume", str(folder), "--trust-code", "--quiet"]
    edit[1]()
    refused = command(resume, out)
    bench.counts["changes"] += 1
    if refused.code != 2 or edit[2] not in refused.said or not refused.sentence:
        bench.note("other faults", f"{what}: resumed after a change", refused)
    bench.counts["refused"] += 1
    write_inputs()
    again = command(resume, out)
    bench.counts["resumes"] += 1
    if bench.judge(what, again):
        wrong = differences(folder_in(whole), folder)
        if wrong:
            bench.note("differences", f"{what}: {', '.join(wrong)}", again)
    _seeds(bench, what, edit, chance.random() < 0.8, out)


def _seeds(bench: Bench, what: str, edit: Edit, changed: bool, out: Path) -> None:
    """Another seed, after a change or without one: two rows, or one."""
    if changed:
        edit[1]()
        bench.counts["changes"] += 1
    _run(bench, what, edit, seed=2)
    table = out / "table.json"
    outcome = command(["compare", str(out), "--format", "json", "--out", str(table)], out)
    if not bench.judge(f"{what}: compared", outcome):
        return
    settings = [table["settings"][0]["rows"] for table in json.loads(table.read_text())]
    rows = sum(map(len, settings))
    if rows != 1 + changed:
        bench.note("differences", f"{what}: {rows} rows, changed: {changed}", outcome)
