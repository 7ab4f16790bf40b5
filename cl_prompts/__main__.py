"""Entry point of ``cl-prompts`` and ``python -m cl_prompts``."""

import gc
import sys


def main() -> int:
    """Run the command of ``sys.argv``.

    Returns:
        Exit code, as of :func:`cl_prompts.experiments.cli.main`.
    """
    # Libraries allocate half a million objects; frequent garbage collection among them costs a
    # tenth of a short command.
    gc.set_threshold(50_000)
    try:
        from cl_prompts.experiments.cli import main as run_command

        code = run_command()
    except KeyboardInterrupt:
        print("cl-prompts: stopped", file=sys.stderr)
        return 130
    # Skips the last collection, which takes a second.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
