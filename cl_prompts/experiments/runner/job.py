"""Process of a command, alone or one of a job as ``torchrun`` starts them; light to import."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cl_prompts.checks import shown
from cl_prompts.errors import InputError

#: what torchrun leaves in the environment of each process, and a job needs
_OF_A_JOB = {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": "0", "MASTER_ADDR": "", "MASTER_PORT": ""}
_NUMBER = re.compile("[0-9]{1,9}")
#: parameters of the C library's mallopt
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def launched() -> bool:
    """Whether ``torchrun`` has started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def refuse_job(command: str) -> None:
    """Refuse a command that one process does alone, and a job that was not started as ``torchrun``
    does it.

    Raises:
        InputError: it was started as several, or without a number or place that they need.
    """
    if not launched():
        return
    _check_started()
    if command != "run":
        raise InputError(
            f"cl-prompts {command} is for one process: start it without torchrun, which is for"
            " cl-prompts run"
        )


def _check_started() -> None:
    """Refuse what ``torchrun`` would not have left in the environment."""
    found = {name: os.environ.get(name, usual) for name, usual in _OF_A_JOB.items()}
    for name, value in found.items():
        number = name != "MASTER_ADDR"
        if not value or (number and not _NUMBER.fullmatch(value)):
            wanted = "a whole number" if number else "the address of the first process"
            raise InputError(
                f"{name} is {shown(value)} in the environment, and should be {wanted}: start"
                " several processes with torchrun, or one without RANK and WORLD_SIZE"
            )
    if int(found["MASTER_PORT"]) > 65_535:
        raise InputError(
            f"MASTER_PORT is {found['MASTER_PORT']} in the environment, and should be at most 65535"
        )
    if int(found["RANK"]) >= int(found["WORLD_SIZE"]):
        raise InputError(
            f"RANK is {found['RANK']} of WORLD_SIZE={found['WORLD_SIZE']} in the environment:"
            " ranks count from 0; start several processes with torchrun"
        )


@contextmanager
def job() -> Iterator[bool]:
    """Join the other processes of a job.

    Yields:
        whether this one leads it, as a process on its own does.

    Raises:
        InputError: more processes than GPUs.
        RunError: the other processes do not answer.
    """
    if not launched():
        yield True
        return
    # Before the start: Avalanche makes loggers when it is imported, and refuses to in a further
    # process of a job.
    import avalanche.training  # noqa: F401

    from cl_prompts.backbones import ranks

    joined = ranks.start()
    yield ranks.rank() == 0
    if joined:
        ranks.leave()


def is_first_to_say(sentence: str) -> bool:
    """Whether no other process of the job has printed the same, as all of them may have to.

    >>> is_first_to_say("the disk is full")
    True
    """
    if not launched():
        return True
    from cl_prompts.backbones import ranks

    return ranks.is_first_to_say(sentence)


def quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about.

    Those of torch's C++, with a trace of its frames where another process of a job is gone, are
    silenced only before torch is imported.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
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
