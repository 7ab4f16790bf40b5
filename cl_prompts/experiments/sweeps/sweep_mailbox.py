"""What runs say on their way to the sweep, held by a process that loads nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cl_prompts.experiments.sweeps.sweep_worker import Message


class Mailbox:
    """Actor of Ray that holds what runs say until the sweep asks for it.

    >>> mailbox = Mailbox()
    >>> mailbox.put(1, "goes on")
    >>> mailbox.take(), mailbox.take()
    ([(1, 'goes on')], [])
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: list[tuple[int, Message]] = []

    def put(self, number: int, message: Message) -> None:
        """Take what the run of a number says."""
        self._held.append((number, message))

    def take(self) -> list[tuple[int, Message]]:
        """All that was said since the last time, in order."""
        held = self._held
        self._held = []
        return held
