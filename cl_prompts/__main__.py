"""The command line as ``python -m cl_prompts``, which is what ``torchrun -m`` starts."""

import sys

from cl_prompts.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
