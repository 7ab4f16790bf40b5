"""Work that is divided among processes, forked for it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_of(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """The results of some work on each item, in their order.

    Each core takes a share of them where a process can be forked without risk: on Linux, from one
    that has no further threads of Python's. The share of a process that cannot begin, fails or is
    killed is done here.

    Args:
        items: that a forked process finds as they are.
        work: on one item, without torch, whose threads a fork does not copy; what it gives is
            pickled.

    >>> each_of(range(3), str)
    ['0', '1', '2']
    """
    n = _processes(len(items))
    with ExitStack() as stack:
        begun = [stack.enter_context(_begun(items[first::n], work)) for first in range(1, n)]
        shares = [[work(item) for item in items[::n]]]
        for first, finish in enumerate(begun, 1):
            found = finish()
            shares.append([work(item) for item in items[first::n]] if found is None else found)
    return [shares[place % n][place // n] for place in range(len(items))]


def _processes(n_items: int) -> int:
    child = multiprocessing.current_process().daemon  # which may have no children
    if sys.platform != "linux" or child or threading.active_count() > 1:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), n_items))


@contextmanager
def _begun(
    share: Sequence[Any], work: Callable[[Any], Any]
) -> Iterator[Callable[[], list[Any] | None]]:
    """A function that waits for a process and gives what came of its share, or None."""
    with ExitStack() as stack:
        try:
            # Not by a pipe, in which the process would wait for a reader, who may be killed.
            file = stack.enter_context(tempfile.TemporaryFile())
            context = multiprocessing.get_context("fork")
            process = context.Process(target=_write, args=(file, share, work))
            process.start()
        except OSError:  # there may be no further file or process
            yield lambda: None
            return
        stack.callback(process.join)
        stack.callback(process.kill)

        def finish() -> list[Any] | None:
            process.join()
            if process.exitcode != 0:
                return None
            file.seek(0)
            found: list[Any] = pickle.load(file)
            return found

        yield finish


def _write(file: IO[bytes], share: Sequence[Any], work: Callable[[Any], Any]) -> None:
    try:
        pickle.dump([work(item) for item in share], file)
        file.flush()
    except Exception:
        sys.exit(1)  # who waits does the work itself then, and meets the error
