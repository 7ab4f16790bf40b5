"""The command line as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: commands that print a text, or refuse a word -> exit code
QUICK = {
    "ls": 0,
    "ls strategies": 0,
    "show digits": 0,
    "show strategy mvp": 0,
    "show dataset folder": 0,
    "run no_such_recipe": 2,
    "run digits strategy=mvpp": 2,
    "run digits lrr=1": 2,
    "run digits lr=fast": 2,
    "sweep digits lrr=1,2": 2,
}


def test_texts_and_refusals_of_words_load_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'matplotlib', 'avalanche', 'sklearn', 'scipy'}"
    code = f"""
import sys, cl_prompts
assert 'numpy' not in sys.modules
from cl_prompts.experiments.cli import main
for line, code in {QUICK}.items():
    assert main(line.split()) == code, line
    loaded = {heavy} & set(sys.modules)
    assert not loaded, (line, loaded)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]


def test_a_closed_pipe_is_no_error() -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "cl_prompts", "ls"], **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_commands_import_no_solver_and_gem_still_does(tmp_path: Path) -> None:
    """Avalanche imports qpsolvers, and qpsolvers all solvers; here a fake of both."""
    (tmp_path / "qpsolvers.py").write_text("from fake_solver import solve as solve_qp")
    (tmp_path / "fake_solver.py").write_text("def solve(**given):\n    return 'solved'\n")
    code = """
import inspect, sys
from cl_prompts.experiments.cli import main

assert main(["validate", "digits", "strategy=ncm", "seed=1"]) == 0
gem = sys.modules["avalanche.training.plugins.gem"]
inspect.getmodule(inspect.currentframe())  # reads __file__ of all modules
assert "fake_solver" not in sys.modules
assert gem.qpsolvers.solve_qp(P=1) == "solved"
assert sys.modules["qpsolvers"].__spec__.origin == gem.qpsolvers.__file__
"""
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert (told.returncode, told.stderr) == (0, "")
