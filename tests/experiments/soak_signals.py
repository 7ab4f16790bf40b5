"""Parts of the soak run that send signals to commands, and follow what they then say."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from cl_prompts.experiments.runner.interruption import SIGNALS
from tests.experiments.process import Outcome, Process, command
from tests.experiments.toy_runs import Bench, finished

#: words of the sentence -> when the signal came
WHEN = {
    "stopped by SIG": "in the first imports",
    "before a run was begun": "before a run",
    "before the run was begun": "before its run",
    "continue with": "in a run",
    "before the report was made": "before the report's end",
    "when the report was made": "after the report",
}
_IMPORTS = 3.0  # seconds in which Python itself may not have begun, on a busy machine


def signals(bench: Bench, count: int) -> None:
    """A signal at a random moment, from the first check of a recipe to the end of the report."""
    for chance, case in bench.cases(count):
        number = chance.choice(SIGNALS)
        pages = chance.random() < 0.4
        seconds = bench.whole(case).outcome.seconds
        arguments, out = bench.run(case)
        process = Process(arguments, out, pages=pages)
        process.kill_after(chance.uniform(0, 4 if pages else 1.2) * seconds, number)
        outcome = process.wait()
        what = f"{case} {number.name}"
        _follow(bench, what, number, outcome, out)
        bench.finish(what, case, out)


def starts(bench: Bench, count: int) -> None:
    """A signal at a random moment of a process of its own, most of which is imports."""
    for chance, case in bench.cases(count):
        if case[1] == "mlcil":  # of whose images the bench has a few, and such a process all
            continue
        number = chance.choice(SIGNALS)
        arguments, out = bench.run(case)
        # With hands of its own: where signals are ignored, they stay so.
        begin = "import signal, sys\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_DFL)\n"
        begin += "from cl_prompts.__main__ import main\nsys.exit(main())"
        started = [sys.executable, "-c", begin, *arguments]
        with subprocess.Popen(started, stderr=subprocess.PIPE, text=True) as process:
            wait = chance.uniform(0, 12)
            time.sleep(wait)
            process.send_signal(number)
            assert process.stderr is not None
            said = process.stderr.read()
        outcome = Outcome(process.returncode, said, (), 0.0)
        what = f"{case} {number.name} after {wait:.2f} s"
        if outcome.code == -number and not said and wait < _IMPORTS:
            bench.counts["before Python had begun"] += 1
        else:
            _follow(bench, what, number, outcome, out)
        bench.finish(what, case, out)


def _follow(bench: Bench, what: str, number: signal.Signals, outcome: Outcome, out: Path) -> None:
    """Do what the sentence of a command says that a signal has ended."""
    bench.counts["signals"] += 1
    if bench.judge(what, outcome, code=128 + number):
        when = next((said for words, said in WHEN.items() if words in outcome.said), None)
        bench.counts["after the end" if outcome.code == 0 else when or "other faults"] += 1
    folders = [file.parent for file in out.rglob("config.yaml")]
    _, _, further = outcome.said.strip().partition(": cl-prompts ")
    if further.startswith("report"):
        made = command(shlex.split(further), out, pages=True)
        bench.judge(f"{what}, {further}", made)
        if len(list(out.rglob("*.html"))) != 1 or not finished(folders[0]):
            bench.note("other faults", f"{what}, {further}", made)
    elif further and (not folders or str(folders[0]) not in further):
        bench.note("other faults", f"{what} leads to another folder", outcome)
