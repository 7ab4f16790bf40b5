"""The command line as a process of its own, ``cl-prompts`` or ``python -m cl_prompts``."""

import gc
import sys


def main() -> int:
    """Run the command of ``sys.argv``.

    Returns:
        Exit code, as of :func:`cl_prompts.experiments.cli.main`.
    """
    # Libraries make half a million objects that stay: to look for garbage among them every 700 new
    # ones costs a tenth of a short command.
    gc.set_threshold(50_000)
    try:
        from cl_prompts.experiments.cli import main as run_command

        code = run_command()
    except KeyboardInterrupt:
        print("cl-prompts: stopped", file=sys.stderr)
        return 130
    # At its end Python would look through all of these objects, for a second.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
