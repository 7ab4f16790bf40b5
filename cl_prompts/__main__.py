"""The command line as a process of its own, ``cl-prompts`` or ``python -m cl_prompts``."""

import gc
import os
import sys
import traceback
import warnings

from cl_prompts.errors import printable, say


def main() -> int:
    """Run the command of ``sys.argv``.

    Returns:
        Exit code, as of :func:`cl_prompts.experiments.cli.main`.
    """
    # Libraries make half a million objects that stay: to look for garbage among them every 700 new
    # ones costs a tenth of a short command.
    gc.set_threshold(50_000)
    _escape_what_python_says()
    # A Python process that is begun from here (one of a plan or sweep, a tracker of its resources)
    # would look into the current folder before the standard library.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        from cl_prompts.experiments.cli import main as run_command

        code = run_command()
    except KeyboardInterrupt:
        say("cl-prompts: stopped", sys.stderr)
        return 130
    # At its end Python would look through the half a million objects of libraries, for a second.
    gc.freeze()
    return code


def _escape_what_python_says() -> None:
    """Have Python write names in warnings and tracebacks, too, so that no terminal obeys them."""
    written = warnings.formatwarning
    warnings.formatwarning = lambda *given, **how: printable(written(*given, **how))
    sys.excepthook = lambda *error: say(
        "".join(traceback.format_exception(*error)), sys.stderr, end=""
    )


if __name__ == "__main__":
    sys.exit(main())
