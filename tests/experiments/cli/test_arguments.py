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


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"cl-prompts {__version__}\n"
