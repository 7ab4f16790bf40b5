"""How libraries behave in a process that executes commands."""

from __future__ import annotations

import warnings

from cl_prompts.experiments.allocator import keep_freed_memory


def prepare_process() -> None:
    """Prepare a process that executes commands."""
    quieten_libraries()
    keep_freed_memory()


def quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
