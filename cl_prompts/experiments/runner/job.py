"""Settings of the process of a command."""

from __future__ import annotations

import ctypes
import sys
import warnings

#: parameters of the C library's mallopt
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


def keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones.

    Else Linux gets that of large tensors back at once, and clears each page anew for the next
    batch: up to a tenth of a step's time on a CPU. :func:`give_freed_memory_back` gives it back.
    """
    _of_the_c_library("mallopt", _MMAP_MAX, 0)
    _of_the_c_library("mallopt", _TRIM_THRESHOLD, -1)


def give_freed_memory_back() -> None:
    """Let the system have the memory that this process has freed, as between two runs."""
    _of_the_c_library("malloc_trim", 0)


def _of_the_c_library(name: str, *values: int) -> None:
    """Call a function of the C library, where it is that of GNU."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is not None:
        function(*values)
