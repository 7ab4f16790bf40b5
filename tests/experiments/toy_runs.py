"""Toy runs of every strategy through the command line, and what disturbing them brought up."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.recipes.signatures import strategy_parameters
from cl_prompts.experiments.runner.building import Builder
from tests.experiments.process import Outcome, command
from tests.experiments.sketches import sketched
from tests.experiments.test_stops import EXEMPT
from tests.toys import MULTI_LABEL, TABLE

#: what has to stay at 0
FAULTS = ("differences", "tracebacks", "refusals that should have been runs", "other faults")

STRIPES = {"name": "tests.experiments.own_parts:stripes", "per_class": 8}
EVALUATION = {"every": 10, "batch_size": 32}
TRAINING = {"train_mb_size": 8, "eval_mb_size": 32, "train_epochs": 1, "online_iter": 1}
SCENARIOS = {
    "si_blurry": {"dataset": STRIPES, "scenario": {"name": "si_blurry", "n_tasks": 2}},
    "class_incremental": {
        "dataset": STRIPES,
        "scenario": {"name": "class_incremental", "n_tasks": 2},
    },
    "mlcil": {
        "dataset": {"name": "digit_scenes"},
        "scenario": {"name": "mlcil", "protocol": "B0-C5"},
    },
}
Case = tuple[str, str]
#: every strategy with every scenario that it is defined for
CASES: list[Case] = [
    (kind, scenario)
    for scenario in SCENARIOS
    for kind in TABLE
    if scenario != "mlcil" or kind in MULTI_LABEL
]


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed."""

    folder: Path
    outcome: Outcome


@dataclass
class Bench:
    """Toy runs of every strategy, and what was found.

    Attributes:
        root: an empty folder.
        seed: of all chance.
        problems: a sentence for each fault.
    """

    root: Path
    seed: int
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _wholes: dict[Case, Whole] = field(default_factory=dict)
    _n: int = 0

    def __post_init__(self) -> None:
        options = {kind: _options(kind) for kind in TABLE}
        for name, sections in SCENARIOS.items():
            recipe = {
                **sections,
                "backbone": {"name": "glyph_vit_tiny", "image_size": 16},
                "evaluation": EVALUATION,
                "training": TRAINING,
                "strategies": options,
                "seeds": 1,
                "checkpoint_every": 8,
            }
            (self.root / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        (settings,) = plan(str(self.root / "si_blurry.yaml"), ["strategy=ncm"])
        with sketched():  # builds the ViT, which processes, as forks, need not do again
            Builder(quick=True).build(settings)

    def cases(self, count: int) -> Iterator[tuple[random.Random, Case]]:
        """As many cases, every strategy in turn, each with a generator of its own."""
        order = random.Random(self.seed).sample(CASES, len(CASES))
        for number in range(count):
            yield random.Random(f"{self.seed} {number}"), order[number % len(order)]

    def run(self, case: Case) -> tuple[list[str], Path]:
        """Arguments of a run, and the new folder that it writes to."""
        kind, scenario = case
        self._n += 1
        out = self.root / f"{self._n}"
        out.mkdir()
        recipe = str(self.root / f"{scenario}.yaml")
        return ["run", recipe, f"strategy={kind}", "--out", str(out), "--quiet"], out

    def whole(self, case: Case) -> Whole:
        """The run that nothing disturbs, made once."""
        if case not in self._wholes:
            arguments, out = self.run(case)
            outcome = command(arguments, out, count=True)
            if outcome.code != 0:
                raise RuntimeError(f"{case} does not run: {outcome.said}")
            self._wholes[case] = Whole(folder_in(out), outcome)
        return self._wholes[case]

    def note(self, fault: str, what: str, outcome: Outcome) -> None:
        """Count a fault, and keep how it came about."""
        self.counts[fault] += 1
        said = outcome.said.strip().splitlines()[-3:]
        self.problems.append(f"{fault}: {what}: exit {outcome.code}, {' | '.join(said)}")

    def judge(
        self, what: str, outcome: Outcome, *, may_fail: bool = False, code: int | None = None
    ) -> bool:
        """Whether a command came to its end, or ended with one sentence and another code that is
        asked for; note what must not be."""
        lines = outcome.said.strip().splitlines()
        stopped = len(lines) == 1 and lines[0].startswith("cl-prompts: stopped")
        if outcome.code == code and stopped:
            return True
        if outcome.code == 0 and "Traceback" not in outcome.said:
            return True
        if "Traceback" in outcome.said:
            self.note("tracebacks", what, outcome)
        elif not outcome.sentence:
            self.note("other faults", what, outcome)
        elif may_fail:
            self.counts["refused"] += 1
        else:
            self.note("refusals that should have been runs", what, outcome)
        return False

    def compare(self, what: str, case: Case, folder: Path, outcome: Outcome) -> None:
        """Note where a finished run differs from the undisturbed one."""
        wrong = differences(self.whole(case).folder, folder)
        if wrong:
            self.note("differences", f"{what}: {', '.join(wrong)}", outcome)

    def finish(self, what: str, case: Case, out: Path, *, may_fail: bool = False) -> None:
        """Resume what is left below a folder, and compare it with the undisturbed run."""
        begun = [file.parent for file in out.rglob("config.yaml")]
        if not begun:
            self.counts["nothing begun"] += 1
            for left in out.glob("*/*/*"):
                outcome = command(["run", "--resume", str(left), "--trust-code", "--quiet"], out)
                if outcome.code != 2 or "there is nothing to resume" not in outcome.said:
                    self.note("other faults", f"{what}, and nothing was begun", outcome)
            return
        (folder,) = begun
        if not finished(folder):
            outcome = command(["run", "--resume", str(folder), "--trust-code", "--quiet"], out)
            self.counts["resumes"] += 1
            if not self.judge(what, outcome, may_fail=may_fail):
                return
        else:
            outcome = Outcome(0, "", (), 0.0)
        self.compare(what, case, folder, outcome)
        shutil.rmtree(out)


def _options(kind: str) -> dict[str, Any]:
    """What the table gives a strategy, but for what the runner fills in."""
    accepted = strategy_parameters(kind)
    given = {name: value for name, value in TABLE[kind].options.items() if name in accepted}
    return json.loads(json.dumps(given))  # lists for tuples


def folder_in(out: Path) -> Path:
    """The one run folder below a folder."""
    (file,) = out.rglob("config.yaml")
    return file.parent


def finished(folder: Path) -> bool:
    """Whether a run came to its end; a damaged summary does not say so."""
    try:
        return bool(json.loads((folder / "summary.json").read_text())["status"] == "finished")
    except (ValueError, KeyError, OSError):
        return False


def differences(first: Path, second: Path) -> list[str]:
    """Files in which two finished runs differ, but for what time and place make different."""
    names = {"metrics.csv", "learned.safetensors", "stream.json"}
    names |= {file.name for folder in (first, second) for file in folder.glob("*.npz")}
    wrong = []
    for name in sorted(names):
        files = (first / name, second / name)
        if not all(f.is_file() for f in files) or files[0].read_bytes() != files[1].read_bytes():
            wrong.append(name)
    one, other = (json.loads((f / "summary.json").read_text()) for f in (first, second))
    wrong += [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
    return [name for name in wrong if name not in EXEMPT]
