"""The command line as a process of its own, ``cl-prompts`` or ``python -m cl_prompts``."""

import atexit
import gc
import os
import sys
import traceback
import warnings

from cl_prompts.errors import printable, say
from cl_prompts.experiments.runner.interruption import (
    Stopped,
    end_undisturbed,
    ignore_signals,
    stops_at_once,
)
from cl_prompts.experiments.runner.job import keep_freed_memory
from cl_prompts.experiments.runner.lazy_libraries import spare_libraries


def main() -> int:
    """Run the command of ``sys.argv``; signals are met from here on, also during imports.

    Returns:
        Exit code, as of :func:`cl_prompts.experiments.cli.main`.
    """
    # Libraries make half a million objects that stay: to look for garbage among them every 700 new
    # ones costs a tenth of a short command.
    gc.set_threshold(50_000)
    _open_closed_streams()
    atexit.register(ignore_signals)  # before libraries register theirs, so that it comes last
    spare_libraries()
    keep_freed_memory()
    _escape_what_python_says()
    # A Python process that is begun from here (one of a plan or sweep, a tracker of its resources)
    # would look into the current folder before the standard library.
    os.environ["PYTHONSAFEPATH"] = "1"
    with stops_at_once():
        try:
            from cl_prompts.experiments.cli import main as run_command

            code = run_command()
        except Stopped as error:
            say(f"cl-prompts: {error}", sys.stderr)
            code = error.exit_code
    end_undisturbed()
    # At its end Python would look through the half a million objects of libraries, for a second.
    gc.freeze()
    return code


def _open_closed_streams() -> None:
    """Have a process that was started without some of its three streams read and write nothing
    there: a file that it opens would else take the place of one, and what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _escape_what_python_says() -> None:
    """Have Python write names in warnings and tracebacks, too, so that no terminal obeys them."""
    written = warnings.formatwarning
    warnings.formatwarning = lambda *given, **how: printable(written(*given, **how))
    sys.excepthook = lambda *error: say(
        "".join(traceback.format_exception(*error)), sys.stderr, end=""
    )


if __name__ == "__main__":
    sys.exit(main())
