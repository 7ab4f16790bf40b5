"""Completion scripts in real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.completion import completion_script


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The script of each shell, in files."""
    folder = tmp_path_factory.mktemp("completion")
    found = {shell: folder / f"cl-prompts.{shell}" for shell in ("bash", "zsh", "fish")}
    for shell, file in found.items():
        file.write_text(completion_script(shell))
    return found


def in_bash(script: Path, line: str) -> list[str]:
    """What bash offers for a line, with the words as readline divides them."""
    steps = f"""
        source {script}
        COMP_LINE="$1" COMP_POINT=${{#1}}
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _cl_prompts
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    words = line.replace("=", " = ").replace("  ", " ").split(" ")
    command = ["bash", "--norc", "--noprofile", "-c", steps, "bash", line, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="this machine has no bash")


@needs_bash
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cl-prompts ru", ["run"]),
        ("cl-prompts run digit_s", ["digit_scenes"]),
        ("cl-prompts run --quiet digit_s", ["digit_scenes"]),
        ("cl-prompts sweep --out runs digit_s", ["digit_scenes"]),
        ("cl-prompts sweep --jobs 2 --launcher ray --trials 30 digit_s", ["digit_scenes"]),
        ("cl-prompts sweep --out digit_s", []),
        ("cl-prompts sweep --jobs 2 digits strateg", ["strategy="]),
        ("cl-prompts run digits strateg", ["strategy="]),
        ("cl-prompts run digits strategy=multi_lan", ["multi_lane"]),
        ("cl-prompts run digits strategy=er,multi_lan", ["er,multi_lane"]),
        ("cl-prompts run digits mvp.pool_", ["mvp.pool_size="]),
        ("cl-prompts run digits blurry_p", ["blurry_percent="]),
        ("cl-prompts run digits head.shr", ["head.shrinkage="]),
        ("cl-prompts run digits mvp.head.shr", ["mvp.head.shrinkage="]),
        ("cl-prompts run digits slow_heads.d", ["slow_heads.decays="]),
        ("cl-prompts run digits mvp.slow_heads.d", ["mvp.slow_heads.decays="]),
        ("cl-prompts run digits prompt_form.decomposed.r", ["prompt_form.decomposed.rank="]),
        ("cl-prompts run digits ncm.head.shr", []),
        ("cl-prompts sweep digits --sampler ", ["tpe", "random"]),
        ("cl-prompts sweep digits --laun", ["--launcher"]),
        ("cl-prompts show strategy multi_lan", ["multi_lane"]),
        ("cl-prompts show plugin self_", ["self_regulation"]),
        ("cl-prompts run digits plugins=ewc,self_", ["ewc,self_regulation"]),
        ("cl-prompts ls str", ["strategies"]),
        ("cl-prompts completion f", ["fish"]),
        ("cl-prompts report run", []),
        ("cl-prompts nothing a", []),
    ],
)
def test_bash_completes(line: str, offered: list[str], scripts: dict[str, Path]) -> None:
    assert in_bash(scripts["bash"], line) == offered


@needs_bash
def test_bash_runs_nothing_that_stands_in_a_word(
    scripts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    in_bash(scripts["bash"], "cl-prompts run digits strategy=$(touch${IFS}it),m")
    assert not list(tmp_path.iterdir())


@needs_bash
def test_tab_completes_in_an_interactive_bash(scripts: dict[str, Path], tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    out = tmp_path / "got"
    os.write(terminal, f"source {scripts['bash']}\n".encode())
    os.write(terminal, f"cl-prompts() {{ printf '<%s>' \"$@\" > {out}; }}\n".encode())
    os.write(terminal, b"cl-prompts run digit_s\tstrategy=multi_lan\t\n")
    os.write(terminal, b"exit\n")
    while select.select([terminal], [], [], 20)[0]:
        try:
            os.read(terminal, 4096)
        except OSError:  # the terminal is closed at the end
            break
    os.waitpid(child, 0)
    assert out.read_text() == "<run><digit_scenes><strategy=multi_lane>"


@pytest.mark.skipif(shutil.which("fish") is None, reason="this machine has no fish")
def test_fish_completes(scripts: dict[str, Path]) -> None:
    for line, offered in {
        "cl-prompts run digit_s": "digit_scenes",
        "cl-prompts sweep --out runs digit_s": "digit_scenes",
        "cl-prompts run digits strategy=er,multi_lan": "strategy=er,multi_lane",
    }.items():
        steps = f"source {scripts['fish']}; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", steps], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [offered]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="this machine has no zsh")
def test_zsh_reads_its_script_and_finds_words(scripts: dict[str, Path]) -> None:
    steps = f"""
        source {scripts["zsh"]}
        _cl_prompts_found dig run --out runs
        print -r -- $_comps[cl-prompts]
    """
    done = subprocess.run(["zsh", "-f", "-c", steps], capture_output=True, text=True, check=True)
    *words, function = done.stdout.split()
    assert "digit_scenes" in words
    assert function == "_cl_prompts"


def test_the_command_prints_the_script(
    scripts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == scripts["bash"].read_text()
