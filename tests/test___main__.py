"""The command line as a process of its own."""

import subprocess
import sys

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
