"""Work that is divided among processes, forked for it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_of(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """The results of some work on each item, in their order.

    Each core takes a share of them where a process can be forked without risk: on Linux, from one
    that has no further threads. The share of a process that fails, or is killed, is done here.

    Args:
        items: that a forked process finds as they are.
        work: on one item; what it gives is pickled.

    >>> each_of(range(3), str)
    ['0', '1', '2']
    """
    n = _processes(len(items))
    with ExitStack() as stack:
        begun = [stack.enter_context(_begun(items[first::n], work)) for first in range(1, n)]
        shares = [[work(item) for item in items[::n]]]
        for first, connection in enumerate(begun, 1):
            try:
                shares.append(connection.recv())
            except EOFError:
                shares.append([work(item) for item in items[first::n]])
    return [shares[place % n][place // n] for place in range(len(items))]


def _processes(n_items: int) -> int:
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), n_items))


@contextmanager
def _begun(share: Sequence[Any], work: Callable[[Any], Any]) -> Iterator[Connection]:
    """The connection over which a process sends what comes of its share, until it is done with."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(its, share, work))
    process.start()
    its.close()
    try:
        yield mine
    finally:
        process.kill()
        process.join()
        mine.close()


def _send(connection: Connection, share: Sequence[Any], work: Callable[[Any], Any]) -> None:
    # Whoever waits does the work itself then, and meets the error.
    with suppress(Exception):
        connection.send([work(item) for item in share])
