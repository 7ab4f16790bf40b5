"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper

from cl_prompts.errors import InputError, RunError, one_sentence, say, short
from cl_prompts.experiments.cli.actions import ACTIONS
from cl_prompts.experiments.cli.arguments import parsed
from cl_prompts.experiments.runner.interruption import Stopped

#: errors of the system for wrong paths
_OF_PATHS = {
    *(errno.ENAMETOOLONG, errno.ENOENT, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.ELOOP),
}


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
        return _carried_out(arguments)
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Stopped) else Stopped(str(error))
        _say(str(stop))
        return stop.exit_code


def _carried_out(arguments: Sequence[str]) -> int:
    """Carry a command out, say why it failed, and return the exit code."""
    try:
        args = parsed(arguments)
        args.command_line = "cl-prompts " + shlex.join(arguments)
        with _silenced(getattr(args, "quiet", False)):
            ACTIONS[args.action](args)
        # Here, since a closed pipe that is noted at the exit can no longer be caught.
        sys.stdout.flush()
    except (InputError, RunError) as error:
        _say(str(error))
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        # Whoever reads the output has enough, as head does; nothing may be flushed at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MemoryError:
        _say("there is not enough memory on this machine for this command")
        return 1
    except OSError as error:
        # A path that cannot be used is bad input; a disk that is full or broken is a fault.
        reason = error.strerror or error
        place = f"{short(error.filename)}: " if error.filename else ""
        _say(f"{place}{reason}")
        return 2 if error.errno in _OF_PATHS else 1
    except RuntimeError as error:
        # Of links, by Python before 3.13; everything else is a fault of this program.
        if not str(error).startswith("Symlink loop"):
            raise
        _say(f"{error}: remove this link, which leads in a circle")
        return 2
    return 0


def _quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


def _say(sentence: str) -> None:
    say(f"cl-prompts: {one_sentence(sentence)}", sys.stderr)


@contextmanager
def _silenced(quiet: bool) -> Iterator[None]:
    """Print nothing but errors."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    sys.exit(main())
