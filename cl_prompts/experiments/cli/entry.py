"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper

from cl_prompts.errors import InputError, RunError, one_sentence
from cl_prompts.experiments.cli.actions import COMMANDS
from cl_prompts.experiments.cli.arguments import parsed
from cl_prompts.experiments.runner.signals import Interrupted

#: errors of the system for wrong paths
_OF_PATHS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 a fault during a run, 2 bad input, 128 + n stopped by signal n
        (130 by Ctrl-C).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _quieten_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        carry_out(arguments)
        # Here, since a closed pipe that is noted at the exit can no longer be caught.
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(str(error))
        return _said(str(stop), stop.exit_code)
    except BrokenPipeError:
        # Whoever reads the output has enough, as head does; nothing may be flushed at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except InputError as error:
        return _said(str(error), 2)
    except RunError as error:
        return _said(str(error), 1)
    except OSError as error:
        # A path that cannot be used is bad input; a disk that is full or broken is a fault.
        place = f"{error.filename}: " if error.filename else ""
        return _said(f"{place}{error.strerror or error}", 2 if isinstance(error, _OF_PATHS) else 1)
    return 0


def carry_out(arguments: Sequence[str]) -> None:
    """Carry a command out.

    Raises:
        InputError: bad input.
        RunError: a fault during a run.
    """
    command, given = parsed(COMMANDS, arguments)
    if "command_line" in inspect.signature(command).parameters:
        given["command_line"] = f"cl-prompts {shlex.join(arguments)}"
    with _silenced(given.get("quiet", False)):
        command(**given)


def _said(sentence: str, code: int) -> int:
    print(f"cl-prompts: {one_sentence(sentence)}", file=sys.stderr)
    return code


def _quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


@contextmanager
def _silenced(quiet: bool) -> Iterator[None]:
    """Print nothing but errors."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
