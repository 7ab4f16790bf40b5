"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on."""

import inspect
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import TextIOWrapper

from cl_prompts.errors import InputError, RunError, one_sentence
from cl_prompts.experiments.cli.actions import COMMANDS
from cl_prompts.experiments.cli.arguments import parsed
from cl_prompts.experiments.executors.signals import Interrupted

#: notes that this command has printed, each once
_NOTED: set[str] = set()
#: system errors of wrong paths
_OF_PATHS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 success, 1 a fault during a run, 2 bad input, 128 + n signal n (130 Ctrl-C).
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    _NOTED.clear()
    warnings.showwarning = _note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may not be UTF-8
    try:
        carry_out(arguments)
        # At exit a closed pipe could not be caught.
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(str(error))
        return _said(str(stop), 128 + stop.number)
    except BrokenPipeError:
        # The reader, such as head, has enough: nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, RunError) as error:
        return _said(str(error), 2 if isinstance(error, InputError) else 1)
    except OSError as error:
        # A wrong path is bad input, a full or broken disk a fault.
        place = f"{error.filename}: " if error.filename else ""
        return _said(f"{place}{error.strerror or error}", 2 if isinstance(error, _OF_PATHS) else 1)
    return 0


def carry_out(arguments: Sequence[str]) -> None:
    """Execute a command.

    Raises:
        InputError: bad input.
        RunError: a fault during a run.
    """
    command, given = parsed(COMMANDS, arguments)
    if "command_line" in inspect.signature(command).parameters:
        given["command_line"] = f"cl-prompts {shlex.join(arguments)}"
    if not given.pop("quiet"):
        command(**given)
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        command(**given)


def _said(sentence: str, code: int) -> int:
    print(f"cl-prompts: {one_sentence(sentence)}", file=sys.stderr)
    return code


def _note(message: Warning | str, *place: object, **more: object) -> None:
    """Print a warning as users of a command need it, without its place in the code."""
    text = one_sentence(message)
    if text not in _NOTED:
        _NOTED.add(text)
        print(f"note: {text}", file=sys.stderr)
