"""Command lines taken apart."""

from __future__ import annotations

import pytest

from cl_prompts import __version__
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli.arguments import parsed


def test_settings_may_stand_before_and_behind_options() -> None:
    args = parsed(["run", "digits", "seed=1", "--quiet", "n_tasks=2"])
    assert (args.action, args.recipe, args.settings) == ("run", "digits", ["seed=1", "n_tasks=2"])
    assert args.quiet


def test_what_is_unknown_is_one_sentence() -> None:
    with pytest.raises(InputError, match="unrecognized arguments: --uot"):
        parsed(["run", "digits", "--uot", "x"])
    with pytest.raises(InputError, match=r"invalid choice: 'rnu' .*see cl-prompts --help"):
        parsed(["rnu"])
    with pytest.raises(InputError, match="there is no command 'list': write cl-prompts ls"):
        parsed(["list"])


@pytest.mark.parametrize("line", ["run digits --uot x", "run digits --quit now", "ls --frob 1"])
def test_options_are_no_settings(line: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(line.split())
    assert "a setting is written" not in str(caught.value)


def test_the_help_has_examples_that_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(["--help"])
    lines = capsys.readouterr().out.splitlines()
    examples = [line.split("  ")[1] for line in lines if line.startswith("  cl-prompts ")]
    assert len(examples) == 3
    for example in examples:
        assert parsed(example.split()[1:]).action in ("run", "show", "init")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"cl-prompts {__version__}\n"
