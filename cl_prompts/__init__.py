"""cl-prompts: prompt-based continual learning on frozen Vision Transformers.

``cl_prompts.scenarios`` makes streams, ``cl_prompts.strategies`` learns on them (on Avalanche),
``cl_prompts.experiments`` runs recipes. The modules beside them are the parts that methods are made
of; they need no Avalanche. ``@cl_prompts.scenario`` and ``@cl_prompts.dataset`` declare functions
of your own that recipes may name.
"""

import os
import sys


def _leave_current_folder() -> None:
    """Undo, in ``python -m cl_prompts``, that modules in the current folder come before all
    others."""
    # While Python looks for the module of -m, that is its own name.
    ours = sys.argv[0] == "-m" and sys.orig_argv[-len(sys.argv)].startswith(("cl_prompts", "-mcl_"))
    if not ours or sys.flags.safe_path:
        return
    try:
        here = os.getcwd()
    except FileNotFoundError:  # then Python could not add it either
        return
    if sys.path[0] == here:
        del sys.path[0]


# Before any import but those that Python has made itself.
_leave_current_folder()

from cl_prompts.own_code import dataset, scenario  # noqa: E402

__all__ = ["dataset", "scenario"]

#: the one place of the version; pyproject.toml reads it here
__version__ = "0.1.0"
