"""Process of a command, alone or one of a job as ``torchrun`` starts them; light to import."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cl_prompts.errors import InputError


def launched() -> bool:
    """Whether ``torchrun`` has started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def refuse_job(command: str) -> None:
    """Refuse a command that one process does alone.

    Raises:
        InputError: it was started as several.
    """
    if launched() and command != "run":
        raise InputError(
            f"cl-prompts {command} is for one process: start it without torchrun, which is for"
            " cl-prompts run"
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
