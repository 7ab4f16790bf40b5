"""Try the changes of ``tests/mutants.txt`` that have one of the given words, or all of them, and
print which of them no test notices. With ``--check`` only look for their lines.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
#: imported once, before the forks that run tests
LIBRARIES = ("pytest", "hypothesis", "timm", "avalanche.training.templates", "torchvision")
#: slow, and about other things than the entries
LEFT_OUT = ("families/test_second_device.py",)


class Mutant(NamedTuple):
    """A change of a line, and what may notice it."""

    files: str
    old: str
    new: str
    tests: list[str]

    def place(self, tree: Path) -> Path | None:
        """The one file in which the line occurs once, or None."""
        found = [(f, n) for f in tree.glob(self.files) if (n := f.read_text().count(self.old))]
        return found[0][0] if [n for _, n in found] == [1] else None


def mutants() -> list[Mutant]:
    text = (ROOT / "tests/mutants.txt").read_text(encoding="utf-8")
    entries = [e.splitlines() for e in text.split("\n\n") if e.strip() and e[0] != "#"]
    heads = [entry[0].split() for entry in entries]
    return [Mutant(h[0], e[1][2:], e[2][2:], h[1:]) for h, e in zip(heads, entries, strict=True)]


def tried(mutant: Mutant, file: Path, tree: Path) -> str:
    """Outcome of the tests with a change: those in folders, then families of some strategies."""
    text = file.read_text(encoding="utf-8")
    written(file, text.replace(mutant.old, mutant.new))
    paths = [f"tests/{test}" for test in mutant.tests if test[0] != "@"]
    calls = [[path for path in paths if (tree / path).exists()]]
    kinds = [test[1:] for test in mutant.tests if test[0] == "@"]
    calls += [["tests/families", "-k", f"[{kind}- or [{kind}]"] for kind in kinds]
    noticed = any(fails(call, tree) for call in calls)
    written(file, text)
    return "noticed" if noticed else "SURVIVED"


def written(file: Path, text: str) -> None:
    """Write a module; compiled code of the same second would pass for its own."""
    file.write_text(text, encoding="utf-8")
    for stale in file.parent.glob(f"__pycache__/{file.stem}.*"):
        stale.unlink()


def fails(arguments: list[str], tree: Path) -> bool:
    """Whether pytest ends with a failure in a fork that works in the copy of the tree."""
    pid = os.fork()
    if not pid:
        os.chdir(tree)
        sys.path[0] = os.environ["PYTHONPATH"] = str(tree)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.alarm(900)
        arguments += [f"--ignore=tests/{file}" for file in LEFT_OUT]
        os._exit(import_module("pytest").main(["-xq", "-p", "no:cacheprovider", *arguments]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) not in (0, 5)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--check"]
    chosen = [m for m in mutants() if not words or any(w in str(m) for w in words)]
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs"))
        for name in () if "--check" in sys.argv else LIBRARIES:
            import_module(name)
        for m in chosen:
            file, outcome = m.place(tree), "not found"
            if file is not None:
                outcome = "found" if "--check" in sys.argv else tried(m, file, tree)
            outcomes[outcome] += 1
            print(f"{outcome:9} {m.files}: {m.old}", flush=True)
    print(dict(outcomes))


if __name__ == "__main__":
    main()
